"""Lists: what each selects from, who sees which rows and what its filters mean, said once in a `KeysetList`.

The statements for a page, a count and "is there more behind" follow from that, each compiled once for each shape; and a
page for each of many parents is one statement.

Where all terms of the order point the same way the continuation behind a position is one row comparison, which
PostgreSQL turns into an index range; where they are mixed it is the comparison written out, headed by a redundant bound
on the first term, so that the index still helps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from asyncpg import Record
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    SQLColumnExpression,
    and_,
    bindparam,
    column,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.sql.selectable import CompoundSelect, TableValuedAlias

from db.cursors import Term
from db.pages import Columns, Filter, Page, PageRequest, PageShape, page_of
from db.statements import KEYS_ARRAY, Reader, Statement
from db.viewer import Audience, Viewer

STATEMENTS_KEPT_MAX = 512

PagesById = Mapping[int, Page]


@lru_cache(STATEMENTS_KEPT_MAX)
def _page_arranged(columns: Columns, limit: int, backward: bool) -> Callable[[Sequence[Record]], Page]:
    """Return what makes the page of the one record of arrays; the same for the same arguments."""

    def arranged(records: Sequence[Record]) -> Page:
        return page_of(columns, limit, backward, list(records[0]))

    return arranged


@lru_cache(STATEMENTS_KEPT_MAX)
def _pages_arranged(columns: Columns, limit: int, backward: bool) -> Callable[[Sequence[Record]], PagesById]:
    """Return what makes the pages of one such record for each parent, whose id it begins with."""

    def arranged(records: Sequence[Record]) -> PagesById:
        pages = {}
        for parent_id, *arrays in records:
            pages[parent_id] = page_of(columns, limit, backward, arrays)
        return pages

    return arranged


@dataclass(frozen=True, eq=False)
class KeysetList:
    """One list: what it selects, for whom, and what its filters mean.

    Attributes:
        edge: the name of the edge from a parent to its list, such as `posts_by_author`; empty where there is none.
        project: the select's columns for column names and an audience, each labelled with its name; none is an array.
        joined: the conditions that join other tables, for columns that are theirs; every row has its match there.
        visible: the conditions under which an audience sees a row. They may use the parameter `viewer_id`.
        conditions: what each filter means; a condition's parameter has the filter's name.
        parent_columns: the columns by which a row belongs to a parent. With several, a row must not belong to
            one parent by two of them, for its page is put together from one index range each.
        parent_visible: as `visible`, for the parent: its rows are seen only where this holds for its id.
    """

    edge: str
    project: Callable[[Columns, Audience], Sequence[ColumnElement[Any]]]
    visible: Callable[[Audience], Sequence[SQLColumnExpression[bool]]]
    conditions: Mapping[str, ColumnElement[bool]]
    joined: Callable[[Columns], Sequence[ColumnElement[bool]]] = lambda _: ()
    parent_columns: Sequence[SQLColumnExpression[int]] = ()
    parent_visible: Callable[[Audience, ColumnElement[int]], Sequence[ColumnElement[bool]]] | None = None

    async def page(self, reader: Reader, viewer: Viewer, columns: Columns, given: Filter, request: PageRequest) -> Page:
        """Return one page of the whole list; `columns` are not empty."""
        statement = _page(self, columns, viewer.audience, frozenset(given), request.shape)
        values = {**given, **request.parameters(), "viewer_id": viewer.user_id}
        return await reader.arranged(statement, values, _page_arranged(columns, request.limit, request.backward))

    async def pages_by_parent(
        self,
        reader: Reader,
        viewer: Viewer,
        columns: Columns,
        given: Filter,
        request: PageRequest,
        parent_ids: Sequence[int],
    ) -> list[Page]:
        """Return a page for each of `parent_ids`, in their order, by one statement."""
        statement = _pages_by_parent(self, columns, viewer.audience, frozenset(given), request.shape)
        values = {**given, **request.parameters(), "viewer_id": viewer.user_id}
        arrange = _pages_arranged(columns, request.limit, request.backward)
        pages = await reader.arranged(statement, values, arrange, parent_ids)
        return list(map(pages.__getitem__, parent_ids))

    async def count(self, reader: Reader, viewer: Viewer, given: Filter) -> int:
        """Return how many rows the list has."""
        statement = _count(self, viewer.audience, frozenset(given))
        count: int = await reader.arranged(statement, {**given, "viewer_id": viewer.user_id}, _only_value)
        return count

    async def counts_by_parent(
        self, reader: Reader, viewer: Viewer, given: Filter, parent_ids: Sequence[int]
    ) -> list[int]:
        """Return how many rows the list of each of `parent_ids` has, in their order, by one statement."""
        statement = _counts_by_parent(self, viewer.audience, frozenset(given))
        values = {**given, "viewer_id": viewer.user_id}
        counts = await reader.keyed(statement, values, parent_ids, "id")
        return [counts[parent_id][1] for parent_id in parent_ids]

    async def behind(self, reader: Reader, viewer: Viewer, given: Filter, request: PageRequest) -> bool:
        """Say whether rows lie at the position of `request` or on the side of it that its page does not show."""
        statement = _behind(self, viewer.audience, frozenset(given), request.side)
        values = {**given, **request.parameters(), "viewer_id": viewer.user_id}
        answer: bool = await reader.arranged(statement, values, _only_value)
        return answer

    async def behind_by_parent(
        self, reader: Reader, viewer: Viewer, given: Filter, request: PageRequest, parent_ids: Sequence[int]
    ) -> list[bool]:
        """As `behind`, for the list of each of `parent_ids`, in their order, by one statement."""
        statement = _behind_by_parent(self, viewer.audience, frozenset(given), request.side)
        values = {**given, **request.parameters(), "viewer_id": viewer.user_id}
        answers = await reader.keyed(statement, values, parent_ids, "id")
        return [answers[parent_id][1] for parent_id in parent_ids]


# ---------------------------------------------------------------- statements, one for each shape of each list


def _rows(of: KeysetList, columns: Columns, audience: Audience, filters: frozenset[str]) -> Select[Any]:
    conditions = [of.conditions[name] for name in sorted(filters)]
    return select(*of.project(columns, audience)).where(*of.joined(columns), *of.visible(audience), *conditions)


def _rows_by_parent(of: KeysetList, columns: Columns, audience: Audience, filters: frozenset[str]) -> list[Select[Any]]:
    rows = _rows(of, columns, audience, filters)
    if of.parent_visible is not None:
        rows = rows.where(*of.parent_visible(audience, _PARENT_ID))
    return [rows.where(belongs_to == _PARENT_ID) for belongs_to in of.parent_columns]


@lru_cache(STATEMENTS_KEPT_MAX)
def _page(of: KeysetList, columns: Columns, audience: Audience, filters: frozenset[str], shape: PageShape) -> Statement:
    return Statement(_arrays(_cut(_rows(of, columns, audience, filters), shape), columns))


@lru_cache(STATEMENTS_KEPT_MAX)
def _pages_by_parent(
    of: KeysetList, columns: Columns, audience: Audience, filters: frozenset[str], shape: PageShape
) -> Statement:
    parents = _parents()
    merges = len(of.parent_columns) > 1
    read = tuple(dict.fromkeys((*columns, *shape.order.columns))) if merges else columns
    parts = [_cut(rows, shape) for rows in _rows_by_parent(of, read, audience, filters)]
    # LATERAL cuts every parent's page on its own. One LIMIT over the batch would give the first parent all the rows.
    page = _arrays(_merged(parts, shape) if merges else parts[0], columns).lateral("page")
    return Statement(select(parents.c.id.label("parent_id"), page).select_from(parents.join(page, true())))


@lru_cache(STATEMENTS_KEPT_MAX)
def _count(of: KeysetList, audience: Audience, filters: frozenset[str]) -> Statement:
    rows = _rows(of, ("id",), audience, filters)
    return Statement(rows.with_only_columns(func.count(), maintain_column_froms=True))


@lru_cache(STATEMENTS_KEPT_MAX)
def _counts_by_parent(of: KeysetList, audience: Audience, filters: frozenset[str]) -> Statement:
    parents = _parents()
    total: ColumnElement[int] = literal(0, BigInteger)
    for rows in _rows_by_parent(of, ("id",), audience, filters):
        counted = rows.with_only_columns(func.count(), maintain_column_froms=True)
        total = total + counted.scalar_subquery()
    return Statement(select(parents.c.id, total))


@lru_cache(STATEMENTS_KEPT_MAX)
def _behind(of: KeysetList, audience: Audience, filters: frozenset[str], shape: PageShape) -> Statement:
    beyond = _beyond(shape.directed(opposite=True), inclusive=True)
    return Statement(select(exists(_rows(of, ("id",), audience, filters).where(beyond))))


@lru_cache(STATEMENTS_KEPT_MAX)
def _behind_by_parent(of: KeysetList, audience: Audience, filters: frozenset[str], shape: PageShape) -> Statement:
    parents = _parents()
    beyond = _beyond(shape.directed(opposite=True), inclusive=True)
    parts = _rows_by_parent(of, ("id",), audience, filters)
    return Statement(select(parents.c.id, or_(*(exists(rows.where(beyond)) for rows in parts))))


# By its name, not as the alias's column: SQLAlchemy would add the alias to the FROM of every subquery that uses it.
_PARENT_ID: ColumnElement[int] = literal_column("parents.id", BigInteger)


def _parents() -> TableValuedAlias:
    """Return the parents of a batch as a table with the one column `id`, from the parameter `ids`."""
    return func.unnest(KEYS_ARRAY).table_valued(column("id", BigInteger), name="parents").render_derived(name="parents")


def _cut(rows: Select[Any], shape: PageShape) -> Select[Any]:
    """Order, continue and limit `rows`."""
    directed = shape.directed()
    if shape.continues:
        rows = rows.where(_beyond(directed, inclusive=False))
    ordering = [term.expression.desc() if descending else term.expression.asc() for term, descending in directed]
    return rows.order_by(*ordering).limit(_limit(shape))


def _arrays(page: Select[Any] | CompoundSelect[Any], columns: Columns) -> Select[Any]:
    """Turn a page into one record of arrays. They keep its order, for nothing stands between it and the aggregates."""
    rows = page.subquery("listed")
    arrays: list[ColumnElement[Any]] = [func.array_agg(rows.c[name]).label(name) for name in columns]
    return select(*arrays)


def _only_value(records: Sequence[Record]) -> Any:
    return records[0][0]


def _merged(parts: Sequence[Select[Any]], shape: PageShape) -> CompoundSelect[Any]:
    """Merge pages that are cut already: the first rows of all are among the first rows of each."""
    merged = union_all(*(part.subquery().select() for part in parts))
    columns = merged.selected_columns
    ordering = [
        columns[term.name].desc() if descending else columns[term.name].asc() for term, descending in shape.directed()
    ]
    return merged.order_by(*ordering).limit(_limit(shape))


def _limit(shape: PageShape) -> ColumnElement[int]:
    return literal_column(str(shape.rows), Integer)


def _beyond(directed: Sequence[tuple[Term, bool]], *, inclusive: bool) -> ColumnElement[bool]:
    """Return the condition that a row lies beyond the position in the directions given."""
    left: list[SQLColumnExpression[Any]] = [term.expression for term, _ in directed]
    right = [bindparam(f"position_{index}", type_=term.kind.sql_type) for index, (term, _) in enumerate(directed)]
    directions = {descending for _, descending in directed}
    if len(directions) == 1:
        row, position = tuple_(*left), tuple_(*right)
        if directions == {True}:
            return row <= position if inclusive else row < position
        return row >= position if inclusive else row > position
    equal = [ours == theirs for ours, theirs in zip(left, right, strict=True)]
    passing = [
        left[index] < right[index] if descending else left[index] > right[index]
        for index, (_, descending) in enumerate(directed)
    ]
    alternatives = [and_(*equal[:index], passes) for index, passes in enumerate(passing)]
    if inclusive:
        alternatives.append(and_(*equal))
    bound = left[0] <= right[0] if directed[0][1] else left[0] >= right[0]
    return and_(bound, or_(*alternatives))
