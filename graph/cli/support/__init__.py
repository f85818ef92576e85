"""What the commands share: settings and database, output, errors, worker processes and demo data."""
