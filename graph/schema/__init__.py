"""The GraphQL schema: types, queries, mutations and subscriptions, one package for each noun, put together in `root`.

The modules next to these packages are shared by all nouns: scalars, ids, connections, field declarations and the
kits of mutations and subscriptions. The schema reads and writes through `db.repositories`, `db.ledger` and `db.events`.
"""
