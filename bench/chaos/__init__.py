"""Load on the ledger under faults: checks the promises of docs/MONEY.md while everything below Folio fails.

Faults, journal and oracle are those of `bench.soak`. This package adds:

- `promises`: the promise that each kind of violation breaks.
- `town`: users and accounts, and the read with a constant sum.
- `payers`: the actions of one client.
- `statements`: the account statements of the hot accounts, which must add up.
- `watches`: checks from outside during the load.
- `controls`: planted bugs, each of which must be caught.
"""
