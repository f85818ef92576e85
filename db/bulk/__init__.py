"""Bulk data: import and export as JSON Lines.

Each line is checked as the API checks its input, and written in batches. It uses the checks of the repositories.
"""
