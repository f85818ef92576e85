"""The `folio` command: all commands and groups of commands under one name."""

import signal
import sys
from importlib import metadata
from typing import Annotated

import typer

from graph.cli import (
    audit,
    cost,
    dev,
    doctor,
    documents,
    explain,
    export,
    import_,
    migrate,
    schema,
    seed,
    serve,
    settings,
    user,
)
from graph.cli.support.failures import Commands, refusals
from graph.cli.support.terminal import out

app = typer.Typer(
    name="folio",
    cls=Commands,
    help="Folio serves users, posts, money accounts and their ledger over GraphQL.",
    no_args_is_help=True,
    add_completion=False,
    # Tracebacks are for developers, not for users of the command. Typer's own would print local variables and secrets.
    pretty_exceptions_enable=False,
)


def _print_version(is_requested: bool) -> None:
    if is_requested:
        out.print(f"folio {metadata.version('folio')}")
        raise typer.Exit


@app.callback()
def _folio(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


app.command()(dev.dev)
app.command()(serve.serve)
app.add_typer(migrate.commands, name="migrate", help="Upgrade or downgrade the database's schema.")
app.command()(seed.seed)
app.command("import")(import_.import_)
app.command()(export.export)
app.command()(audit.audit)
app.add_typer(user.commands, name="user", help="Manage users, as the operator of the server.")
app.add_typer(schema.commands, name="schema", help="The GraphQL schema, for clients and reviews.")
app.command()(cost.cost)
app.command("explain")(explain.explain_)
app.add_typer(documents.commands, name="documents", help="Trusted documents: the operations of an application.")
app.command()(doctor.doctor)
app.command()(settings.settings)


def main() -> None:
    """Run the command line, and end the process."""
    try:
        with refusals():
            try:
                app()
            finally:
                sys.stdout.flush()  # a write error must be reported here, not at the end of the interpreter
    except typer.Exit as end:
        sys.exit(end.exit_code)
    finally:
        # All work and output is done; only the interpreter's cleanup is left.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
