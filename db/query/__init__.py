"""Queries: cursors, pages, and the statements of lists, compiled once and cached.

It builds SQL from descriptions that repositories give, and knows no table by name.
"""
