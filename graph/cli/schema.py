"""`folio schema`: prints the schema of this version, and compares it with an older one."""

from pathlib import Path
from typing import Annotated

import typer
from graphql import GraphQLError, GraphQLSchema, build_schema
from graphql.utilities import find_breaking_changes, find_dangerous_changes

from graph.cli.support.files import read_text
from graph.cli.support.terminal import CommandError, err, out
from graph.schema.root import graphql_schema, schema_text, without_null_defaults

commands = typer.Typer(no_args_is_help=True)


@commands.command("print")
def print_() -> None:
    """Print the schema that this version serves. schema.graphql contains the same text."""
    out.file.write(schema_text())


@commands.command()
def check(
    old: Annotated[
        Path, typer.Argument(help="The schema that clients rely on, for example schema.graphql of a release.")
    ],
) -> None:
    """Compare this version's schema with an older one: safe, dangerous or breaking. Exits with 1 if breaking."""
    before = _read(old)
    breaking = find_breaking_changes(before, graphql_schema)
    dangerous = find_dangerous_changes(before, graphql_schema)
    for change in breaking:
        err.print(f"breaking: {change.description}", markup=False)
    for danger in dangerous:
        err.print(f"dangerous: {danger.description}", markup=False)
    out.print("breaking" if breaking else "dangerous" if dangerous else "safe")
    if breaking:
        raise typer.Exit(1)


def _read(path: Path) -> GraphQLSchema:
    try:
        # Older versions printed `= null` for optional arguments and fields. It means the same as no default.
        return without_null_defaults(build_schema(read_text(path)))
    except (GraphQLError, TypeError) as error:
        raise CommandError(f"{path} is not a GraphQL schema: {error}") from None
