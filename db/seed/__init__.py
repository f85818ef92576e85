"""Demo data: the same rows for the same seed, written by COPY into an empty database."""
