"""The `folio` command: one module for each family of commands, put together in `graph.cli.app`."""

from graph.cli.app import main

__all__ = ["main"]
