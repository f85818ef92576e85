"""`folio documents`: the manifest of trusted documents, made from the operations of an application."""

from pathlib import Path
from typing import Annotated

import typer
from graphql import (
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    OperationDefinitionNode,
    Visitor,
    parse,
    print_ast,
    validate,
    visit,
)

from graph.cli.support.terminal import CommandError, out, refusals
from graph.operations.documents import manifest_of
from graph.schema.root import graphql_schema

commands = typer.Typer(no_args_is_help=True)


@commands.callback()
def _family() -> None:
    """Keep `build` a subcommand although it is the only one: Typer would otherwise merge the two."""


@commands.command()
def build(
    directory: Annotated[Path, typer.Argument(help="The directory of the .graphql files; subdirectories count too.")],
    output: Annotated[Path, typer.Option(help="The manifest to write.")] = Path("documents.json"),
) -> None:
    """Write the manifest of all operations in a directory, each with the fragments that it uses."""
    with refusals():
        texts = _documents(directory)
        draft = output.with_name(f".{output.name}.new")
        try:
            draft.write_bytes(manifest_of(texts))
            draft.replace(output)
        except OSError as error:
            raise CommandError(f"{output} cannot be written: {error.strerror}") from None
    out.print(f"{output}: {len(texts)} operations", markup=False)


def _documents(directory: Path) -> list[str]:
    operations: list[tuple[Path, OperationDefinitionNode]] = []
    fragments: dict[str, FragmentDefinitionNode] = {}
    for path in sorted(directory.rglob("*.graphql")):
        try:
            definitions = parse(path.read_text(encoding="utf-8")).definitions
        except (OSError, UnicodeDecodeError, GraphQLError) as error:
            raise CommandError(f"{path}: {error}") from None
        operations += [(path, one) for one in definitions if isinstance(one, OperationDefinitionNode)]
        for one in definitions:
            if isinstance(one, FragmentDefinitionNode):
                if one.name.value in fragments:
                    raise CommandError(f"{path}: the fragment {one.name.value} is defined twice")
                fragments[one.name.value] = one
    if not operations:
        raise CommandError(f"{directory} contains no operation in a .graphql file")
    return [_whole(path, operation, fragments) for path, operation in operations]


class _Spreads(Visitor):
    """Collects the names of fragment spreads."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def enter_fragment_spread(self, node: FragmentSpreadNode, *_: object) -> None:
        self.names.add(node.name.value)


def _whole(path: Path, operation: OperationDefinitionNode, fragments: dict[str, FragmentDefinitionNode]) -> str:
    """Return the operation with the fragments that it needs, checked against the schema."""
    parts: list[OperationDefinitionNode | FragmentDefinitionNode] = [operation]
    spread: set[str] = set()
    for part in parts:  # the list grows during the loop
        found = _Spreads()
        visit(part, found)
        parts += [fragments[name] for name in sorted(found.names - spread) if name in fragments]
        spread |= found.names
    text = "\n\n".join(print_ast(part) for part in parts)
    errors = validate(graphql_schema, parse(text))
    if errors:
        raise CommandError(f"{path}: {errors[0]}")
    return text
