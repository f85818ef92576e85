"""A small library of in-memory rows: every field is declared, and its ordinary resolver is made from the declaration.

`Shelf` is the context: it has the rows, and loaders that record the requested keys.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Annotated, Any, cast

import strawberry
from graphql import GraphQLSchema
from strawberry.types import Info
from strawberry.types.field import StrawberryField

from graph.execution import DECLARATION, JOINS, BoundEdge, Column, Computed, Derived, Prefixed, RowEdge
from graph.execution.declarations import Declaration
from graph.execution.run.tables import Table

Row = Mapping[str, Any]
AUTHORS: dict[int, Row] = {
    1: {"id": 1, "name": "Ada", "born": 1815, "mentor_id": None},
    2: {"id": 2, "name": "Grace", "born": 1906, "mentor_id": 1},
    3: {"id": 3, "name": None, "born": 0, "mentor_id": 9},
}
BOOKS: dict[int, Row] = {
    number: {
        "id": number,
        "title": f"Book {number}",
        "pages": number * 100,
        "author_id": author,
        "editor_id": None if author == 2 else author,
        "tags": ["a", "b"][: number % 3],
        "shelf_id": [number] if number == 2 else author,
        **{f"author.{name}": value for name, value in AUTHORS[author].items()},
    }
    for number, author in [(1, 1), (2, 1), (3, 2), (4, 3)]
}


class MissingError(Exception):
    """The row does not exist."""


@dataclass(slots=True)
class Loader:
    """Finds values by key, and records the keys of each call.

    Attributes:
        values: the values by key; a value may be an exception.
        broken: the exception that every call raises, or None.
    """

    values: Mapping[Any, Any]
    broken: Exception | None = None
    requested: list[list[Any]] = field(default_factory=list)

    async def load_level(self, keys: list[Any]) -> Sequence[Any]:
        self.requested.append(list(keys))
        if self.broken is not None:
            raise self.broken
        return [self.values.get(key) for key in keys]

    async def load(self, key: Any) -> Any:
        """Return one value; this call is not recorded."""
        return self.values.get(key)


def books_by_author(longer_than: int = 0) -> dict[int, tuple[Row, ...]]:
    return {
        author: tuple(book for book in BOOKS.values() if book["author_id"] == author and book["pages"] > longer_than)
        for author in AUTHORS
    }


@dataclass(slots=True)
class Shelf:
    """The context of one run.

    Attributes:
        paths: how often a recording resolver was called at each place.
    """

    authors: Loader = field(default_factory=lambda: Loader(AUTHORS))
    numbered: Loader = field(default_factory=lambda: Loader(BOOKS))
    books: dict[int, Loader] = field(default_factory=dict)
    paths: Counter[tuple[str | int, ...]] = field(default_factory=Counter)

    def books_longer_than(self, pages: int) -> Loader:
        return self.books.setdefault(pages, Loader(books_by_author(pages)))


Authors = list[Annotated["Author", strawberry.lazy("tests.graph.execution.support.declared")]]
AnAuthor = Annotated["Author", strawberry.lazy("tests.graph.execution.support.declared")]
ABook = Annotated["Book", strawberry.lazy("tests.graph.execution.support.declared")]
Books = list[Annotated["Book", strawberry.lazy("tests.graph.execution.support.declared")]]
MaybeBooks = list[Annotated["Book", strawberry.lazy("tests.graph.execution.support.declared")] | None]


def _field(declared: Declaration, resolve: Callable[..., Any], returns: Any, *, joins: bool = False) -> Any:
    resolve.__annotations__["return"] = returns
    return strawberry.field(resolver=resolve, metadata={DECLARATION: declared, JOINS: joins})


def plain(declared: Column | Prefixed | Computed | Derived, returns: Any, *, joins: bool = False) -> Any:
    """Make a field that is a function of its row or object."""

    def resolve(root: strawberry.Parent[Any]) -> Any:
        if isinstance(declared, Column):
            return root.row[declared.name]
        if isinstance(declared, Prefixed):
            value = root.row[declared.name]
            return None if value is None else f"{declared.prefix}{value}"
        if isinstance(declared, Computed):
            return declared.of(root.row)
        found = declared.of(root)
        return [None if row is None else Book(row=row) for row in found] if declared.bare else found

    return _field(declared, resolve, returns, joins=joins)


def _bound(edge: RowEdge, info: Info, *given: Any, **arguments: Any) -> BoundEdge:
    found = edge.bind(info, *given, **arguments)
    return found if isinstance(found, BoundEdge) else found.bound(info.context, None)


async def _followed(edge: RowEdge, root: Any, info: Info, type_name: str, **arguments: Any) -> Any:
    """Resolve an edge for one object."""
    assert edge.key is not None
    loading = _bound(edge, info, **arguments)
    key = root.row[edge.key]
    (value,) = [None] if key is None else await loading.loader.load_level([key])
    if isinstance(value, Exception):
        raise value
    if value is None:
        if edge.missing is not None:
            raise edge.missing()
        return None
    if loading.wrap is not None:
        return loading.wrap(value, key)
    class_: Any = {"Author": Author, "Book": Book}[type_name]
    return class_(row=value) if isinstance(value, dict) else [class_(row=one) for one in value]


def _edge(edge: RowEdge, type_name: str, returns: Any, *, joins: bool = False) -> Any:
    async def resolve(root: strawberry.Parent[Any], info: Info) -> Any:
        return await _followed(edge, root, info, type_name)

    return _field(edge, resolve, returns, joins=joins)


def _books_edge(edge: RowEdge, returns: Any, *, joins: bool = False) -> Any:
    async def resolve(root: strawberry.Parent[Any], info: Info, longer_than: int = 0) -> Any:
        return await _followed(edge, root, info, "Book", longer_than=longer_than)

    return _field(edge, resolve, returns, joins=joins)


def _born(row: Row) -> str:
    if row["born"] == 0:
        raise ValueError("nobody knows")
    return f"in {row['born']}"


def _shelf(info: Any) -> Shelf:
    shelf: Shelf = info.context
    return shelf


def _authors(info: Info) -> BoundEdge:
    return BoundEdge(_shelf(info).authors)


def _books(info: Info, longer_than: int) -> BoundEdge:
    if longer_than < 0:
        raise ValueError("no book is shorter than nothing")
    return BoundEdge(_shelf(info).books_longer_than(longer_than))


def _book_page(info: Info, longer_than: int) -> BoundEdge:
    return BoundEdge(_books(info, longer_than).loader, _paged)


def _paged(rows: Sequence[Row], key: int) -> "BookPage":
    if not rows:
        raise MissingError("an empty page")
    return BookPage(rows=rows, of=key)


def _untorn(page: "BookPage") -> Sequence[Row]:
    if page.of == 2:
        raise ValueError("torn out")
    return page.rows


@strawberry.type
class BookPage:
    """The result of an edge's wrap function: an object without a row."""

    rows: strawberry.Private[Sequence[Row]]
    of: int | None
    nodes: Books = plain(Derived(attrgetter("rows"), bare=True), Books, joins=True)
    torn: Books | None = plain(Derived(_untorn, bare=True), Books | None, joins=True)

    @strawberry.field
    def count(self) -> int:
        return len(self.rows)


