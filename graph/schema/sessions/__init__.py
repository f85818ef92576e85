"""Signing in and out, and refresh tokens, in the schema.

It checks passwords through the runtime and stores sessions through the repositories. It offers mutations to the root,
and has no type of a row.
"""
