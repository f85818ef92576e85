"""Posts in the schema: type, filter, orders, numbered pages, and mutations.

It knows users and comments by their types, and no HTTP. It offers `PostQueries` and `PostMutations` to the root.
"""
