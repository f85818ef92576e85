"""The history of the database's schema, for Alembic. Only `env.py` imports the rest of the project."""
