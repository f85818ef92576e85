"""The GraphQL side of Folio: the schema's types and resolvers, the loaders, the HTTP endpoint and the command."""
