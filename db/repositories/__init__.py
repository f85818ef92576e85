"""Repositories: the reads and writes of each noun, within the rights of the viewer.

Every function that reads or writes rows with an owner takes a `Viewer`. Repositories use tables and statements, and
neither GraphQL nor HTTP. Movements of money are in `db.ledger`.
"""
