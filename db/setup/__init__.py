"""Preparation of a database for a command: where it is, which schema it has, and why it cannot be used.

Commands and the server call it before they open a pool. It runs Alembic and the embedded server, and reads no rows of a
noun.
"""
