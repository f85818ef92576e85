"""`folio schema`: print the GraphQL schema, and say what a change of it does to clients."""

from pathlib import Path
from typing import Annotated

import typer
from graphql import GraphQLError, GraphQLSchema, build_schema
from graphql.utilities import find_breaking_changes, find_dangerous_changes

from graph.cli.terminal import CommandError, err, out, refusals
from graph.schema import graphql_schema, schema_text

commands = typer.Typer(no_args_is_help=True)


@commands.command("print")
def print_() -> None:
    """Print the schema that this version serves; schema.graphql is this."""
    out.file.write(schema_text())


@commands.command()
def check(
    old: Annotated[
        Path, typer.Argument(help="The schema that clients rely on, for example schema.graphql of a release.")
    ],
) -> None:
    """Compare this version's schema with an older one: safe, dangerous or breaking. Exits 1 where it breaks clients."""
    with refusals():
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
        return build_schema(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{path} is no text in UTF-8") from None
    except (GraphQLError, TypeError) as error:
        raise CommandError(f"{path} is no GraphQL schema: {error}") from None
