"""`folio import`: users, profiles, posts and comments from JSON Lines, either all lines or none."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from db.bulk.jsonlines import TABLES, LineCounts, LineError, import_lines, read_lines
from db.connections.database import Database
from graph.cli.support.files import STANDARD_STREAM
from graph.cli.support.progress import counted, watched
from graph.cli.support.terminal import CommandError, err, interruptible, run_with_database


def import_(
    file: Annotated[Path, typer.Argument(help="A file in the format of `folio export`; - is standard input.")],
) -> None:
    """Add users, profiles, posts and comments from JSON Lines: all of them, or none if a line is invalid."""
    started = time.perf_counter()

    async def work(database: Database) -> LineCounts:
        try:
            with _readable(file) as source, watched() as progress:
                return await import_lines(database, _awaited(read_lines(source)), _reading(source, progress))
        except LineError as error:
            raise CommandError(f"{error}; nothing was imported") from None

    counts = run_with_database(work, writes=True, undone="nothing was imported")
    done = counted({table: counts[table] for table in TABLES})
    err.print(f"imported {done} in {time.perf_counter() - started:.1f} s")
    if without := counts["without_password"]:
        err.print(f"{without} of the users have no password: they can sign in after a password has been set")


def _awaited(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same lines. Ctrl-C interrupts the wait for the next line of a pipe."""
    while True:
        with interruptible():
            line = next(lines, None)
        if line is None:
            return
        yield line


@contextmanager
def _readable(file: Path) -> Iterator[BinaryIO]:
    if file == STANDARD_STREAM:
        yield sys.stdin.buffer
        return
    try:
        source = file.open("rb")
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}") from None
    with source:
        yield source


def _reading(source: BinaryIO, progress: Callable[[str, int, int | None], None]) -> Callable[[int], None]:
    """Return a function that shows the progress of reading: in bytes of a file, or in lines of a pipe."""
    if not source.seekable():
        return lambda lines: progress("lines", lines, None)
    start = source.tell()
    size = source.seek(0, os.SEEK_END)
    source.seek(start)
    return lambda _: progress("bytes", source.tell(), size)
