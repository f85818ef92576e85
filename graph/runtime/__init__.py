"""The runtime of operations: context, loaders, authentication, tokens, passwords and the worker thread."""
