"""Users and profiles in the schema."""
