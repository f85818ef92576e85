"""The analysis of an operation before it runs: its price, limits, selected columns and deprecated fields.

One walk over the operation finds all of it (`walk`). The walk reads the document and the schema. It runs nothing, and
does not depend on a request. `limits.check_written` bounds selections and values before validation, because the time of
validation grows with the size of the document.
"""
