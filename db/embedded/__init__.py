"""The embedded PostgreSQL for development and tests: where it lives, and who starts and stops it.

It stands alone: it imports nothing else of this project.
"""
