"""`folio export`: users, profiles and posts as JSON Lines, all of them or no file."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from db.bulk.jsonlines import LineCounts, export_lines
from db.connections.database import Database
from graph.cli.support.files import STANDARD_STREAM
from graph.cli.support.progress import watched
from graph.cli.support.terminal import CommandError, err, interruptible, refuse, run_with_database


def export(
    file: Annotated[Path, typer.Argument(help="Where to; - is standard output.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the file where there is one.")] = False,
    with_password_hashes: Annotated[
        bool,
        typer.Option("--with-password-hashes", help="Users keep their passwords where the file is imported."),
    ] = False,
) -> None:
    """Write users, profiles and posts as JSON Lines, as they are at one moment. The file has personal data in it."""
    _ensure_replaceable(file, force)
    started = time.perf_counter()

    async def work(database: Database) -> LineCounts:
        with _writable(file) as write, watched() as progress:
            return await export_lines(database, write, progress, with_password_hashes=with_password_hashes)

    left = "what was written is not all" if file == STANDARD_STREAM else f"{file} was not written"
    counts = run_with_database(work, undone=left)
    err.print(f"exported {counts.users} users and {counts.posts} posts in {time.perf_counter() - started:.1f} s")


def _ensure_replaceable(file: Path, force: bool) -> None:
    if file == STANDARD_STREAM or not file.exists():
        return
    if not file.is_file():
        refuse(f"{file} is no ordinary file; write to - and redirect that")
    if not force:
        refuse(f"{file} is there already; --force replaces it")


@contextmanager
def _writable(file: Path) -> Iterator[Callable[[bytes], object]]:
    """Yield what takes the bytes of `file`, which is there as a whole once the block has ended well, and not before.

    Raises:
        CommandError: the file cannot be written.
    """
    if file == STANDARD_STREAM:
        yield _write_out
        sys.stdout.buffer.flush()
        return
    # Through a symbolic link, as writing in place would go.
    target = file.resolve()
    with _worded(file):
        # Readable by its owner alone, which mkstemp sees to: there are email addresses in it.
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
        # What it could not write has been reported by now; closing tries, and fails, once more.
        with suppress(OSError):
            sink.close()


def _write_out(data: bytes) -> None:
    with interruptible():  # whoever reads a pipe may take their time
        sys.stdout.buffer.write(data)


@contextmanager
def _worded(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}") from None
