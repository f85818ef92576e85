"""Comments on posts in the schema: type, filter, orders, and mutations.

It knows users and posts by their types, and no HTTP. It offers `CommentQueries` and `CommentMutations` to the root.
"""
