"""Accounts, transactions and transfers in the schema."""
