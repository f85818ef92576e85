"""Pages: what is asked of a list, and what comes back.

A page is the rows after (or before) a position in a total order, so that rows inserted or deleted elsewhere never
shift it, and page 10,000 costs what page 1 costs: the position is found in the index. The method is described in
Markus Winand, "SQL Performance Explained", chapter on partial results ("the seek method"). The statements are in
`db.list_statements`.

A page travels as one record of arrays, one for each column: to decode and to hand on, four arrays of a hundred values
are much less than a hundred records of four.
"""

from bisect import bisect_left
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from db.cursors import Order, Term

# How many rows a page's statement fetches: one more than the limit, which tells whether there is more, or some more
# than that. The number stands in the text. As a parameter it would have PostgreSQL plan the statement anew at each
# execution (see `db.statements.KEYS_ARRAY`), or for a tenth of the table; and each number is one more text to prepare.
ROWS_FETCHED = (2, 4, 6, 11, 16, 21, 26, 31, 41, 51, 61, 76, 101)

SHAPES_KEPT_MAX = 1024

Columns = tuple[str, ...]
Filter = Mapping[str, object]


class PageRequest(NamedTuple):
    """What is asked of one list: at most `limit` rows after (or, `backward`, before) `position` in `order`."""

    order: Order
    limit: int
    backward: bool = False
    position: tuple[object, ...] | None = None

    @property
    def shape(self) -> "PageShape":
        """What the SQL text of the page depends on, the values aside."""
        return _shape(self.order, self.limit, self.backward, self.position is not None)

    @property
    def side(self) -> "PageShape":
        """What the SQL text of a look behind the page depends on: how long the page is has no part in it."""
        return PageShape(self.order, self.backward, self.position is not None)

    def parameters(self) -> dict[str, object]:
        """Return the values of the page's parameters."""
        position = self.position or ()
        return {f"position_{index}": value for index, value in enumerate(position)}


class PageShape(NamedTuple):
    """The part of a `PageRequest` that decides the SQL text.

    Attributes:
        rows: how many are fetched at most.
    """

    order: Order
    backward: bool
    continues: bool
    rows: int = 0

    def directed(self, *, opposite: bool = False) -> list[tuple[Term, bool]]:
        """Return the terms, each with whether it descends on the way of this page, or the other way."""
        return [(term, descending ^ self.backward ^ opposite) for term, descending in self.order.terms]


@lru_cache(SHAPES_KEPT_MAX)
def _shape(order: Order, limit: int, backward: bool, continues: bool) -> PageShape:
    place = bisect_left(ROWS_FETCHED, limit + 1)
    return PageShape(order, backward, continues, ROWS_FETCHED[place] if place < len(ROWS_FETCHED) else limit + 1)


class Page:
    """The rows of one page, in the order of the list whichever way it was paged. Several operations may share it.

    Attributes:
        columns: the values of each column.
        size: how many rows there are, at most `limit`.
        has_more: whether rows follow in the direction of paging.
        nested: for each list that was read along for each of the rows, the page of each parent, by its id.
        total: how many rows the whole list has, where that was counted along.
        brought: by what readers know that the `nested` pages are theirs; set by who asked for them.
        written: what readers have made of the rows and keep here, for those who share the page; by who made it.
    """

    __slots__ = ("brought", "columns", "has_more", "nested", "size", "total", "written")

    def __init__(
        self,
        columns: Mapping[str, list[Any]],
        size: int,
        *,
        has_more: bool,
        nested: "Sequence[Mapping[int, Page]]" = (),
        total: int | None = None,
    ) -> None:
        self.columns = columns
        self.size = size
        self.has_more = has_more
        self.nested = nested
        self.total = total
        self.brought: tuple[Hashable, ...] = ()
        self.written: dict[Any, Any] | None = None

    def __len__(self) -> int:
        return self.size

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        """The rows, made on demand."""
        return [dict(zip(self.columns, values, strict=True)) for values in zip(*self.columns.values(), strict=True)]

    def row(self, index: int) -> Mapping[str, Any]:
        """Return one row; -1 is the last."""
        return {name: values[index] for name, values in self.columns.items()}


def page_of(columns: Columns, limit: int, backward: bool, arrays: list[Any], total: int | None = None) -> Page:
    """Make the page of the fetched `arrays`: surplus rows off, a backward page turned round."""
    if arrays[0] is None:  # array_agg() of nothing
        return Page({name: [] for name in columns}, 0, has_more=False, total=total)
    count = len(arrays[0])
    has_more = count > limit
    if has_more:
        count = limit
        for values in arrays:
            del values[limit:]
    if backward:
        for values in arrays:
            values.reverse()
    return Page(dict(zip(columns, arrays, strict=True)), count, has_more=has_more, total=total)
