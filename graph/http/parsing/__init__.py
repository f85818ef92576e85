"""Requests: heads, bodies and GraphQL parameters, parsed and checked.

It takes bytes, and offers `GraphQLRequest` or raises `HttpRefused`. It knows no schema: whether a document is valid is
decided later.
"""
