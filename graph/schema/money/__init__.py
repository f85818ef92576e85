"""Accounts, transactions and transfers in the schema.

It moves money only through `db.ledger`, and knows no HTTP. It offers queries and mutations to the root.
"""
