"""Load on the ledger under faults: checks the promises of docs/MONEY.md while everything below Folio fails.

Everything that breaks things, notes what was asked and judges what was answered is that of `bench.soak`. This is added:

- `promises`: which promise a violation breaks.
- `town`: who has which account, and the read whose sum is constant.
- `payers`: what one client asks, one thing after another.
- `statements`: the statements of the hot accounts, which add up.
- `watches`: what is looked at from outside while clients ask.
- `controls`: planted bugs, each of which must be caught.
"""
