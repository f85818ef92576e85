"""Pages: what is asked of a list, and what comes back.

A page is the rows after (or before) a position in a total order, so that rows inserted or deleted elsewhere never
shift it, and page 10,000 costs what page 1 costs: the position is found in the index. The method is described in
Markus Winand, "SQL Performance Explained", chapter on partial results ("the seek method"). The statements are in
`db.query.list_statements`.

A page travels as one record of arrays, one for each column: to decode and to hand on, four arrays of a hundred values
are much less than a hundred records of four.
"""

from bisect import bisect_left
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from db.query.cursors import Order, Term

# For how many rows a page's statement is planned: the lengths that pages mostly have, and one row more. The number
# stands in the text. As a parameter alone it would have PostgreSQL plan the statement anew at each execution (see
# `db.connections.statements.KEYS_ARRAY`), or for a tenth of the table; and each number is one more text to prepare. A
# page of another length is planned for the next larger one, within which a second LIMIT, a parameter, ends it in time.
ROWS_PLANNED = (1, 2, 5, 6, 10, 11, 20, 21, 25, 26, 50, 51, 100, 101)
ROWS = "page_rows"
"""The parameter that says how many rows a page has at most, where its text does not."""

Columns = tuple[str, ...]
Filter = Mapping[str, object]


class PageRequest(NamedTuple):
    """What is asked of one list: at most `limit` rows after (or, `backward`, before) `position` in `order`.

    Attributes:
        looks_ahead: whether the page is to know if there is more behind it, for which one row more is fetched.
    """

    order: Order
    limit: int
    backward: bool = False
    position: tuple[object, ...] | None = None
    looks_ahead: bool = True

    @property
    def kind(self) -> "PageKind":
        """What it has in common with requests that differ in their position alone."""
        return PageKind(self.order.general, self.limit, self.backward, self.position is not None, self.looks_ahead)

    @property
    def side(self) -> "PageShape":
        """What the SQL text of a look behind the page depends on: how long the page is has no part in it."""
        return PageShape(self.order.general, self.backward, self.position is not None)

    def parameters(self) -> dict[str, object]:
        """Return the values of the page's parameters."""
        values: dict[str, object] = {ROWS: self.limit + self.looks_ahead}
        if self.position is not None:
            for index, value in enumerate(self.position):
                values[f"position_{index}"] = value
        return values


class PageKind(NamedTuple):
    """The part of a `PageRequest` that decides its statement, and what is made of the rows."""

    order: Order
    limit: int
    backward: bool
    continues: bool
    looks_ahead: bool

    @property
    def shape(self) -> "PageShape":
        """What the SQL text of the page depends on, the values aside."""
        rows = self.limit + self.looks_ahead
        place = bisect_left(ROWS_PLANNED, rows)
        planned = ROWS_PLANNED[place] if place < len(ROWS_PLANNED) else rows
        return PageShape(self.order, self.backward, self.continues, planned, exact=planned == rows)


class PageShape(NamedTuple):
    """The part of a `PageRequest` that decides the SQL text.

    Attributes:
        rows: for how many the statement is planned.
        exact: whether it fetches just so many; otherwise the parameter `ROWS` says how many.
    """

    order: Order
    backward: bool
    continues: bool
    rows: int = 0
    exact: bool = True

    def directed(self, *, opposite: bool = False) -> list[tuple[Term, bool]]:
        """Return the terms, each with whether it descends on the way of this page, or the other way."""
        return [(term, descending ^ self.backward ^ opposite) for term, descending in self.order.terms]


class Page:
    """The rows of one page, in the order of the list whichever way it was paged. Several operations may share it.

    Attributes:
        columns: the values of each column.
        size: how many rows there are, at most as many as were asked for.
        nested: for each list that was read along for each of the rows, the page of each parent, by its id.
        total: how many rows the whole list has, where that was counted along.
        behind: whether there are rows against the direction of paging, where that was found out along; None otherwise.
        brought: by what readers know that the `nested` pages are theirs; set by who asked for them.
        written: what readers have made of the rows and keep here, for those who share the page; by who made it.
    """

    __slots__ = ("_has_more", "behind", "brought", "columns", "nested", "size", "total", "written")

    def __init__(
        self,
        columns: Mapping[str, list[Any]],
        size: int,
        has_more: bool | None,
        nested: "Sequence[Mapping[int, Page]]" = (),
        total: int | None = None,
    ) -> None:
        self.columns = columns
        self.size = size
        self._has_more = has_more
        self.nested = nested
        self.total = total
        self.behind: bool | None = None
        self.brought: tuple[Hashable, ...] = ()
        self.written: dict[Any, Any] | None = None

    def __len__(self) -> int:
        return self.size

    @property
    def has_more(self) -> bool:
        """Whether rows follow in the direction of paging. Only who looked ahead knows."""
        assert self._has_more is not None, "a page that did not look ahead was asked what comes behind it"
        return self._has_more

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        """The rows, made on demand."""
        return [dict(zip(self.columns, values, strict=True)) for values in zip(*self.columns.values(), strict=True)]

    def row(self, index: int) -> Mapping[str, Any]:
        """Return one row; -1 is the last."""
        return {name: values[index] for name, values in self.columns.items()}


def page_of(columns: Columns, kind: PageKind, arrays: list[Any], total: int | None = None) -> Page:
    """Make the page of the fetched `arrays`: the row that was looked at ahead off, a backward page turned round."""
    _, limit, backward, _, looks_ahead = kind
    first = arrays[0]
    size = 0 if first is None else len(first)
    has_more = size > limit if looks_ahead else None
    if not size:  # array_agg() of nothing
        arrays = [[] for _ in columns]
    elif has_more:
        size = limit
        for values in arrays:
            del values[limit:]
    if backward:
        for values in arrays:
            values.reverse()
    return Page(dict(zip(columns, arrays, strict=True)), size, has_more, (), total)