@strawberry.type
class Author:
    row: strawberry.Private[Row]
    id: strawberry.ID = plain(Prefixed("author_", "id"), strawberry.ID)
    mentor_key: strawberry.ID | None = plain(Prefixed("author_", "mentor_id"), strawberry.ID | None)
    name: str = plain(Column("name"), str)
    pen_name: str | None = plain(Column("name"), str | None)
    born: str = plain(Computed(_born), str)
    born_maybe: str | None = plain(Computed(_born), str | None)
    mentor: AnAuthor | None = _edge(RowEdge("mentor_id", _authors), "Author", AnAuthor | None)
    teacher: AnAuthor = _edge(
        RowEdge("mentor_id", _authors, missing=lambda: MissingError("no such author")), "Author", AnAuthor
    )
    books: Books = _books_edge(RowEdge("id", _books), Books)
    book_page: BookPage | None = _books_edge(RowEdge("id", _book_page), BookPage | None)

    @strawberry.field
    def place(self, info: Info) -> str:
        """Return the object's place in the response."""
        path = tuple(info.path.as_list())
        _shelf(info).paths[path] += 1
        return f"{self.row['id']} at {'.'.join(map(str, path))}"

    @strawberry.field
    async def later(self, fails: bool = False) -> str:
        if fails:
            raise ValueError("too late")
        return "later"


