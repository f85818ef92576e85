"""The standard streams of a command. Failed writes to standard output raise a separate exception, OutputError.

Python's own streams raise the system's OSError, which looks like the error of any file, and raise it again when the
interpreter ends. A failed write to standard error must not fail the command: such messages are dropped.
"""

import errno
import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class OutputError(Exception):
    """Standard output cannot be written.

    Attributes:
        is_closed: whether its reader is gone, for example `| head`.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {error.strerror}")
        self.is_closed = error.errno == errno.EPIPE


class _Output(io.FileIO):
    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OutputError(error) from None


class _Messages(io.FileIO):
    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def open_streams() -> None:
    """Replace sys.stdout and sys.stderr, and open sys.stdin. This works also where they are closed."""
    for descriptor in (0, 1, 2):
        _occupy(descriptor)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - until the process ends
    sys.stdout = _text(_Output, 1, sys.stdout)
    sys.stderr = _text(_Messages, 2, sys.stderr)


def give_up_output() -> None:
    """Redirect buffered output to /dev/null, because the interpreter flushes once more when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _occupy(descriptor: int) -> None:
    """Open a standard descriptor if it is closed; otherwise the next opened file would become a standard stream.

    It is opened for the wrong direction, as in glibc, so that reads and writes fail as on a closed stream.
    """
    with suppress(OSError):
        os.fstat(descriptor)
        return
    os.open(os.devnull, os.O_WRONLY if descriptor == 0 else os.O_RDONLY)


def _text(kind: Callable[..., io.FileIO], descriptor: int, before: TextIO | None) -> io.TextIOWrapper:
    raw = kind(descriptor, "w", closefd=False)
    # Characters that the terminal cannot show are escaped: a message must not fail for a character.
    encoding = before.encoding if before else "utf-8"
    is_message = descriptor == 2  # noqa: PLR2004 - standard error
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=is_message or raw.isatty(),
    )
