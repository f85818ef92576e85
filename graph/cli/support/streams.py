"""The standard streams of a command: what cannot be written to standard output has an error of its own.

Python's own streams raise the OSError of the system, which looks like that of any file, and raise it again when the
interpreter ends. Messages on standard error are not worth a failure: what nobody can read is dropped.
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
    """Standard output takes no more.

    Attributes:
        is_closed: whether nobody reads it any more, as behind `| head`.
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
    """Replace sys.stdout and sys.stderr, and give sys.stdin something to read, also where they are closed."""
    for descriptor in (0, 1, 2):
        _occupy(descriptor)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - until the process ends
    sys.stdout = _text(_Output, 1, sys.stdout)
    sys.stderr = _text(_Messages, 2, sys.stderr)


def give_up_output() -> None:
    """Send what is still buffered nowhere: the interpreter flushes once more when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _occupy(descriptor: int) -> None:
    """Open a standard descriptor that is closed, or the next file that is opened becomes a standard stream.

    It is opened for the wrong direction, as glibc does it: whoever uses it learns that it is closed.
    """
    with suppress(OSError):
        os.fstat(descriptor)
        return
    os.open(os.devnull, os.O_WRONLY if descriptor == 0 else os.O_RDONLY)


def _text(kind: Callable[..., io.FileIO], descriptor: int, before: TextIO | None) -> io.TextIOWrapper:
    raw = kind(descriptor, "w", closefd=False)
    # What the terminal cannot show is spelled out: no letter of a message is worth a failure.
    encoding = before.encoding if before else "utf-8"
    is_message = descriptor == 2  # noqa: PLR2004 - standard error
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=is_message or raw.isatty(),
    )
