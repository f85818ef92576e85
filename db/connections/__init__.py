"""Connections to PostgreSQL: reads and writes through the pool, transactions, leases, and the handling of faults.

Other folders use `database`: reads, snapshots, and the only code that commits. `leases` holds the connections that
SQLAlchemy's `pool` opens. `waiting` queues callers, and `shares` limits how many connections each caller may hold.
`faults` has the meaning of each error. `retries` runs a unit of work again after a fault that has undone all of it.
`coalescing` combines equal reads into one statement. `statistics` counts. Nothing here refers to a table, GraphQL or
HTTP.
"""
