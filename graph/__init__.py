"""The GraphQL side of Folio: the schema's types and resolvers, the loaders, the HTTP endpoint and the command.

It reads and writes through `db` alone, and contains no SQL. It offers the application (`app.create_app`) and the
command (`cli`).
"""
