"""Prefetchable edges: a resolver receives them before it reads its rows, so that its statement can include theirs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Annotated, Any, cast

import pytest
import strawberry
from graphql import GraphQLSchema, OperationDefinitionNode, execute, parse
from strawberry.types import Info

from graph.execution import (
    DECLARATION,
    JOINS,
    BoundEdge,
    Column,
    Derived,
    Prepared,
    RowEdge,
    prefetchable_edges,
    selected_of,
)
from tests.graph.execution.support.declared import Loader

Row = Mapping[str, Any]
ROWS: list[Row] = [
    {"id": 1, "title": "One", "writer_id": 7, "writer.id": 7, "writer.name": "Ada"},
    {"id": 2, "title": "Two", "writer_id": 8, "writer.id": 8, "writer.name": "Grace"},
]
NOTES = {1: ("first", "second"), 2: ("third",)}
PRIZES = {7: ("gold",), 8: ()}


@dataclass
class Recorder:
    """The context of a run.

    Attributes:
        edges: for each call of the resolver, the prefetchable edges that it received, by key and loader.
        selected: for each call of the resolver, the selected fields of its object.
        applied: how often the arguments of the edge `notes` were applied.
    """

    notes: dict[int, Loader] = field(default_factory=dict)
    prizes: Loader = field(default_factory=lambda: Loader(PRIZES))
    edges: list[list[tuple[str, int]]] = field(default_factory=list)
    selected: list[set[str]] = field(default_factory=list)
    applied: int = 0

    def notes_from(self, number: int) -> Loader:
        return self.notes.setdefault(number, Loader({key: notes[number:] for key, notes in NOTES.items()}))


def _recorder(info: Any) -> Recorder:
    recorder: Recorder = info.context
    return recorder


def _notes(info: Info, start: int) -> BoundEdge:
    _recorder(info).applied += 1
    if start < 0:
        raise ValueError("notes begin at 0")
    return BoundEdge(_recorder(info).notes_from(start), lambda texts, _: [Note(text=text) for text in texts])


def _prizes(info: Info) -> BoundEdge:
    return BoundEdge(_recorder(info).prizes, lambda names, _: [Note(text=name) for name in names])


@strawberry.type
class Note:
    """An object without a row."""

    text: str


def _declared(declared: object, resolve: Callable[..., Any], *, joins: bool = False) -> Any:
    return strawberry.field(resolver=resolve, metadata={DECLARATION: declared, JOINS: joins})


def _name(root: strawberry.Parent[Any]) -> str:
    return cast("str", root.row["name"])


async def _prizes_of(root: strawberry.Parent[Any], info: Info) -> list[Note]:
    return [Note(text=name) for name in PRIZES[root.row["id"]]]


@strawberry.type
class Writer:
    """The writer, joined to their books."""

    row: strawberry.Private[Row]
    name: str = _declared(Column("name"), _name)
    prizes: list[Note] = _declared(RowEdge("id", _prizes), _prizes_of)


def _title(root: strawberry.Parent[Any]) -> str:
    return cast("str", root.row["title"])


async def _notes_of(root: strawberry.Parent[Any], info: Info, start: int = 0) -> list[Note]:
    return [Note(text=text) for text in NOTES[root.row["id"]][start:]]


async def _writer_of(root: strawberry.Parent[Any], info: Info) -> Writer:
    return Writer(row={"id": root.row["writer.id"], "name": root.row["writer.name"]})


def _writers(info: Info) -> BoundEdge:
    raise AssertionError("every writer is joined")


@strawberry.type
class Book:
    """A row."""

    row: strawberry.Private[Row]
    title: str = _declared(Column("title"), _title)
    notes: list[Note] = _declared(RowEdge("id", _notes), _notes_of)
    writer: Writer = _declared(RowEdge("writer_id", _writers, joined="writer."), _writer_of)


def _nodes(
    root: strawberry.Parent[Any],
) -> list[Annotated[Book, strawberry.lazy("tests.graph.execution.test_prefetchable_edges")]]:
    return [Book(row=row) for row in root.rows]


@strawberry.type
class Listing:
    """An object between a resolver and its rows."""

    rows: strawberry.Private[Sequence[Row]]
    size: int
    nodes: list[Annotated[Book, strawberry.lazy("tests.graph.execution.test_prefetchable_edges")]] = _declared(
        Derived(attrgetter("rows"), bare=True), _nodes, joins=True
    )


def _listed(info: Info) -> Listing:
    recorder, found = _recorder(info), prefetchable_edges(info)
    known = {id(loader): number for number, loader in recorder.notes.items()} | {id(recorder.prizes): -1}
    recorder.edges.append([(key, known[id(loading.loader)]) for loading, key in found])
    recorder.selected.append(set(selected_of(info)))
    return Listing(rows=ROWS, size=len(ROWS))


async def _resolved(info: Info) -> Listing:
    return _listed(info)


@strawberry.type
class Query:
    """Two lists of the same rows; only the statement of one of them joins."""

    books: Listing = strawberry.field(resolver=_resolved, metadata={JOINS: True})
    plain_books: Listing = strawberry.field(resolver=_resolved)


SCHEMA = cast("GraphQLSchema", vars(strawberry.Schema(Query))["_schema"])


async def ran(text: str, variables: dict[str, Any] | None = None) -> tuple[Recorder, Any]:
    """Run an operation on the compiled engine."""
    document = parse(text)
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    recorder = Recorder()
    return recorder, await Prepared(SCHEMA, document, operation).run(variables or {}, recorder)


async def test_resolver_receives_the_edges_of_its_rows_with_their_arguments() -> None:
    recorder, result = await ran(
        "query ($start: Int!) { books { nodes { title notes(start: $start) { text } } } }", {"start": 1}
    )
    assert result.errors is None
    assert recorder.edges == [[("id", 1)]]
    assert [node["notes"] for node in result.data["books"]["nodes"]] == [[{"text": "second"}], []]


async def test_resolver_receives_the_edges_of_joined_rows_with_the_column_in_its_own_row() -> None:
    recorder, result = await ran("{ books { nodes { notes { text } writer { name prizes { text } } } } }")
    assert result.errors is None
    assert recorder.edges == [[("id", 0), ("writer.id", -1)]]


async def test_arguments_of_an_edge_are_applied_once_and_each_loader_is_listed_once() -> None:
    recorder, result = await ran(
        "{ books { nodes { a: notes(start: 1) { text } b: notes(start: 1) { text } notes { text } } } }"
    )
    assert result.errors is None
    assert recorder.edges == [[("id", 1), ("id", 0)]]
    assert recorder.applied == 3  # once for each of the three fields
    assert [loader.requested for loader in recorder.notes.values()] == [[[1, 2]], [[1, 2]]]


@pytest.mark.parametrize(
    "text",
    [
        "{ plainBooks { nodes { notes { text } } } }",
        "{ books { nodes { title writer { name } } } }",
        "{ books { nodes { notes @skip(if: true) { text } title } } }",
    ],
)
async def test_resolver_receives_no_edge_that_is_not_joined_or_not_selected(text: str) -> None:
    recorder, result = await ran(text)
    assert result.errors is None
    assert recorder.edges == [[]]


async def test_arguments_that_an_edge_refuses_are_its_own_error_and_the_edge_is_not_listed() -> None:
    recorder, result = await ran("{ books { nodes { notes(start: -1) { text } } } }")
    assert recorder.edges == [[]]
    assert [error.path for error in result.errors] == [["books", "nodes", 0, "notes"]]
    assert result.errors[0].message == "notes begin at 0"


async def test_ordinary_engine_passes_no_edges() -> None:
    recorder = Recorder()
    outcome: Any = execute(SCHEMA, parse("{ books { nodes { notes { text } } } }"), context_value=recorder)
    result = await outcome
    assert result.errors is None
    assert recorder.edges == [[]]


async def test_resolver_receives_the_selected_fields_of_its_object() -> None:
    text = "query ($no: Boolean!) { books { all: nodes { title } __typename ...L size @skip(if: $no) } } "
    text += "fragment L on Listing { nodes { notes { text } } }"
    for left_out, names in ((True, {"nodes", "__typename"}), (False, {"nodes", "__typename", "size"})):
        recorder, result = await ran(text, {"no": left_out})
        assert result.errors is None
        assert recorder.selected == [names]
    recorder, _ = await ran("{ plainBooks { size } }")
    assert recorder.selected == [set()]
