"""`folio migrate`: Alembic's commands for the database of the settings, or for the embedded one where none is set."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer
import uvloop
from alembic import command
from alembic.util import CommandError as AlembicError

from db.settings import Settings
from db.setup.schema_version import alembic_config, applied_revisions, expected_revision
from graph.cli.support.terminal import CommandError, Interrupted, connected, opened, out

commands = typer.Typer(no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class Step:
    """One migration that was applied or reverted."""

    revision: str
    summary: str


def upgrade_to(settings: Settings, revision: str = "head", *, sql: bool = False) -> list[Step]:
    """Upgrade the schema of the database of `settings` to `revision`, and return the applied migrations.

    Raises:
        CommandError: the revision does not exist, or another process migrates the database.
    """
    return _migrate(command.upgrade, settings, revision, sql=sql)


def _migrate(run: Callable[..., None], settings: Settings, revision: str, *, sql: bool) -> list[Step]:
    assert settings.database_url is not None
    config = alembic_config(settings.database_url.get_secret_value())
    steps: list[Step] = []

    def note(*, step: Any, **_: object) -> None:
        script = step.up_revision
        steps.append(Step(script.revision, script.doc))

    config.attributes["on_version_apply"] = note
    with _alembic_refusals():
        run(config, revision, sql=sql)
    return steps


# "-1" is a step, not an option.
_STEPS = {"ignore_unknown_options": True}


@commands.command(context_settings=_STEPS)
def upgrade(
    revision: Annotated[str, typer.Argument(help="A revision, `head`, or a step such as +1.")] = "head",
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL instead of running it.")] = False,
) -> None:
    """Apply missing migrations, and list them."""
    if sql:
        _run("upgrade", revision, sql=True)
        return
    with _interruptible(), connected(existing=False, writes=True) as settings:
        before = _applied(settings)
        steps = upgrade_to(settings, revision)
        _report("applied", steps, before, _applied(settings))


@commands.command(context_settings=_STEPS)
def downgrade(
    revision: Annotated[str, typer.Argument(help="A revision, `base`, or a step such as -1.")],
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL instead of running it.")] = False,
) -> None:
    """Revert migrations, and list them. Data in dropped tables is lost."""
    if sql:
        _run("downgrade", revision, sql=True)
        return
    with _interruptible(), connected(writes=True) as settings:
        before = _applied(settings)
        steps = _migrate(command.downgrade, settings, revision, sql=False)
        _report("reverted", steps, before, _applied(settings))


@commands.command()
def current() -> None:
    """Print the revision of the database."""
    with connected() as settings:
        out.print(_named(_applied(settings)))


@commands.command()
def history() -> None:
    """List all revisions."""
    _run("history")


@commands.command()
def check() -> None:
    """Compare the models with the database. Exits with 1 if they differ."""
    _run_connected("check")


@commands.command()
def revision(
    message: Annotated[str, typer.Argument(help="What the migration does, in a few words.")],
    autogenerate: Annotated[
        bool, typer.Option(help="Fill it with the difference between the models and the database.")
    ] = True,
) -> None:
    """Write a new migration, for developers."""
    _run_connected("revision", message=message, autogenerate=autogenerate)


def _run(name: str, *arguments: str, **options: object) -> None:
    """Run an Alembic command that needs no database."""
    with _alembic_refusals():
        getattr(command, name)(alembic_config(), *arguments, **options)


def _run_connected(name: str, **options: object) -> None:
    with connected() as settings, _alembic_refusals():
        assert settings.database_url is not None
        getattr(command, name)(alembic_config(settings.database_url.get_secret_value()), **options)


@contextmanager
def _alembic_refusals() -> Iterator[None]:
    try:
        yield
    except AlembicError as error:
        raise CommandError(str(error)) from None


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(
            "each migration is applied completely or not at all; `folio migrate current` prints the database's revision"
        ) from None


def _applied(settings: Settings) -> Sequence[str]:
    async def query() -> Sequence[str]:
        async with opened(settings, migrated=False) as database:
            return await applied_revisions(database)

    return uvloop.run(query())


def _report(action: str, steps: Sequence[Step], before: Sequence[str], after: Sequence[str]) -> None:
    for step in steps:
        out.print(f"{action} {step.revision}: {step.summary}", markup=False)
    if steps:
        out.print(f"the database was at {_named(before)}, and is now at {_named(after)}")
    else:
        out.print(f"nothing to do: the database is at {_named(after)}")


def _named(revisions: Sequence[str]) -> str:
    if not revisions:
        return "no revision (it has no tables yet)"
    is_newest = list(revisions) == [expected_revision()]
    return ", ".join(revisions) + (" (the newest)" if is_newest else "")
