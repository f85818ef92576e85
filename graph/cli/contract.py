"""`folio schema` and `folio cost`: what clients rely on, and what their operations cost."""

from pathlib import Path
from typing import Annotated

import typer
from graphql import GraphQLError, GraphQLSchema, OperationDefinitionNode, build_schema, parse
from graphql.utilities import find_breaking_changes, find_dangerous_changes

from graph.cli.terminal import CommandError, err, out
from graph.operations import Operation, Operations, RequestRefused
from graph.pricing import LENGTH_MAX
from graph.schema import graphql_schema, schema_text, without_null_defaults

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


def cost(
    documents: Annotated[list[Path], typer.Argument(help="Files of GraphQL operations.")],
) -> None:
    """Print what each operation costs at most, by the weights in the schema. Exits 1 where one is over a limit.

    Variables without a default that say how long lists get are taken to be as large as they may be, and are named.
    """
    operations = Operations(graphql_schema, introspection=True, suggestions=True)
    too_large = False
    for path in documents:
        text = _text(path)
        for name in _operation_names(path, text):
            price, deciding = _operation(operations, path, text, name).pricing.dearest()
            given = ", ".join(f"${variable} = {LENGTH_MAX}" for variable in deciding)
            with_these = f" with {given}" if given else ""
            out.print(f"{path}: {name or '(no name)'}: {price.cost}{with_these}", markup=False)
            for violation in price.violations():
                too_large = True
                err.print(f"{path}: {name or '(no name)'}: {violation.message}", markup=False)
    if too_large:
        raise typer.Exit(1)


def _operation_names(path: Path, text: str) -> list[str | None]:
    try:
        definitions = parse(text).definitions
    except GraphQLError as error:
        raise CommandError(f"{path}: {error}") from None
    return [one.name.value if one.name else None for one in definitions if isinstance(one, OperationDefinitionNode)]


def _operation(operations: Operations, path: Path, text: str, name: str | None) -> Operation:
    try:
        return operations.find(text, name)
    except RequestRefused as refused:
        raise CommandError(f"{path}: {refused.errors[0]}") from None


def _read(path: Path) -> GraphQLSchema:
    try:
        # Older versions printed `= null` for what is optional; without it, what is left out means the same.
        return without_null_defaults(build_schema(_text(path)))
    except (GraphQLError, TypeError) as error:
        raise CommandError(f"{path} is no GraphQL schema: {error}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{path} is no text in UTF-8") from None
