"""Rows that include, each, a page of a list that belongs to it: twenty users, ten posts of each; or one user by id.

One statement replaces two, so that no second statement waits for the answer of the first. A record holds the columns of
a row, followed by the arrays of its nested pages. The rows are a page (`page_with_nested`) or are read by their ids
(`with_nested`).

With few concurrent operations this is a sixth more operations a second. With very many, each for another page, it is
an eighth less: fewer of them share a nested page (`db.connections.coalescing`) than would share the pages of many
parents, read by their ids.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Any, NamedTuple

from asyncpg import Record
from sqlalchemy import BigInteger, BindParameter, ColumnElement, FromClause, Select, bindparam, func, select, true
from sqlalchemy import literal_column as by_name
from sqlalchemy.sql.selectable import Subquery
from sqlalchemy.sql.visitors import replacement_traverse

from db.access import AccessLevel
from db.connections.statements import Statement, by_column
from db.query.list_statements import ListSource, as_arrays, cut, page_ordering, page_rows, rows_by_parent
from db.query.pages import Columns, Filter, Page, PageKind, PageRequest, PageShape, page_of
from db.query.statement_cache import statements

OWN_ID = "id"
VIEWER = "viewer_id"


class NestedShape(NamedTuple):
    """The part of a `Nested` that decides the SQL text."""

    of: ListSource
    columns: Columns
    filters: frozenset[str]
    page: PageShape
    key: str


class NestedKind(NamedTuple):
    """The part of a `Nested` that decides the statement and how its rows are mapped."""

    of: ListSource
    columns: Columns
    filters: frozenset[str]
    page: PageKind
    key: str

    @property
    def shape(self) -> NestedShape:
        """The part that decides the SQL text."""
        return NestedShape(self.of, self.columns, self.filters, self.page.shape, self.key)


@dataclass(frozen=True, eq=False)
class Nested:
    """The same page of a list for each row of another page.

    Attributes:
        of: the list, which has one parent column.
        key: the column of the other page's rows that holds the parent's id.
    """

    of: ListSource
    columns: Columns
    given: Filter
    request: PageRequest
    key: str

    @cached_property
    def kind(self) -> NestedKind:
        """The part that it shares with all `Nested` that differ in values alone."""
        return NestedKind(self.of, self.columns, frozenset(self.given), self.request.kind, self.key)

    @cached_property
    def alone(self) -> "NestedPages":
        """The nested lists of a statement that has no other."""
        return NestedPages((self,))


class NestedPages:
    """All nested lists of one statement.

    Attributes:
        kinds: what they share with others that differ in values alone.
        parameters: the values of their parameters, by their names in the whole statement.
    """

    __slots__ = ("kinds", "parameters")

    def __init__(self, nested: Sequence[Nested]) -> None:
        self.kinds = tuple([one.kind for one in nested])
        self.parameters = {
            _name(index, name): value
            for index, one in enumerate(nested)
            for name, value in {**one.given, **one.request.parameters()}.items()
        }

    @classmethod
    def of(cls, nested: Sequence[Nested]) -> "NestedPages":
        """Return these nested lists; what a `Nested` has computed before is not computed again."""
        if not nested:
            return NOTHING_NESTED
        return nested[0].alone if len(nested) == 1 else cls(nested)


NOTHING_NESTED = NestedPages(())


@statements
def page_with_nested(
    of: ListSource,
    columns: Columns,
    access_level: AccessLevel,
    filters: frozenset[str],
    shape: PageShape,
    nested: tuple[NestedShape, ...],
) -> Statement:
    """Return the statement of a page of `of` with the `nested` pages, whose keys must be among `columns`.

    If several rows of the page have the same parent, the parent's page is read for the first of them alone.
    """
    page = page_rows(of, columns, access_level, filters, shape, has_order=True).subquery("page")
    numbered = [
        func.row_number().over(partition_by=page.c[key], order_by=page_ordering(page, shape)).label(_nth(key))
        for key in dict.fromkeys(one.key for one in nested if one.key != OWN_ID)
    ]
    parents = select(page, *numbered).subquery("parents")
    rows = _joined(parents, columns, access_level, nested, repeats=True)
    return Statement(rows.order_by(*page_ordering(parents, shape)))


def with_nested(
    rows: Select[Any], columns: Columns, access_level: AccessLevel, nested: tuple[NestedKind, ...]
) -> Select[Any]:
    """Return the select of `rows`, which have the columns `columns`, with the `nested` pages of each of them.

    If several rows have the same parent, the parent's page is read for each: the rows are few, read by their ids.
    """
    if not nested:
        return rows
    shapes = tuple([one.shape for one in nested])
    return _joined(rows.subquery("parents"), columns, access_level, shapes)


def _joined(
    parents: Subquery,
    columns: Columns,
    access_level: AccessLevel,
    nested: tuple[NestedShape, ...],
    *,
    repeats: bool = False,
) -> Select[Any]:
    """Return the select of `parents` with their nested pages; with `repeats`, a page only for the first of a parent."""
    source: FromClause = parents
    selected: list[ColumnElement[Any]] = [parents.c[name] for name in columns]
    for index, one in enumerate(nested):
        (rows,) = rows_by_parent(one.of, one.columns, access_level, one.filters, _of_parent(one.key))
        if repeats and one.key != OWN_ID:
            rows = rows.where(_of_parent(_nth(one.key)) == by_name("1"))
        each = _with_unique_names(as_arrays(cut(rows, one.page), one.columns), index).lateral(f"nested_{index}")
        source = source.join(each, true())
        selected += [each.c[name].label(_name(index, name)) for name in one.columns]
    return select(*selected).select_from(source)


def _of_parent(column: str) -> ColumnElement[int]:
    # A literal name, for the same reason as `parents.id` in `db.query.list_statements`.
    return by_name(f'parents."{column}"', BigInteger)


def _nth(key: str) -> str:
    return f"nth {key}"


def _name(index: int, name: str) -> str:
    return f"nested_{index}_{name}"


def _with_unique_names(nested: Select[Any], index: int) -> Select[Any]:
    """Rename the parameters of a nested statement so that they are unique; the viewer is the same everywhere."""

    def rename(element: Any, **_: Any) -> Any:
        if isinstance(element, BindParameter) and element.required and element.key != VIEWER:
            return bindparam(_name(index, element.key), type_=element.type)
        return None

    unique: Any = replacement_traverse(nested, {}, rename)
    assert isinstance(unique, Select)
    return unique


def nested_mapped_rows(
    columns: Columns, kind: PageKind, nested: tuple[NestedKind, ...]
) -> Callable[[Sequence[Record]], Page]:
    """Return the function that makes a page of such records."""
    _, limit, backward, _, looks_ahead = kind
    places = [columns.index(one.key) for one in nested]

    def mapped_rows(records: Sequence[Record]) -> Page:
        has_more = len(records) > limit if looks_ahead else None
        values = list(map(list, zip(*records[:limit], strict=True)))
        if not values:
            return Page({name: [] for name in columns}, 0, has_more, [{} for _ in nested])
        start, by_parent = len(columns), []
        for one, place in zip(nested, places, strict=True):
            stop = start + len(one.columns)
            by_parent.append(_pages(one, values[place], values[start:stop]))
            start = stop
        rows = values[: len(columns)]
        if backward:
            for row in rows:
                row.reverse()
        return Page(dict(zip(columns, rows, strict=True)), len(rows[0]), has_more, by_parent)

    return mapped_rows


def _pages(one: NestedKind, parent_ids: list[int], values: list[list[Any]]) -> Mapping[int, Page]:
    columns, kind, pages = one.columns, one.page, dict[int, Page]()
    for parent_id, *arrays in zip(parent_ids, *values, strict=True):
        if parent_id not in pages:  # the first row of the parent, which holds the arrays
            pages[parent_id] = page_of(columns, kind, arrays)
    return pages


class RowsWithPages(dict[Any, Record]):
    """Rows by their keys, with the nested pages of each. Several operations may share it.

    Attributes:
        nested: for each nested list, the page of each parent by the parent's id.
    """

    __slots__ = ("nested",)

    nested: Sequence[Mapping[int, Page]]


def rows_with_pages(
    columns: Columns, nested: tuple[NestedKind, ...], key: str = OWN_ID
) -> Callable[[Sequence[Record]], Mapping[Any, Record]]:
    """Return the function that maps the records of `with_nested` by the column `key`, which is unique."""
    if not nested:
        return by_column(key)
    key_of = itemgetter(key)

    def mapped_rows(records: Sequence[Record]) -> RowsWithPages:
        start, by_parent = len(columns), []
        for one in nested:
            stop, pages = start + len(one.columns), dict[int, Page]()
            for record in records:
                parent_id = record[one.key]
                if parent_id not in pages:
                    pages[parent_id] = page_of(one.columns, one.page, list(record[start:stop]))
            by_parent.append(pages)
            start = stop
        found = RowsWithPages(zip(map(key_of, records), records, strict=True))
        found.nested = by_parent
        return found

    return mapped_rows
