"""How a command exits. Nothing heavy is imported here: Ctrl-C is answered before the commands are there."""

from enum import IntEnum

__all__ = ["ExitCode"]


class ExitCode(IntEnum):
    """The status of every `folio` command."""

    OK = 0
    FAILED = 1
    """The command did not do what it was asked for, or found what it looks for; stderr says what in one line."""
    USAGE = 2
    """The command line itself is wrong. Typer uses this number by itself."""
    INTERRUPTED = 130
    """Ctrl-C: 128 and the number of SIGINT, as shells say it."""
    OUTPUT_CLOSED = 141
    """Nobody reads standard output any more, as behind `| head`: 128 and the number of SIGPIPE, without a word."""
