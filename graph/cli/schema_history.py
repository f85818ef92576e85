"""`folio migrate`: Alembic's commands on the database of the settings, the embedded one where there is none."""

from typing import Annotated

import typer
from alembic import command
from alembic.util import CommandError as AlembicError

from db.migrating import alembic_config
from db.settings import Settings
from graph.cli.terminal import CommandError, configured

commands = typer.Typer(no_args_is_help=True)


def upgrade_to(settings: Settings, revision: str = "head", *, sql: bool = False) -> None:
    """Bring the schema of the database of `settings` up to `revision`."""
    assert settings.database_url is not None
    command.upgrade(alembic_config(settings.database_url.get_secret_value()), revision, sql=sql)


# "-1" is a step, not an option.
_STEPS = {"ignore_unknown_options": True}


@commands.command(context_settings=_STEPS)
def upgrade(
    revision: Annotated[str, typer.Argument(help="A revision, `head`, or a step such as +1.")] = "head",
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL instead of running it.")] = False,
) -> None:
    """Apply what is missing."""
    _run("upgrade", revision, sql=sql)


@commands.command(context_settings=_STEPS)
def downgrade(
    revision: Annotated[str, typer.Argument(help="A revision, `base`, or a step such as -1.")],
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL instead of running it.")] = False,
) -> None:
    """Take migrations back. What is in a dropped table is gone."""
    _run("downgrade", revision, sql=sql)


@commands.command()
def current() -> None:
    """Say which revision the database is at."""
    _run("current")


@commands.command()
def history() -> None:
    """List all revisions."""
    _run("history")


@commands.command()
def check() -> None:
    """Say whether the models and the database differ. Exits 1 where they do."""
    _run("check")


@commands.command()
def revision(
    message: Annotated[str, typer.Argument(help="What the migration does, in a few words.")],
    autogenerate: Annotated[
        bool, typer.Option(help="Fill it with the difference between the models and the database.")
    ] = True,
) -> None:
    """Write a new migration, for developers."""
    _run("revision", message=message, autogenerate=autogenerate)


def _run(name: str, *arguments: str, **options: object) -> None:
    with configured() as settings:
        assert settings.database_url is not None
        config = alembic_config(settings.database_url.get_secret_value())
        try:
            getattr(command, name)(config, *arguments, **options)
        except AlembicError as error:
            raise CommandError(str(error)) from None
