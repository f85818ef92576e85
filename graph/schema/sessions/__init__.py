"""Signing in and out, and refresh tokens, in the schema."""
