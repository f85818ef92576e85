"""Shared parts of the commands: settings and database, output, errors, worker processes and demo data."""
