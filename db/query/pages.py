"""Pages: the request for a part of a list, and its result.

A page holds the rows after (or before) a position in a total order. Rows that are inserted or deleted elsewhere never
shift it. Page 10,000 costs as much as page 1, because the position is found in the index. The method is described in
Markus Winand, "SQL Performance Explained", chapter on partial results ("the seek method"). The statements are in
`db.query.list_statements`.

A page is transferred as one record with an array for each column: four arrays of a hundred values take much less time
to decode and pass on than a hundred records of four values.
"""

from bisect import bisect_left
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from db.query.cursors import Order, Term

# The numbers of rows for which a page's statement is planned: the usual page lengths, and one row more than each. The
# number is written in the SQL text. If it were a parameter alone, PostgreSQL would plan the statement again at each
# execution (see `db.connections.statements.KEYS_ARRAY`), or plan it for a tenth of the table. Each number is one more
# text to prepare. A page of another length uses the plan of the next larger number. In it a second LIMIT, which is a
# parameter, ends the page in time.
ROWS_PLANNED = (1, 2, 5, 6, 10, 11, 20, 21, 25, 26, 50, 51, 100, 101)
ROWS = "page_rows"
"""The parameter that holds the maximum number of rows of a page, if the SQL text does not hold it."""

Columns = tuple[str, ...]
Filter = Mapping[str, object]


class PageRequest(NamedTuple):
    """A request for at most `limit` rows after (or, if `backward`, before) `position` in `order`.

    Attributes:
        looks_ahead: whether the page must say if more rows follow, for which one more row is fetched.
    """

    order: Order
    limit: int
    backward: bool = False
    position: tuple[object, ...] | None = None
    looks_ahead: bool = True

    @property
    def kind(self) -> "PageKind":
        """The part that it shares with requests that differ in their position alone."""
        return PageKind(self.order.general, self.limit, self.backward, self.position is not None, self.looks_ahead)

    @property
    def side(self) -> "PageShape":
        """The part that decides the SQL text of `behind`. The length of the page is not part of it."""
        return PageShape(self.order.general, self.backward, self.position is not None)

    def parameters(self) -> dict[str, object]:
        """Return the values of the page's parameters."""
        values: dict[str, object] = {ROWS: self.limit + self.looks_ahead}
        if self.position is not None:
            for index, value in enumerate(self.position):
                values[f"position_{index}"] = value
        return values


class PageKind(NamedTuple):
    """The part of a `PageRequest` that decides its statement and how its rows are mapped."""

    order: Order
    limit: int
    backward: bool
    continues: bool
    looks_ahead: bool

    @property
    def shape(self) -> "PageShape":
        """The part that decides the SQL text of the page."""
        rows = self.limit + self.looks_ahead
        place = bisect_left(ROWS_PLANNED, rows)
        planned = ROWS_PLANNED[place] if place < len(ROWS_PLANNED) else rows
        return PageShape(self.order, self.backward, self.continues, planned, exact=planned == rows)


class PageShape(NamedTuple):
    """The part of a `PageRequest` that decides the SQL text.

    Attributes:
        rows: the number of rows for which the statement is planned.
        exact: whether it fetches exactly that number; otherwise the parameter `ROWS` holds the number.
    """

    order: Order
    backward: bool
    continues: bool
    rows: int = 0
    exact: bool = True

    def directed(self, *, opposite: bool = False) -> list[tuple[Term, bool]]:
        """Return the terms, each with whether it descends in the direction of this page, or in the opposite one."""
        return [(term, descending ^ self.backward ^ opposite) for term, descending in self.order.terms]


class Page:
    """The rows of one page, always in the order of the list. Several operations may share a page.

    Attributes:
        columns: the values of each column.
        size: the number of rows, at most the requested limit.
        nested: for each nested list, the page of each parent by the parent's id.
        total: the number of rows of the whole list, if the statement counted it.
        behind: whether there are rows against the direction of paging; None if the read did not find it out.
        included_loaders: keys that identify the `nested` pages to readers; set by the code that requested them.
        shared_output: output that readers have made of the rows and share through the page, by the reader.
    """

    __slots__ = ("_has_more", "behind", "columns", "included_loaders", "nested", "shared_output", "size", "total")

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
        self.included_loaders: tuple[Hashable, ...] = ()
        self.shared_output: dict[Any, Any] | None = None

    def __len__(self) -> int:
        return self.size

    @property
    def has_more(self) -> bool:
        """Whether rows follow in the direction of paging. Only a page that looked ahead knows it."""
        assert self._has_more is not None, "has_more was read on a page that did not look ahead"
        return self._has_more

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        """The rows as mappings, created at each access."""
        return [dict(zip(self.columns, values, strict=True)) for values in zip(*self.columns.values(), strict=True)]

    def row(self, index: int) -> Mapping[str, Any]:
        """Return one row; -1 is the last."""
        return {name: values[index] for name, values in self.columns.items()}


def page_of(columns: Columns, kind: PageKind, arrays: list[Any], total: int | None = None) -> Page:
    """Make a page of the fetched `arrays`: drop the row that was fetched ahead, and reverse a backward page."""
    _, limit, backward, _, looks_ahead = kind
    first = arrays[0]
    size = 0 if first is None else len(first)
    has_more = size > limit if looks_ahead else None
    if not size:  # array_agg() of no rows is NULL
        arrays = [[] for _ in columns]
    elif has_more:
        size = limit
        for values in arrays:
            del values[limit:]
    if backward:
        for values in arrays:
            values.reverse()
    return Page(dict(zip(columns, arrays, strict=True)), size, has_more, (), total)
