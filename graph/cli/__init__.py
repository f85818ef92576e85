"""The `folio` command: one module for each family of commands, put together in `graph.cli.app`."""

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    # Each worker imports this package for what it serves, and none of the commands.
    from graph.cli.app import main as run  # noqa: PLC0415 - as said

    run()
