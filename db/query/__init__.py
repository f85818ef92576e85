"""Queries: cursors, pages, and the statements of lists, compiled once and cached.

This folder builds SQL from descriptions that repositories supply. It refers to no table by name.
"""
