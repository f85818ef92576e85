"""Connections to PostgreSQL: the doors to the pool, transactions, leases, and what happens when something fails.

`database` is what the rest uses: reads, snapshots, and the only place that commits. `leases` holds the connections that
SQLAlchemy's `pool` makes; `waiting` and `shares` say who waits for whom and who may hold how many; `faults` says what
each error means and `retries` runs again what it leaves undone; `coalescing` makes one statement of equal reads;
`statistics` counts. Nothing here knows a table, GraphQL or HTTP.
"""
