"""The relational side of Folio: settings, the pool, tables, statements and repositories.

Nothing in here knows GraphQL or HTTP. Each noun has one module: its tables, then its reads, then its writes.
"""
