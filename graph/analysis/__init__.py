"""What is known of an operation before it runs: its price, limits, selected columns and deprecated fields.

One walk over the operation finds all of it (`walk`). The walk reads documents and the schema. It runs nothing and knows
no request. What has to be counted before validation, which takes the more time the larger a document is, is counted by
`limits.check_written`.
"""
