"""Lists that clients can read: a page, the number of rows, and whether there are more rows behind the page.

Each can be read for the list as a whole, or with one statement for the lists of many parents. A page may include a page
for each of its rows (`db.query.nested_pages`).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from asyncpg import Record

from db.access import AccessLevel, Viewer
from db.connections.statements import Reader, RowsByKey, Statement, by_column
from db.query import list_statements
from db.query.list_statements import ListSource
from db.query.nested_pages import (
    NOTHING_NESTED,
    Nested,
    NestedKind,
    NestedPages,
    nested_mapped_rows,
    page_with_nested,
    rows_with_pages,
    with_nested,
)
from db.query.pages import Columns, Filter, Page, PageKind, PageRequest, page_of
from db.query.statement_cache import statements

PagesById = Mapping[int, Page]
Filters = frozenset[str]
T = TypeVar("T")


class Read(NamedTuple, Generic[T]):
    """A statement, and the function that maps its records. Calls that can share a statement have the same pair."""

    statement: Statement
    map_rows: Callable[[Sequence[Record]], T]


@statements
def _page_read(
    of: ListSource, columns: Columns, access_level: AccessLevel, filters: Filters, kind: PageKind
) -> Read[Page]:
    def mapped_rows(records: Sequence[Record]) -> Page:
        return page_of(columns, kind, list(records[0]))

    return Read(list_statements.page(of, columns, access_level, filters, kind.shape), mapped_rows)


@statements
def _counted_page_read(
    of: ListSource, columns: Columns, access_level: AccessLevel, filters: Filters, kind: PageKind
) -> Read[Page]:
    def mapped_rows(records: Sequence[Record]) -> Page:
        *arrays, total = records[0]
        return page_of(columns, kind, arrays, total)

    return Read(list_statements.counted_page(of, columns, access_level, filters, kind.shape), mapped_rows)


@statements
def _nested_read(
    of: ListSource,
    columns: Columns,
    access_level: AccessLevel,
    filters: Filters,
    kind: PageKind,
    nested: tuple[NestedKind, ...],
) -> Read[Page]:
    statement = page_with_nested(of, columns, access_level, filters, kind.shape, tuple([one.shape for one in nested]))
    return Read(statement, nested_mapped_rows(columns, kind, nested))


@statements
def _pages_read(
    of: ListSource, columns: Columns, access_level: AccessLevel, filters: Filters, kind: PageKind
) -> Read[PagesById]:
    def mapped_rows(records: Sequence[Record]) -> PagesById:
        return {parent_id: page_of(columns, kind, arrays) for parent_id, *arrays in records}

    return Read(list_statements.pages_by_parent(of, columns, access_level, filters, kind.shape), mapped_rows)


@statements
def _rows_read(
    of: ListSource, columns: Columns, access_level: AccessLevel, nested: tuple[NestedKind, ...]
) -> Read[Mapping[int, Record]]:
    rows = list_statements.by_ids(of, columns, access_level)
    return Read(Statement(with_nested(rows, columns, access_level, nested)), rows_with_pages(columns, nested))


class KeysetList(ListSource):
    """A list that can be read."""

    def page(
        self,
        reader: Reader,
        viewer: Viewer,
        columns: Columns,
        given: Filter,
        request: PageRequest,
        nested: Sequence[Nested] = (),
        *,
        counted: bool = False,
    ) -> Awaitable[Page]:
        """Read one page of the whole list, as `Reader.mapped_rows` does.

        `columns` must not be empty, and must hold the keys of `nested`.

        If `counted` is true and `nested` is empty, the page includes the number of rows of the list.
        """
        values = {**given, **request.parameters(), "viewer_id": viewer.user_id}
        filters, kind = frozenset(given), request.kind
        if nested:
            pages = NestedPages.of(nested)
            statement, map_rows = _nested_read(self, columns, viewer.access_level, filters, kind, pages.kinds)
            values |= pages.parameters
        elif counted:
            statement, map_rows = _counted_page_read(self, columns, viewer.access_level, filters, kind)
        else:
            statement, map_rows = _page_read(self, columns, viewer.access_level, filters, kind)
        return reader.mapped_rows(statement, values, map_rows)

    async def pages_by_parent(
        self,
        reader: Reader,
        viewer: Viewer,
        columns: Columns,
        given: Filter,
        request: PageRequest,
        parent_ids: Sequence[int],
    ) -> list[Page]:
        """Return a page for each of `parent_ids`, in their order, with one statement."""
        statement, map_rows = _pages_read(self, columns, viewer.access_level, frozenset(given), request.kind)
        values = {**given, **request.parameters(), "viewer_id": viewer.user_id}
        pages = await reader.mapped_rows(statement, values, map_rows, parent_ids)
        return list(map(pages.__getitem__, parent_ids))

    def by_ids(
        self,
        reader: Reader,
        viewer: Viewer,
        columns: Columns,
        ids: Sequence[int],
        nested: NestedPages = NOTHING_NESTED,
    ) -> RowsByKey:
        """Return those of the rows `ids` that the viewer sees, by id, with the `nested` pages of each.

        `columns` includes `id` and the keys of `nested`. With nested pages, the answer is a `RowsWithPages`.
        """
        statement, map_rows = _rows_read(self, columns, viewer.access_level, nested.kinds)
        return reader.mapped_rows(statement, {"viewer_id": viewer.user_id, **nested.parameters}, map_rows, ids)

    async def count(self, reader: Reader, viewer: Viewer, given: Filter) -> int:
        """Return how many rows the list has."""
        statement = list_statements.count(self, viewer.access_level, frozenset(given))
        count: int = await reader.mapped_rows(statement, {**given, "viewer_id": viewer.user_id}, _only_value)
        return count

    async def counts_by_parent(
        self, reader: Reader, viewer: Viewer, given: Filter, parent_ids: Sequence[int]
    ) -> list[int]:
        """Return the number of rows of the list of each of `parent_ids`, in their order, with one statement."""
        statement = list_statements.counts_by_parent(self, viewer.access_level, frozenset(given))
        values = {**given, "viewer_id": viewer.user_id}
        counts = await reader.mapped_rows(statement, values, by_column("id"), parent_ids)
        return [counts[parent_id][1] for parent_id in parent_ids]

    async def behind(self, reader: Reader, viewer: Viewer, given: Filter, request: PageRequest) -> bool:
        """Return whether rows lie at the position of `request`, or on the side of it that its page does not show."""
        statement = list_statements.behind(self, viewer.access_level, frozenset(given), request.side)
        values = {**given, **request.parameters(), "viewer_id": viewer.user_id}
        answer: bool = await reader.mapped_rows(statement, values, _only_value)
        return answer

    async def behind_by_parent(
        self, reader: Reader, viewer: Viewer, given: Filter, request: PageRequest, parent_ids: Sequence[int]
    ) -> list[bool]:
        """Do as `behind` for the list of each of `parent_ids`, in their order, with one statement."""
        statement = list_statements.behind_by_parent(self, viewer.access_level, frozenset(given), request.side)
        values = {**given, **request.parameters(), "viewer_id": viewer.user_id}
        answers = await reader.mapped_rows(statement, values, by_column("id"), parent_ids)
        return [answers[parent_id][1] for parent_id in parent_ids]


def _only_value(records: Sequence[Record]) -> Any:
    return records[0][0]
