"""Comments on posts in the schema."""
