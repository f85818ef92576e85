"""The GraphQL schema: types, queries and mutations, one package for each noun, put together in `root`.

The modules beside the nouns are what all of them share: scalars, ids, connections, field declarations and the
mutation kit. It reads and writes through `db.repositories` and `db.ledger`.
"""
