"""The `folio` command: every family of commands under one name."""

import typer

from graph.cli import contract, data, documents, money, people, schema_history, serving, setup

app = typer.Typer(
    name="folio",
    help="Folio serves users, posts, money accounts and their ledger over GraphQL.",
    no_args_is_help=True,
    add_completion=False,
    # A traceback is for us, not for whoever typed a command; typer's own would print local variables, secrets too.
    pretty_exceptions_enable=False,
)
app.command()(serving.dev)
app.command()(serving.serve)
app.add_typer(schema_history.commands, name="migrate", help="Bring the database's schema up to date, or back.")
app.add_typer(data.commands)
app.command()(money.audit)
app.add_typer(people.commands, name="user", help="Users, for whoever runs the server.")
app.add_typer(contract.commands, name="schema", help="The GraphQL schema, for clients and reviews.")
app.command()(contract.cost)
app.add_typer(documents.commands, name="documents", help="Trusted documents: the operations an application has.")
app.command()(setup.doctor)
app.command()(setup.settings)


def main() -> None:
    """Run the command line."""
    app()
