"""`folio export`: users, profiles, posts and comments as JSON Lines. The file is complete or does not exist."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from db.bulk.jsonlines import TABLES, LineCounts, export_lines
from db.connections.database import Database
from graph.cli.support.files import STANDARD_STREAM
from graph.cli.support.progress import counted, watched
from graph.cli.support.terminal import CommandError, err, interruptible, refuse, run_with_database


def export(
    file: Annotated[Path, typer.Argument(help="The file to write; - is standard output.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    with_password_hashes: Annotated[
        bool,
        typer.Option(
            "--with-password-hashes", help="Include password hashes: users keep their passwords after an import."
        ),
    ] = False,
) -> None:
    """Write users, profiles, posts and comments as JSON Lines, from one snapshot. The file contains personal data."""
    _ensure_replaceable(file, force)
    started = time.perf_counter()

    async def work(database: Database) -> LineCounts:
        with _writable(file) as write, watched() as progress:
            return await export_lines(database, write, progress, with_password_hashes=with_password_hashes)

    left = "the output is not complete" if file == STANDARD_STREAM else f"{file} was not written"
    counts = run_with_database(work, undone=left)
    done = counted({table: counts[table] for table in TABLES})
    err.print(f"exported {done} in {time.perf_counter() - started:.1f} s")


def _ensure_replaceable(file: Path, force: bool) -> None:
    if file == STANDARD_STREAM or not file.exists():
        return
    if not file.is_file():
        refuse(f"{file} is not a regular file; write to - and redirect the output")
    if not force:
        refuse(f"{file} exists already; --force replaces it")


@contextmanager
def _writable(file: Path) -> Iterator[Callable[[bytes], object]]:
    """Yield a function that writes bytes of `file`. The file appears, complete, when the block ends without an error.

    Raises:
        CommandError: the file cannot be written.
    """
    if file == STANDARD_STREAM:
        yield _write_out
        sys.stdout.buffer.flush()
        return
    # A symbolic link is followed, as if the file were written in place.
    target = file.resolve()
    with _worded(file):
        # mkstemp makes it readable only by its owner: it contains email addresses.
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    draft, sink = Path(name), os.fdopen(descriptor, "wb")

    def write(data: bytes) -> None:
        with _worded(file):
            sink.write(data)

    try:
        yield write
        with _worded(file):
            sink.flush()
            os.fsync(descriptor)
            draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    finally:
        # A write error has been reported already; closing tries to write once more, and fails again.
        with suppress(OSError):
            sink.close()


def _write_out(data: bytes) -> None:
    with interruptible():  # the reader of a pipe may be slow
        sys.stdout.buffer.write(data)


@contextmanager
def _worded(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}") from None
