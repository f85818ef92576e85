"""The relational side of Folio: settings, the pool, tables, statements and repositories.

Nothing here refers to GraphQL or HTTP. Each noun has one module for its tables and one for its reads and writes.
"""
