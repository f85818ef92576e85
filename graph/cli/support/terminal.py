"""Shared parts of all commands: settings and database, interruption by Ctrl-C, and output.

Results go to standard output, and messages about them to standard error. `graph.cli.support.failures` handles failures.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NoReturn, TypeVar

import uvloop
from rich.console import Console

from db.connections.database import Database
from db.connections.leases import LeasedConnection
from db.settings import Settings, load_settings
from db.setup.development import completed, data_directory, with_database
from db.setup.diagnosis import ensure_usable, explained_problems
from db.setup.schema_version import applied_revisions, expected_revision
from graph.cli.support.failures import CommandError, Interrupted, err, refusals

__all__ = [
    "CommandError",
    "Interrupted",
    "configured",
    "connected",
    "ensure_migrated",
    "err",
    "errors_reported_once",
    "interruptible",
    "opened",
    "out",
    "refusals",
    "refuse",
    "run_with_database",
]

WIDTH_UNSEEN = 200

T = TypeVar("T")

# A table that a program reads, not a person, must not be wrapped at 80 columns.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH_UNSEEN)


def refuse(message: str) -> NoReturn:
    """End this command with `message`."""
    raise CommandError(message)


@contextmanager
def configured() -> Iterator[Settings]:
    """Load the settings, and make what development lacks (`db.setup.development`), for serving.

    Raises:
        SettingsError: a setting is invalid.
        EmbeddedError: the embedded server cannot be started, or the secret cannot be stored.
        DatabaseProblem: the database cannot be used, or refused something within the block.
    """
    chosen = load_settings()
    _announce(chosen)
    with completed(chosen) as settings, _usable(settings, writes=False):
        yield settings


@contextmanager
def connected(*, existing: bool = True, writes: bool = False) -> Iterator[Settings]:
    """Load the settings for a command that uses the database. Nothing missing is made, except by `existing=False`.

    Args:
        existing: whether the embedded database must exist already; otherwise it is made.
        writes: whether the command writes, so that a read-only database is refused.

    Raises:
        SettingsError: a setting is invalid.
        EmbeddedError: the embedded server cannot be started, or does not exist.
        DatabaseProblem: the database cannot be used, or refused something within the block.
    """
    chosen = load_settings()
    if not existing:
        _announce(chosen)
    with with_database(chosen, existing=existing) as settings, _usable(settings, writes=writes):
        yield settings


def _announce(settings: Settings) -> None:
    """Print on a terminal that a database will be made, which takes some seconds."""
    if err.is_terminal and settings.database_url is None and not data_directory(settings).exists():
        err.print(f"creating a database in {settings.data_dir}", markup=False)


@contextmanager
def _usable(settings: Settings, *, writes: bool) -> Iterator[None]:
    with explained_problems(settings):
        uvloop.run(ensure_usable(settings, writes=writes))
        yield


@asynccontextmanager
async def opened(settings: Settings, *, migrated: bool = True) -> AsyncIterator[Database]:
    """Open the database of `settings`.

    Raises:
        CommandError: `migrated` is true, and the schema version is not the expected one.
    """
    async with _opened(Database(settings), migrated=migrated) as database:
        yield database


@asynccontextmanager
async def _opened(database: Database, *, migrated: bool) -> AsyncIterator[Database]:
    try:
        if migrated:
            await ensure_migrated(database)
        yield database
    finally:
        await database.close()


async def ensure_migrated(database: Database) -> None:
    """Raise a CommandError with a remedy where the schema version is not the expected one."""
    applied = await applied_revisions(database)
    if not applied:
        raise CommandError("the database has no tables yet; run `folio migrate upgrade` first")
    if list(applied) != [expected_revision()]:
        raise CommandError(
            f"the database is at revision {', '.join(applied)} and this version of Folio expects "
            f"{expected_revision()}; run `folio migrate upgrade`, or install the version that matches the database"
        )


class _CommandDatabase(Database):
    """A database whose COMMIT is not interrupted by Ctrl-C, so that a command knows whether its work was stored."""

    has_committed = False

    async def _commit(self, connection: LeasedConnection) -> None:
        with _interruption_deferred():
            await asyncio.sleep(0)  # a Ctrl-C from before the block ends the task here, and not after COMMIT was sent
            await super()._commit(connection)
            self.has_committed = True


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end the block at once. The block waits for a file; the event loop would react only afterwards.

    A Ctrl-C from before the block, to which the event loop has not reacted yet, ends it too.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if _is_interrupted():
            raise KeyboardInterrupt
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _is_interrupted() -> bool:
    """Whether Ctrl-C has requested the end of the task that runs, if one does."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no event loop runs
        return False
    return task is not None and task.cancelling() > 0


@contextmanager
def _interruption_deferred() -> Iterator[None]:
    """Defer Ctrl-C until the block has ended. The block has its own time limit."""
    noted: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: noted.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if noted:
            signal.raise_signal(noted[0])


def run_with_database(
    work: Callable[[Database], Coroutine[Any, Any, T]],
    *,
    writes: bool = False,
    undone: str = "nothing was changed",
    statement_timeout_ms: int | None = None,
) -> T:
    """Run `work` with the migrated database of the settings, and return what it returns.

    Args:
        work: the work of the command.
        writes: whether it writes to the database.
        undone: the message where Ctrl-C has ended it before its COMMIT.
        statement_timeout_ms: the time limit of a statement, where the limit of requests is too short.

    Raises:
        Interrupted: Ctrl-C ended the work.
    """
    databases: list[_CommandDatabase] = []
    results: list[T] = []

    async def main(settings: Settings) -> None:
        if statement_timeout_ms is not None:
            settings = settings.model_copy(update={"statement_timeout_ms": statement_timeout_ms})
        databases.append(_CommandDatabase(settings))
        async with _opened(databases[0], migrated=True) as database:
            results.append(await work(database))

    try:
        with connected(writes=writes) as settings, errors_reported_once():
            uvloop.run(main(settings))
    except KeyboardInterrupt:
        if not results:  # otherwise Ctrl-C came after the work
            kept = any(database.has_committed for database in databases)
            raise Interrupted("everything had been written already" if kept else undone) from None
    return results[0]


@contextmanager
def errors_reported_once() -> Iterator[None]:
    """Silence the log of the database connections: they also raise what they log, and the command reports it."""
    logger = logging.getLogger("db.connections")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
