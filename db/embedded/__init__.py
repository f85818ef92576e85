"""The embedded PostgreSQL for development and tests: its directories, its start and its stop.

It imports nothing else of this project.
"""
