"""The `folio` command: every family of commands under one name."""

import signal
import sys
from importlib import metadata
from typing import Annotated

import typer

from graph.cli import audit, cost, dev, doctor, documents, export, import_, migrate, schema, seed, serve, settings, user
from graph.cli.support.failures import Commands, refusals
from graph.cli.support.terminal import out

app = typer.Typer(
    name="folio",
    cls=Commands,
    help="Folio serves users, posts, money accounts and their ledger over GraphQL.",
    no_args_is_help=True,
    add_completion=False,
    # A traceback is for us, not for whoever typed a command; typer's own would print local variables, secrets too.
    pretty_exceptions_enable=False,
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        out.print(f"folio {metadata.version('folio')}")
        raise typer.Exit


@app.callback()
def _folio(
    version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


app.command()(dev.dev)
app.command()(serve.serve)
app.add_typer(migrate.commands, name="migrate", help="Bring the database's schema up to date, or back.")
app.command()(seed.seed)
app.command("import")(import_.import_)
app.command()(export.export)
app.command()(audit.audit)
app.add_typer(user.commands, name="user", help="Users, for whoever runs the server.")
app.add_typer(schema.commands, name="schema", help="The GraphQL schema, for clients and reviews.")
app.command()(cost.cost)
app.add_typer(documents.commands, name="documents", help="Trusted documents: the operations an application has.")
app.command()(doctor.doctor)
app.command()(settings.settings)


def main() -> None:
    """Run the command line, and end the process."""
    try:
        with refusals():
            try:
                app()
            finally:
                sys.stdout.flush()  # what cannot be written is to be said, not left to the interpreter's end
    except typer.Exit as end:
        sys.exit(end.exit_code)
    finally:
        # All is done and said: what is left is Python's own tidying up.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
