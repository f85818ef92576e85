"""`folio cost`: the highest cost of each operation in a file."""

from pathlib import Path
from typing import Annotated

import typer
from graphql import GraphQLError, OperationDefinitionNode, parse

from graph.analysis.field_facts import LENGTH_MAX
from graph.cli.support.files import read_text
from graph.cli.support.terminal import CommandError, err, out
from graph.operations.cache import Operation, Operations, RequestRefused
from graph.schema.root import graphql_schema


def cost(
    documents: Annotated[list[Path], typer.Argument(help="Files of GraphQL operations.")],
) -> None:
    """Print the highest cost of each operation, by the weights in the schema. Exits with 1 if one exceeds a limit.

    A variable that sets the length of a list and has no default counts with its maximum, and is listed.
    """
    operations = Operations(graphql_schema, introspection=True, suggestions=True)
    too_large = False
    for path in documents:
        text = read_text(path)
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
