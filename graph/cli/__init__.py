"""The `folio` command: one module for each command or group of commands, combined in `graph.cli.app`.

A command parses its options, calls other rooms, and prints. No other room imports it.
"""

import os
import signal
from contextlib import suppress

from graph.cli.support.exit_codes import ExitCode

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    # Importing the commands takes a second on a slow machine. Ctrl-C can end the process safely until then.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave_at_once)
    # Imported here, because each worker imports this package, but needs none of the commands.
    from graph.cli.support.streams import open_streams  # noqa: PLC0415 - see above

    open_streams()
    from graph.cli.app import main as run  # noqa: PLC0415 - see above

    run()


def leave_at_once(*_: object) -> None:
    """Handle Ctrl-C before a command starts and after it has ended."""
    with suppress(OSError):
        os.write(2, b"folio: interrupted\n")
    os._exit(ExitCode.INTERRUPTED)
