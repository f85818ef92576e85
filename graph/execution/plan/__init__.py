"""Plans: what an operation does, prepared once from its document and the schema.

A plan knows no variable's value and no row.
"""
