"""The GraphQL schema: types, queries and mutations, one package for each noun, put together in `root`.

The modules next to these packages are shared by all nouns: scalars, ids, connections, field declarations and the
mutation kit. The schema reads and writes through `db.repositories` and `db.ledger`.
"""
