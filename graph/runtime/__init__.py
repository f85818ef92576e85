"""What resolvers have while an operation runs: context, loaders, tokens, passwords and the worker thread."""
