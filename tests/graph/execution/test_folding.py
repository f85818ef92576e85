"""Folding: an operation that one read answers is rendered from that read, with the data of a general run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, cast

import pytest
import strawberry
from graphql import ExecutionResult, GraphQLSchema, OperationDefinitionNode, execute, parse
from strawberry.types import Info

from graph.execution import (
    DECLARATION,
    JOINS,
    BoundEdge,
    Column,
    Derived,
    Prefetch,
    Prepared,
    RowEdge,
    SingleRead,
    Waits,
)
from graph.execution.run.tables import Table

Row = Mapping[str, Any]
SHELVES: dict[int, Row] = {
    1: {"id": 1, "label": "Poems", "keeper.id": 7, "keeper.name": "Ada"},
    2: {"id": 2, "label": "Plays", "keeper.id": 8, "keeper.name": None},
}
BOOKS = {1: ["Odes", "Sonnets"], 2: [], 7: ["Notes"], 8: ["Code", "More code"]}


@dataclass(eq=False)
class Pages:
    """The loader of the books of a shelf or keeper: at most `first` of them."""

    first: int
    loaded: dict[int, Table] = field(default_factory=dict)
    requested: list[list[int]] = field(default_factory=list)

    async def load_level(self, keys: list[int]) -> Sequence[Table]:
        self.requested.append(keys)
        return [self.page(key) if key not in self.loaded else self.loaded[key] for key in keys]

    async def load(self, key: int) -> Table:
        return self.page(key)

    def page(self, key: int) -> Table:
        titles = BOOKS[key][: self.first]
        return Table({"title": titles}, len(titles))

    def held(self, keys: Sequence[int]) -> list[Table]:
        return [self.loaded[key] for key in keys]


@dataclass(eq=False)
class Shelves:
    """The loader of shelves. Its answer brings the books that the selection nests."""

    nested: Sequence[tuple[Pages, str]]
    name: str = "shelf"

    @property
    def brings(self) -> list[Pages]:
        return [pages for pages, _ in self.nested]

    def pending_read(self, key: int) -> str:
        return f"a read of {key}"

    def take(self, answer: Mapping[int, Row], key: int) -> tuple[Row | None, int]:
        row = answer.get(key)
        for pages, column in self.nested if row is not None else ():
            assert row is not None
            pages.loaded[row[column]] = pages.page(row[column])
        return row, int(row is not None)

    async def load_level(self, keys: list[int]) -> Sequence[Row | None]:
        return [self.take(SHELVES, key)[0] for key in keys]

    async def load(self, key: int) -> Row | None:
        return SHELVES.get(key)


@dataclass
class Library:
    """The context of a run.

    Attributes:
        made: the loaders of books.
        bound: how often the arguments of books were applied.
        shelves: the notes of the shelves whose arguments were applied.
        brings: whether the read of a shelf brings its books.
    """

    made: list[Pages] = field(default_factory=list)
    bound: int = 0
    shelves: list[str] = field(default_factory=list)
    brings: bool = True


def _library(info: Any) -> Library:
    library: Library = info.context
    return library


@dataclass(slots=True, eq=False)
class _Books:
    first: int

    def bound(self, context: Library, _: Prefetch) -> BoundEdge:
        pages = Pages(self.first)
        context.made.append(pages)
        return BoundEdge(pages, lambda page, key: BookPage(page=page, of=key))


@dataclass(slots=True, eq=False)
class _Shelf:
    def bound(self, context: Library, prefetch: Prefetch, number: int) -> BoundEdge:
        nested = [(cast("Pages", bound.loader), key) for bound, key in prefetch()] if prefetch is not None else []
        return BoundEdge(cast("Any", Shelves(nested if context.brings else [])), key=number or None)


def _bind_books(info: Info, first: int) -> _Books:
    _library(info).bound += 1
    if first < 0:
        raise ValueError("fewer than none")
    return _Books(first)


def _bind_shelf(info: Info, note: str = "") -> _Shelf:
    _library(info).shelves.append(note)
    return _Shelf()


def _declared(declared: object, resolve: Callable[..., Any], returns: Any = None, *, joins: bool = False) -> Any:
    if returns is not None:
        resolve.__annotations__["return"] = returns
    return strawberry.field(resolver=resolve, metadata={DECLARATION: declared, JOINS: joins})


async def _later(root: strawberry.Parent["BookPage"]) -> int:
    return root.page.size


def _size(root: strawberry.Parent["BookPage"]) -> Any:
    """Return the number of books; that of keepers must be awaited."""
    return _later(root) if root.of > 2 else root.page.size


def _size_at_once(page: "BookPage") -> int:
    if page.of > 2:
        raise Waits
    return page.page.size


def _labels(root: strawberry.Parent["BookPage"]) -> "list[Label]":
    return [Label(text=f"{number}: {title}") for number, title in enumerate(root.page.columns["title"], 1)]


def _shout(root: strawberry.Parent["Label"]) -> str:
    if root.text == "1: Code":
        raise ValueError("not so loud")
    return root.text.upper()


@strawberry.type
class Book:
    row: strawberry.Private[Row]
    title: str = _declared(Column("title"), lambda root: root.row["title"], str)


@strawberry.type
class Label:
    """An object without a row."""

    text: strawberry.Private[str]
    shout: str = _declared(Derived(_shout, ready=_shout), _shout, str)


@strawberry.type
class BookPage:
    """A page of books."""

    page: strawberry.Private[Table]
    of: strawberry.Private[int]
    nodes: list[Book] = _declared(
        Derived(attrgetter("page"), bare=True, table=True),
        lambda root: [Book(row=row) for row in root.page],
        list[Book],
    )
    labels: list[Label] = _declared(Derived(_labels, ready=_labels), _labels, list[Label])
    size: int = _declared(Derived(_size, ready=_size_at_once), _size, int)
    slow: int = _declared(Derived(_later), _later, int)


async def _books_of(root: strawberry.Parent[Any], info: Info, first: int = 9) -> BookPage:
    bound = _bind_books(info, first).bound(_library(info), None)
    key = root.row["id"]
    page: BookPage = cast("Any", bound.wrap)(await bound.loader.load(key), key)
    return page


@strawberry.type
class Keeper:
    row: strawberry.Private[Row]
    name: str = _declared(Column("name"), lambda root: root.row["name"], str)
    books: BookPage = _declared(RowEdge("id", _bind_books), _books_of)


def _keeper_of(root: strawberry.Parent[Any]) -> Keeper:
    return Keeper(row={"id": root.row["keeper.id"], "name": root.row["keeper.name"]})


def _keepers(info: Info) -> BoundEdge:
    raise AssertionError("every keeper is joined")


@strawberry.type
class Shelf:
    row: strawberry.Private[Row]
    label: str = _declared(Column("label"), lambda root: root.row["label"], str)
    books: BookPage = _declared(RowEdge("id", _bind_books), _books_of)
    keeper: Keeper = _declared(RowEdge("keeper.id", _keepers, joined="keeper."), _keeper_of)


async def _shelf_of(info: Info, number: int, note: str = "") -> Shelf | None:
    row = SHELVES.get(number)
    return None if row is None else Shelf(row=row)


@strawberry.type
class Query:
    shelf: Shelf | None = _declared(RowEdge(None, _bind_shelf, keys=["number"]), _shelf_of, joins=True)


SCHEMA = cast("GraphQLSchema", vars(strawberry.Schema(Query))["_schema"])
SHELF = "query ($n: Int!, $first: Int = 9) { shelf(number: $n) { __typename label %s } }"
FOLDED = [
    "books(first: 1) { nodes { title } }",
    "books { __typename size nodes { title } labels { shout } again: nodes { t: title } }",
    "books(first: $first) { nodes { title } } more: books { size }",
    "keeper { books { nodes { title } } }",
    "books { labels { shout } } keeper { __typename books(first: 1) { nodes { title } } }",
]
# What a run finds out only in the rows: an error, an awaitable, an invalid null.
LEFT = ["keeper { name }", "keeper { books { size } }", "keeper { books { labels { shout } } }"]


def prepared(selection: str) -> Prepared:
    """Return an operation that reads one shelf."""
    document = parse(SHELF % selection)
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    return Prepared(SCHEMA, document, operation)


async def expected(selection: str, number: int) -> ExecutionResult:
    """Return the result of graphql-core's executor."""
    outcome: Any = execute(SCHEMA, parse(SHELF % selection), context_value=Library(), variable_values={"n": number})
    result: ExecutionResult = await outcome
    return result


