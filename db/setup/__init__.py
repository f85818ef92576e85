"""Preparation of a database for a command: where it is, which schema it has, and why it cannot be used."""
