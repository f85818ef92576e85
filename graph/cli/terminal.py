"""What every command shares: how it gets its settings and database, how it refuses, and where it prints.

Results go to standard output, everything said about them to standard error. A refusal is one sentence that says what
is wrong and what to do, and exit status 1; nothing shows a traceback but a fault of ours.
"""

import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NoReturn, TypeVar

import typer
import uvloop
from rich.console import Console

from db.connections.database import Database
from db.development import completed
from db.embedded import EmbeddedError
from db.errors import Refusal, Unavailable
from db.migrating import applied_revisions, expected_revision
from db.settings import Settings, SettingsError, load_settings

WIDTH_UNSEEN = 200

T = TypeVar("T")

# A table that nobody looks at, but something reads, is not folded at 80 columns.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH_UNSEEN)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class CommandError(Exception):
    """A command that cannot do what it was asked for; the message says why and what to do."""


def refuse(message: str) -> NoReturn:
    """Print `message` as the refusal of this command and exit with status 1."""
    err.print("[bold red]folio:[/]", end=" ")
    err.print(message, markup=False)
    raise typer.Exit(1)


@contextmanager
def refusals() -> Iterator[None]:
    """Turn every expected failure inside into the refusal of this command."""
    try:
        yield
    except (SettingsError, EmbeddedError, CommandError, Unavailable) as error:
        refuse(str(error))
    except Refusal as error:
        refuse(error.message)


@contextmanager
def configured() -> Iterator[Settings]:
    """Load the settings and complete them for development; the embedded server runs meanwhile where it is used."""
    with refusals(), completed(load_settings()) as settings:
        yield settings


@asynccontextmanager
async def opened(settings: Settings, *, migrated: bool = True) -> AsyncIterator[Database]:
    """Open the database of `settings`.

    Raises:
        CommandError: `migrated` is asked for, and the schema is not the one that this code expects.
    """
    database = Database(settings)
    try:
        if migrated:
            await demand_migrated(database)
        yield database
    finally:
        await database.close()


async def demand_migrated(database: Database) -> None:
    """Raise a CommandError that says what to do where the schema is not the one that this code expects."""
    applied = await applied_revisions(database)
    if not applied:
        raise CommandError("the database has no tables yet; run `folio migrate upgrade` first")
    if list(applied) != [expected_revision()]:
        raise CommandError(
            f"the database is at revision {', '.join(applied)} and this version of Folio expects "
            f"{expected_revision()}; run `folio migrate upgrade`, or install the version that belongs to the database"
        )


def run_with_database(work: Callable[[Database], Coroutine[Any, Any, T]]) -> T:
    """Run `work` with the migrated database of the settings, and return what it returns."""

    async def main(settings: Settings) -> T:
        async with opened(settings) as database:
            return await work(database)

    with configured() as settings:
        return uvloop.run(main(settings))
