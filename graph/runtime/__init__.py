"""The runtime of operations: context, loaders, authentication, tokens, passwords and the worker thread.

Resolvers receive the context, and read and write through it. The room knows repositories, and neither HTTP nor the
types of the schema.
"""
