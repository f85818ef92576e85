"""Posts in the schema."""
