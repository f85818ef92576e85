"""The `folio` command: one module for each family of commands, put together in `graph.cli.app`."""

import os
import signal
from contextlib import suppress

from graph.cli.support.exit_codes import ExitCode

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    # Importing the commands takes a second on a slow machine. Nothing has been done until then.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave_at_once)
    # Each worker imports this package for what it serves, and none of the commands.
    from graph.cli.support.streams import open_streams  # noqa: PLC0415 - as said

    open_streams()
    from graph.cli.app import main as run  # noqa: PLC0415 - likewise

    run()


def leave_at_once(*_: object) -> None:
    """Answer Ctrl-C where no command runs yet, or any more."""
    with suppress(OSError):
        os.write(2, b"folio: interrupted\n")
    os._exit(ExitCode.INTERRUPTED)