def formatted(result: ExecutionResult) -> tuple[Any, list[Any]]:
    """Return the data of a result, and its errors."""
    return result.data, [error.formatted for error in result.errors or ()]


def begun(operation: Prepared, number: int, library: Library) -> SingleRead | None:
    """Begin an operation without a coroutine, if one read may answer it."""
    return operation.lookup({"n": number, "first": 9}, library) if operation.lookup_level is not None else None


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("selection", [*FOLDED, *LEFT])
async def test_a_single_read_has_the_result_of_the_ordinary_engine_and_reads_once(selection: str, number: int) -> None:
    operation, library = prepared(selection), Library()
    wanted = await expected(selection, number)
    assert formatted(await operation.run({"n": number}, Library())) == formatted(wanted)
    single = begun(operation, number, library)
    assert single is not None
    assert (single.loader.name, single.reading, single.rows) == ("shelf", f"a read of {number}", None)
    data = single.answer(SHELVES)
    assert single.rows == 1
    if selection in FOLDED:
        assert data == wanted.data
        assert [pages.requested for pages in library.made] == [[]] * len(library.made)
    elif data is not None:
        assert (data, None) == (wanted.data, wanted.errors)
    assert formatted(await single.completed()) == formatted(wanted)


async def test_a_missing_row_and_an_error_of_the_read_are_completed() -> None:
    operation = prepared(FOLDED[0])
    await operation.run({"n": 1}, Library())
    single = begun(operation, 3, Library())
    assert single is not None
    assert (single.answer(SHELVES), single.rows) == (None, 0)
    assert formatted(await single.completed()) == ({"shelf": None}, [])
    single = begun(operation, 3, Library())
    assert single is not None
    assert (single.answer(None, ValueError("no shelf today")), single.rows) == (None, None)
    failed = await single.completed()
    assert failed.data == {"shelf": None}
    assert [(error.message, error.path) for error in failed.errors or ()] == [("no shelf today", ["shelf"])]


