"""Repositories: what is read and written of each noun, as its viewer may.

Every function that touches rows with an owner takes a `Viewer`. They know tables and statements, and neither GraphQL
nor HTTP. Movements of money are in `db.ledger`.
"""
