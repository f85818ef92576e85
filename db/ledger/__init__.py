"""The ledger: money moves once for each idempotency key, and the audit checks it.

`settlement` makes one movement, `batches` makes many, and `group_commit` lets transfers share a transaction. No other
code changes a balance.
"""
