"""Demo data: the same rows for the same seed, written by COPY into an empty database.

It offers `seeding.seed`, which the command and the benchmark call. It writes through connections and models, and knows
neither GraphQL nor HTTP.
"""