@strawberry.type
class Book:
    row: strawberry.Private[Row]
    id: strawberry.ID = plain(Prefixed("book_", "id"), strawberry.ID)
    title: str = plain(Column("title"), str)
    tags: list[str] = plain(Column("tags"), list[str])
    pages: int = plain(Column("pages"), int)
    wrong: int | None = plain(Column("title"), int | None)
    lost: int | None = plain(Column("no such column"), int | None)
    shout: str = plain(Derived(lambda root: root.row["title"].upper()), str)
    author: AnAuthor = _edge(RowEdge("author_id", _authors, joined="author."), "Author", AnAuthor)
    keeper: AnAuthor | None = _edge(RowEdge("shelf_id", _authors), "Author", AnAuthor | None)
    editor: AnAuthor | None = _edge(RowEdge("editor_id", _authors, joined="author."), "Author", AnAuthor | None)


def _all_books(root: None) -> list[Row]:
    return list(BOOKS.values())


def _few_books(root: None) -> tuple[Row, ...]:
    return BOOKS[1], BOOKS[4]


def _some_books(root: None) -> list[Row | None]:
    return [BOOKS[1], None, BOOKS[4]]


def _numbered(edge: RowEdge) -> Any:
    """Make an edge whose argument is the key; the number 0 has no key."""

    async def resolve(info: Info, number: int) -> Any:
        loading = _bound(edge, info, number)
        (value,) = [None] if loading.key is None else await loading.loader.load_level([loading.key])
        if isinstance(value, Exception):
            raise value
        if value is None:
            return None
        return Book(row=value if loading.wrap is None else loading.wrap(value, loading.key))

    return _field(edge, resolve, ABook | None, joins=True)


def _book(info: Info, number: int) -> BoundEdge:
    if number < 0:
        raise ValueError("no book has such a number")
    return BoundEdge(_shelf(info).numbered, key=number or None)


def _marked(info: Info, number: int) -> BoundEdge:
    return BoundEdge(_shelf(info).numbered, lambda row, key: {**row, "title": f"{row['title']}, marked {key}"}, number)


@strawberry.type
class Query:
    book: ABook | None = _numbered(RowEdge(None, _book))
    marked: ABook | None = _numbered(RowEdge(None, _marked))
    holes: MaybeBooks = plain(Derived(_some_books, bare=True), MaybeBooks, joins=True)
    gaps: Books | None = plain(Derived(_some_books, bare=True), Books | None, joins=True)
    books: Books = plain(Derived(_all_books, bare=True), Books, joins=True)
    few_books: Books = plain(Derived(_few_books, bare=True), Books, joins=True)

    @strawberry.field
    def authors(self) -> Authors:
        return [Author(row=row) for row in AUTHORS.values()]

    @strawberry.field
    def nobody(self) -> AnAuthor | None:
        return cast("Author", BookPage(rows=[], of=None))


def tabled(declared: Derived) -> Derived:
    """Return a declaration that yields the same rows as a table of columns."""

    def of(root: Any) -> Table:
        rows = declared.of(root)
        return Table({name: [row[name] for row in rows] for name in BOOKS[1]}, len(rows))

    return Derived(of, bare=True, table=True)


def listing_fields() -> list[StrawberryField]:
    """Return the fields whose values are lists of rows without null items."""
    return [
        one
        for type_ in (Query, BookPage)
        for one in cast("Any", type_).__strawberry_definition__.fields
        if one.python_name in {"books", "few_books", "nodes", "torn"}
    ]


SCHEMA: GraphQLSchema = strawberry.Schema(Query)._schema  # noqa: SLF001 - the engines need graphql-core's own schema
