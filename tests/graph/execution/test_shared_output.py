"""Tables that include the rows below theirs, and are shared by operations: nothing below them is read twice."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
import strawberry
from graphql import GraphQLSchema, OperationDefinitionNode, parse
from strawberry.types import Info

from graph.execution import DECLARATION, JOINS, BoundEdge, Column, Derived, Prepared, RowEdge
from graph.execution.run.tables import Table
from tests.graph.execution.support.declared import Loader

Row = Mapping[str, Any]
RUNS = 4


def table_of(**columns: list[Any]) -> Table:
    return Table(columns, len(next(iter(columns.values()))))


def notes_of(start: int) -> dict[int, Table]:
    return {
        1: table_of(text=["a", "b", "c"][start:], length=[1, 2, 3][start:]),
        2: table_of(text=["d"][start:], length=[4][start:]),
    }


@dataclass
class Desk:
    """The context of a run.

    Attributes:
        books: the value of the root field: the same table for all operations that share it.
        identified: whether the loaders of notes have an identity, which is made of their arguments.
        requested: the keys that the loaders received.
        others: the books of further shelves.
    """

    books: Table
    identified: bool = True
    requested: list[list[Any]] = field(default_factory=list)
    paths: list[object] = field(default_factory=list)
    others: Sequence[Table | None] = ()

    def loader(self, start: int) -> Loader:
        return Loader(notes_of(start), requested=self.requested)

    def identity(self, start: int) -> Hashable:
        return ("notes", start) if self.identified else None


def _declared(declared: object, returns: object) -> Any:
    async def never(root: strawberry.Parent[Any]) -> Any:
        raise AssertionError("the compiled engine runs it")

    never.__annotations__["return"] = returns
    return strawberry.field(resolver=never, metadata={DECLARATION: declared, JOINS: True})


@strawberry.type
class Note:
    """A row below another."""

    row: strawberry.Private[Row]
    text: str = _declared(Column("text"), str)
    length: int = _declared(Column("length"), int)


@strawberry.type
class Notes:
    """An object between the rows of two levels."""

    items: strawberry.Private[Table]
    nodes: list[Note] = _declared(Derived(lambda notes: notes.items, bare=True, table=True), list[Note])
    count: int = _declared(Derived(lambda notes: notes.items.size), int)


def _notes(info: Any, start: int = 0) -> BoundEdge:
    desk: Desk = info.context
    if start < 0:
        raise ValueError("notes begin at 0")
    return BoundEdge(desk.loader(start), lambda items, _: Notes(items=items), identity=desk.identity(start))


async def _notes_below(root: strawberry.Parent[Any], info: Info, start: int = 0) -> Notes:
    raise AssertionError("the compiled engine runs it")


@strawberry.type
class Writer:
    """The writer, joined to their books."""

    row: strawberry.Private[Row]
    name: str = _declared(Column("name"), str)
    notes: Notes = strawberry.field(resolver=_notes_below, metadata={DECLARATION: RowEdge("id", _notes)})


def _writers(info: Info) -> BoundEdge:
    raise AssertionError("every writer is joined")


@strawberry.type
class Book:
    """A row."""

    row: strawberry.Private[Row]
    id: int = _declared(Column("id"), int)
    notes: Notes = strawberry.field(resolver=_notes_below, metadata={DECLARATION: RowEdge("id", _notes)})

    writer: Writer = _declared(RowEdge("writer_id", _writers, joined="writer."), Writer)

    index: list[Note] = _declared(Derived(lambda _: notes_of(0)[2], bare=True, table=True), list[Note])

    @strawberry.field
    def place(self, info: Info) -> str:
        """Return the place in the response."""
        info.context.paths.append(info.path.as_list())
        return "here"


def _read(books: Table | None) -> Table:
    if books is None:
        raise ValueError("it fell down")
    return books


@strawberry.type
class Shelf:
    """One of several objects with books."""

    held: strawberry.Private[Table | None]
    books: list[Book] | None = _declared(
        Derived(lambda shelf: _read(shelf.held), bare=True, table=True), list[Book] | None
    )


@strawberry.type
class Query:
    """The root."""

    books: list[Book] = _declared(Derived(lambda desk: desk.books, bare=True, table=True), list[Book])

    shelves: list[Shelf] = _declared(Derived(lambda desk: [Shelf(held=one) for one in desk.others]), list[Shelf])

    @strawberry.field
    def broken(self) -> str | None:
        """Raise an error."""
        raise ValueError("on purpose")


SCHEMA: GraphQLSchema = strawberry.Schema(Query)._schema  # noqa: SLF001 - Strawberry has no public access to it


def prepared(text: str, *, as_text: bool = True) -> Prepared:
    document = parse(text)
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    return Prepared(SCHEMA, document, operation, text=of_json if as_text else None)


def of_json(answers: list[Any]) -> orjson.Fragment:
    return orjson.Fragment(orjson.dumps(answers))


@pytest.fixture
def books() -> Table:
    """Two books with their notes included: those from the first on, and those from the second on."""
    columns: dict[str, list[Any]] = {"id": [1, 2], "writer_id": [2, 1]}
    books = Table({**columns, "writer.id": [2, 1], "writer.name": ["Ada", "Grace"]}, 2)
    books.brought = [("notes", 0), ("notes", 1)]
    return books


async def ran(operation: Prepared, desk: Desk, **variables: object) -> Any:
    result = await operation.run(variables, desk, desk)
    errors = [{"message": error.message, "path": error.path} for error in result.errors or ()]
    return orjson.loads(orjson.dumps({"data": result.data, **({"errors": errors} if errors else {})}))


def texts(start: int = 0) -> list[Any]:
    return [
        {"notes": {"nodes": [{"text": one} for one in items.columns["text"]]}} for items in notes_of(start).values()
    ]


@pytest.mark.parametrize("as_text", [True, False])
async def test_rows_that_a_table_includes_are_read_once(books: Table, as_text: bool) -> None:
    operation, desk = prepared("{ books { notes { nodes { text } } } }", as_text=as_text), Desk(books)
    assert [await ran(operation, desk) for _ in range(RUNS)] == [{"data": {"books": texts()}}] * RUNS
    assert desk.requested == [[1, 2]]


async def test_joined_rows_find_the_rows_that_the_table_includes(books: Table) -> None:
    operation, desk = prepared("{ books { writer { name notes { nodes { text } } } } }"), Desk(books)
    notes = [{"name": name, **one} for name, one in zip(["Ada", "Grace"], texts()[::-1], strict=True)]
    expected = {"data": {"books": [{"writer": one} for one in notes]}}
    assert [await ran(operation, desk) for _ in range(RUNS)] == [expected] * RUNS
    assert desk.requested == [[2, 1]]


async def test_second_operation_renders_the_text_that_the_others_reuse(books: Table) -> None:
    operation, desk = prepared("{ books { notes { nodes { text } } } }"), Desk(books)
    answered: list[Any] = [await operation.run({}, desk, desk) for _ in range(3)]
    results = [one.data["books"] for one in answered]
    assert [type(one) for one in results] == [list, orjson.Fragment, orjson.Fragment]
    assert results[1] is results[2]


async def test_other_arguments_have_separate_output(books: Table) -> None:
    operation = prepared(
        "query ($a: Int!, $b: Int!) { books { a: notes(start: $a) { nodes { text } } "
        "b: notes(start: $b) { nodes { text } } } }"
    )
    desk = Desk(books)
    for start, other in [(0, 1), (1, 0), (0, 0), (1, 1)] * 2:
        pairs = zip(texts(start), texts(other), strict=True)
        expected = [{"a": one["notes"], "b": two["notes"]} for one, two in pairs]
        assert await ran(operation, desk, a=start, b=other) == {"data": {"books": expected}}
    assert len(desk.requested) == 8  # two loaders for each of the four


async def test_other_selections_have_separate_output(books: Table) -> None:
    desk = Desk(books)
    lengths = [
        {"notes": {"nodes": [{"length": one} for one in each.columns["length"]]}} for each in notes_of(0).values()
    ]
    one, two = prepared("{ books { notes { nodes { text } } } }"), prepared("{ books { notes { nodes { length } } } }")
    for _ in range(RUNS):
        assert await ran(one, desk) == {"data": {"books": texts()}}
        assert await ran(two, desk) == {"data": {"books": lengths}}


async def test_field_that_one_operation_skips_is_in_the_output_of_the_other(books: Table) -> None:
    operation = prepared("query ($more: Boolean!) { books { id notes @include(if: $more) { nodes { text } } } }")
    ids = [{"id": 1}, {"id": 2}]
    whole = [{**one, **two} for one, two in zip(ids, texts(), strict=True)]
    found = [await ran(operation, Desk(books), more=number % 2 == 0) for number in range(6)]
    assert found == [{"data": {"books": whole}}, {"data": {"books": ids}}] * 3


COUNTED_BELOW_JOINED = """query ($start: Int!) { books {
    notes(start: $start) { nodes { text } }
    writer { notes(start: $start) { count nodes { text } } }
} }"""


@pytest.mark.parametrize(
    ("text", "identified", "start"),
    [
        ("query ($start: Int!) { books { notes(start: $start) { nodes { text } } } }", False, 0),
        ("query ($start: Int!) { books { notes(start: $start) { nodes { text } } } }", True, 2),
        ("query ($start: Int!) { books { place notes(start: $start) { nodes { text } } } }", True, 0),
        ("query ($start: Int!) { books { notes(start: $start) { count nodes { text } } } }", True, 0),
        (COUNTED_BELOW_JOINED, True, 0),
        ("query ($start: Int!) { books { index { text } notes(start: $start) { nodes { text } } } }", True, 0),
    ],
)
async def test_output_that_depends_on_more_than_the_table_is_not_shared(
    books: Table, text: str, identified: bool, start: int
) -> None:
    operation, desk = prepared(text), Desk(books, identified)
    found = [await ran(operation, desk, start=start) for _ in range(RUNS)]
    assert len(desk.requested) == RUNS * text.count("notes(")
    assert found == [found[0]] * RUNS
    assert len(desk.paths) == RUNS * 2 * ("place" in text)


async def test_error_elsewhere_keeps_the_shared_output(books: Table) -> None:
    operation, desk = prepared("{ broken books { id notes { nodes { text } } } }"), Desk(books)
    whole = [{"id": number, **one} for number, one in zip([1, 2], texts(), strict=True)]
    expected = {
        "data": {"broken": None, "books": whole},
        "errors": [{"message": "on purpose", "path": ["broken"]}],
    }
    assert [await ran(operation, desk) for _ in range(RUNS)] == [expected] * RUNS


async def test_error_in_an_argument_is_reported_to_each_operation_at_its_place(books: Table) -> None:
    operation, desk = prepared("{ books { notes(start: -1) { nodes { text } } } }"), Desk(books)
    expected = {"data": None, "errors": [{"message": "notes begin at 0", "path": ["books", 0, "notes"]}]}
    assert [await ran(operation, desk) for _ in range(RUNS)] == [expected] * RUNS


async def test_error_below_is_reported_to_each_operation_and_no_output_is_kept(
    books: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = notes_of(0)
    broken[2].columns["text"][0] = None
    monkeypatch.setattr(Desk, "loader", lambda desk, _: Loader(broken, requested=desk.requested))
    operation, desk = prepared("{ books { notes { nodes { text } } } }"), Desk(books)
    expected = {
        "data": None,
        "errors": [
            {
                "message": "Cannot return null for non-nullable field Note.text.",
                "path": ["books", 1, "notes", "nodes", 0, "text"],
            }
        ],
    }
    assert [await ran(operation, desk) for _ in range(RUNS)] == [expected] * RUNS
    assert len(desk.requested) == RUNS


async def test_table_that_is_empty_is_shared_too() -> None:
    books = table_of(id=[])
    books.brought = [("notes", 0)]
    operation, desk = prepared("{ books { notes { nodes { text } } } }"), Desk(books)
    assert [await ran(operation, desk) for _ in range(RUNS)] == [{"data": {"books": []}}] * RUNS


async def test_tables_with_and_without_identity_can_be_mixed(books: Table) -> None:
    operation = prepared("{ shelves { books { notes { nodes { text } } } } }")
    known, new = books, Table({name: values[1:] for name, values in books.columns.items()}, 1)
    new.brought = [("notes", 0)]
    desk = Desk(books, others=[known])
    first = {"books": texts()}
    assert await ran(operation, desk) == {"data": {"shelves": [first]}}
    desk.others = [known, new]
    expected = {"data": {"shelves": [first, {"books": texts()[1:]}]}}
    assert [await ran(operation, desk) for _ in range(RUNS)] == [expected] * RUNS
    assert len(desk.requested) == 2


async def test_unreadable_table_is_an_error_next_to_shared_tables(books: Table) -> None:
    operation, desk = prepared("{ shelves { books { notes { nodes { text } } } } }"), Desk(books, others=[books])
    first = {"books": texts()}
    assert await ran(operation, desk) == {"data": {"shelves": [first]}}
    desk.others = [books, None, books]
    expected = {
        "data": {"shelves": [first, {"books": None}, first]},
        "errors": [{"message": "it fell down", "path": ["shelves", 1, "books"]}],
    }
    assert [await ran(operation, desk) for _ in range(RUNS)] == [expected] * RUNS