@pytest.mark.parametrize("selection", ["books { slow }", "books(first: -1) { size }"])
async def test_what_must_be_awaited_or_is_invalid_needs_a_run(selection: str) -> None:
    operation = prepared(selection)
    await operation.run({"n": 1}, Library())
    assert begun(operation, 1, Library()) is None
    assert formatted(await operation.run({"n": 1}, Library())) == formatted(await expected(selection, 1))


async def test_an_operation_whose_read_does_not_bring_all_is_no_lookup_from_then_on() -> None:
    operation, library = prepared(FOLDED[0]), Library(brings=False)
    wanted = formatted(await expected(FOLDED[0], 1))
    assert formatted(await operation.run({"n": 1}, library)) == wanted
    before, attempts = operation.lookup_level, [begun(operation, 1, library) for _ in range(2)]
    assert (before is None, attempts, operation.lookup_level) == (False, [None, None], None)
    assert formatted(await operation.run({"n": 1}, library)) == wanted


async def test_constant_arguments_are_applied_once_for_all_runs() -> None:
    operation, library = prepared("books(first: 1) { size } all: books(first: $first) { size }"), Library()
    for _ in range(3):
        await operation.run({"n": 1, "first": 5}, library)
    assert library.bound == 1 + 3
    assert [pages.first for pages in library.made] == [1, 5] * 3


NOTED = "query ($n: Int!, $m: Int!, $note: String!) { %s }"


@pytest.mark.parametrize(
    ("fields", "shelves"),
    [
        ("shelf(number: $n) { label }", [""]),
        ('shelf(number: $n, note: "a") { label }', ["a"]),
        ("shelf(number: 1) { label }", [""]),
        ("shelf(number: $n, note: $note) { label }", ["0", "1", "2"]),
        ("shelf(number: $n) { label } other: shelf(number: $m) { label }", ["", ""]),
    ],
)
async def test_keys_are_given_to_a_binding_that_the_plan_keeps(fields: str, shelves: list[str]) -> None:
    document = parse(NOTED % fields)
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    prepared, library = Prepared(SCHEMA, document, operation), Library()
    for run in range(3):
        variables = {"n": run, "m": 2 - run, "note": str(run)}
        outcome: Any = execute(SCHEMA, document, context_value=Library(), variable_values=variables)
        assert formatted(await prepared.run(variables, library)) == formatted(await outcome)
    assert library.shelves == shelves
