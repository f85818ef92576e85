"""The history of the database's schema, for Alembic. Only `env.py` knows the rest of the project."""
