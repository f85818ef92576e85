"""The ledger: how money moves, once for each idempotency key, and the audit that proves it.

`settlement` makes one movement, `batches` makes many, `group_commit` lets transfers share a transaction. Nothing
else changes a balance.
"""
