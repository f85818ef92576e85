"""`folio seed`, `folio import` and `folio export`: data into and out of the database.

Invariants: a command that fails, or is interrupted, leaves neither half of the data in the database nor half a file.
Progress is shown where somebody watches; what was done is said in one line at the end, either way.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from db import checks, seeding
from db.connections.database import Database
from db.jsonlines import LineCounts, LineError, export_lines, import_lines, read_lines
from db.seeding import SeedError, SeedPlan, SeedReport
from graph.cli.demo import DEMO_PASSWORD
from graph.cli.progress import watched
from graph.cli.terminal import CommandError, err, interruptible, out, refuse, run_with_database
from graph.passwords import PasswordHasher

STANDARD_STREAM = Path("-")

commands = typer.Typer()


@commands.command()
def seed(
    users: Annotated[
        int, typer.Option(min=0, max=seeding.USERS_MAX, help="Users, the first two being ada and ben.")
    ] = 1000,
    posts: Annotated[int, typer.Option(min=0, max=seeding.POSTS_MAX, help="Posts, of all users together.")] = 10_000,
    accounts: Annotated[
        int, typer.Option(min=0, max=seeding.ACCOUNTS_MAX, help="Money accounts, of all users together.")
    ] = 1000,
    number: Annotated[int, typer.Option("--seed", help="Another number gives other data of the same kind.")] = 1,
    password: Annotated[str, typer.Option(help="The password that all of them share.")] = DEMO_PASSWORD,
) -> None:
    """Fill an empty database with plausible data, the same each time. ada is an administrator."""
    plan = SeedPlan(users, posts, accounts, number, admin=True)
    started = time.perf_counter()

    async def work(database: Database) -> SeedReport:
        if database.settings.env == "production" and password == DEMO_PASSWORD:
            raise CommandError("in production say which --password the users get; everybody knows the usual one")
        for refusal in checks.check_password(password):
            raise CommandError(f"--password: {refusal.message}")
        hashed_password = await _hashed(database, password)
        try:
            with watched() as progress:
                return await seeding.seed(database, plan, hashed_password, progress)
        except SeedError as error:
            raise CommandError(str(error)) from None

    report = run_with_database(work, writes=True, undone="nothing was seeded")
    err.print(
        f"seeded {report.users} users, {report.profiles} profiles, {report.posts} posts, {report.accounts} accounts "
        f"and {report.transactions} transactions in {time.perf_counter() - started:.1f} s"
    )
    if report.users:
        names = "ada, an administrator, or as any other user" if report.users > 1 else "ada, an administrator"
        out.print(f"sign in as {names}, with the password: {password}", markup=False)


async def _hashed(database: Database, password: str) -> str:
    hasher = PasswordHasher(database.settings)
    try:
        return await hasher.hash(password)
    finally:
        hasher.close()


@commands.command("import")
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


@commands.command()
def export(
    file: Annotated[Path, typer.Argument(help="Where to; - is standard output.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the file where there is one.")] = False,
    with_password_hashes: Annotated[
        bool,
        typer.Option("--with-password-hashes", help="Users keep their passwords where the file is imported."),
    ] = False,
) -> None:
    """Write users, profiles and posts as JSON Lines, as they are at one moment. The file has personal data in it."""
    _demand_replaceable(file, force)
    started = time.perf_counter()

    async def work(database: Database) -> LineCounts:
        with _writable(file) as write, watched() as progress:
            return await export_lines(database, write, progress, with_password_hashes=with_password_hashes)

    left = "what was written is not all" if file == STANDARD_STREAM else f"{file} was not written"
    counts = run_with_database(work, undone=left)
    err.print(f"exported {counts.users} users and {counts.posts} posts in {time.perf_counter() - started:.1f} s")


# ---------------------------------------------------------------- files


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


def _demand_replaceable(file: Path, force: bool) -> None:
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


# ---------------------------------------------------------------- progress


def _reading(source: BinaryIO, progress: Callable[[str, int, int | None], None]) -> Callable[[int], None]:
    """Return what shows the progress of reading: by bytes in a file, by lines in a pipe, whose end nobody knows."""
    if not source.seekable():
        return lambda lines: progress("lines", lines, None)
    start = source.tell()
    size = source.seek(0, os.SEEK_END)
    source.seek(start)
    return lambda _: progress("bytes", source.tell(), size)
