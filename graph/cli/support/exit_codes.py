"""Exit codes. This module imports nothing slow, because Ctrl-C must work before the commands are imported."""

from enum import IntEnum

__all__ = ["ExitCode"]


class ExitCode(IntEnum):
    """The status of every `folio` command."""

    OK = 0
    FAILED = 1
    """The command failed, or its check found something. One line on standard error says what."""
    USAGE = 2
    """The command line is wrong. Typer defines this number."""
    INTERRUPTED = 130
    """Ctrl-C: 128 plus the number of SIGINT, as shells report it."""
    OUTPUT_CLOSED = 141
    """The reader of standard output is gone, as in `| head`: 128 plus the number of SIGPIPE, without a message."""
