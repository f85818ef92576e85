"""Requests: heads, bodies and GraphQL parameters, parsed and checked."""
