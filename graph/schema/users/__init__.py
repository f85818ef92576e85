"""Users and profiles in the schema: types, filter, orders, and mutations.

No type has a password hash. The room knows no HTTP, and offers `UserQueries` and `UserMutations` to the root.
"""
