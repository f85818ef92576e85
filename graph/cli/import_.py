"""`folio import`: users, profiles and posts from JSON Lines, all of them or none."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from db.bulk.jsonlines import LineCounts, LineError, import_lines, read_lines
from db.connections.database import Database
from graph.cli.support.files import STANDARD_STREAM
from graph.cli.support.progress import watched
from graph.cli.support.terminal import CommandError, err, interruptible, run_with_database


def import_(
    file: Annotated[Path, typer.Argument(help="As `folio export` writes it; - is standard input.")],
) -> None:
    """Add users, profiles and posts from JSON Lines: all of them, or none where a line is at fault."""
    started = time.perf_counter()

    async def work(database: Database) -> LineCounts:
        try:
            with _readable(file) as source, watched() as progress:
                return await import_lines(database, _awaited(read_lines(source)), _reading(source, progress))
        except LineError as error:
            raise CommandError(f"{error}; nothing was imported") from None

    counts = run_with_database(work, writes=True, undone="nothing was imported")
    err.print(
        f"imported {counts.users} users and {counts.posts} posts in {time.perf_counter() - started:.1f} s",
    )
    if counts.without_password:
        err.print(f"{counts.without_password} of the users have no password yet: they sign in once one has been set")


def _awaited(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same lines; Ctrl-C ends the wait for the next one of a pipe."""
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
    """Return what shows the progress of reading: by bytes in a file, by lines in a pipe, whose end nobody knows."""
    if not source.seekable():
        return lambda lines: progress("lines", lines, None)
    start = source.tell()
    size = source.seek(0, os.SEEK_END)
    source.seek(start)
    return lambda _: progress("bytes", source.tell(), size)
