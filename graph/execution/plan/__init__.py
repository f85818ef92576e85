"""Plans: what an operation does, prepared once from its document and the schema.

A plan contains neither values of variables nor rows.
"""
