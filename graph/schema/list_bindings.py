"""Bindings of connections: one page of a list, or of each parent's list, bound to its loader."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from db.connections.statements import Row
from db.query.cursors import CursorError, Order
from db.query.keyset_lists import KeysetList
from db.query.pages import Columns, Filter, Page, PageRequest
from graph.analysis.cost import PAGE_SIZE_DEFAULT
from graph.errors import BadInput
from graph.execution import BoundEdge, EdgeBinding, LevelLoader, Prefetch, selected_of
from graph.runtime.context import Context, Info
from graph.runtime.edge_loaders import NOTHING_BELOW, RequestedPage
from graph.runtime.list_loader import ONLY_KEY, ListLoader
from graph.schema.connections import PAGE_SIZE_MAX, TOTAL, Connection, ListRequest
from graph.schema.nodes import OBJECT_OF
from graph.schema.prefetching import nested_below

PAGE_KEYS = ("after", "before")
"""The arguments of a connection that its binding takes (`graph.execution.RowEdge.keys`)."""

_BEHIND = {False: "pageInfo.hasPreviousPage", True: "pageInfo.hasNextPage"}
"""The field that reports rows behind a page, by whether the page is requested backward."""


class PageArguments(NamedTuple):
    """The four arguments of every connection field, as the client sent them."""

    first: int | None
    after: str | None
    last: int | None
    before: str | None

    def request(self, order: Order, *, looks_ahead: bool) -> PageRequest:
        """Return the request of these arguments for a page of a list in `order`.

        Raises:
            BadInput: they contradict each other, are out of range, or contain an invalid cursor for the list and order.
        """
        if self.first is not None and self.last is not None:
            raise BadInput("first and last cannot be combined; send one of them")
        backward = self.last is not None or (self.before is not None and self.first is None)
        limit = self.last if backward else self.first
        name, other, cursor, foreign = (
            ("last", "before", self.before, self.after) if backward else ("first", "after", self.after, self.before)
        )
        if foreign is not None:
            raise BadInput("use after with first and before with last: a page has one direction")
        limit = PAGE_SIZE_DEFAULT if limit is None else limit
        if not 1 <= limit <= PAGE_SIZE_MAX:
            raise BadInput(f"{name} should be from 1 to {PAGE_SIZE_MAX}, not {limit}")
        try:
            return PageRequest(order, limit, backward, None if cursor is None else order.position(cursor), looks_ahead)
        except CursorError as error:
            raise BadInput(f"{other} is {error}") from None


def _selected(info: Info, row_type: str, order: Order) -> tuple[Columns, bool]:
    """Return the columns that a page in `order` reads, and whether it must say if more rows follow."""
    selection, parent, field = info.context.selection, str(info.path.typename), info.field_name
    return selection.page_columns(parent, field, row_type, order.columns), selection.looks_ahead(parent, field)


@dataclass(slots=True, eq=False)
class _ListBinding:
    """The binding of one page of a list. Its cursors come later (`PAGE_KEYS`): the rest is often constant.

    Attributes:
        wrap: makes the GraphQL object of a row.
        selected: the names of the selected fields of the connection.
        start: the page without a cursor, once it was requested.
    """

    of: KeysetList
    columns: Columns
    given: Filter
    order: Order
    first: int | None
    last: int | None
    looks_ahead: bool
    wrap: Callable[[Row], Any]
    selected: frozenset[str]
    start: RequestedPage | None = None

    def page(self, after: str | None, before: str | None) -> RequestedPage:
        """Return the page at these cursors.

        Raises:
            BadInput: as `PageArguments.request`.
        """
        is_start = after is None and before is None
        if is_start and self.start is not None:
            return self.start
        arguments = PageArguments(self.first, after, self.last, before)
        request = arguments.request(self.order, looks_ahead=self.looks_ahead)
        page = RequestedPage(self.of, self.columns, self.given, request)
        if is_start:
            self.start = page
        return page

    def needs_behind(self, request: PageRequest) -> bool:
        """Return whether a selected field needs to know if rows lie behind the page, which another statement reads."""
        return request.position is not None and _BEHIND[request.backward] in self.selected


class _Whole(_ListBinding):
    """The binding of one page of a list without a parent.

    If `totalCount` is selected, its statement counts the list too, unless it includes pages below the rows.
    """

    __slots__ = ()

    def bound(
        self, context: Context, prefetch: Prefetch, after: str | None = None, before: str | None = None
    ) -> BoundEdge:
        """Return the edge bound to the loader of the page."""
        page, nested = self.page(after, before), NOTHING_BELOW if prefetch is None else nested_below(prefetch)
        request, has_total = page.request, TOTAL in self.selected
        requested = ListRequest(context, self.of, self.given, request, self.wrap)

        def connection(found: Page, _: object) -> Connection[Any]:
            return Connection(requested=requested, page=found, parent_id=None)

        loader = ListLoader(context.loaders, page, nested, has_total=has_total)
        waits = (request.position is not None and self.needs_behind(request)) or (has_total and bool(nested.lists))
        return BoundEdge(loader, connection, ONLY_KEY, waits=waits)


class _OfParent(_ListBinding):
    """The binding of one page of a parent's list. One statement reads the pages of all parents of a level."""

    __slots__ = ()

    def bound(self, context: Context, _: Prefetch, after: str | None = None, before: str | None = None) -> BoundEdge:
        """Return the edge bound to the loader of the page."""
        page = self.page(after, before)
        requested = ListRequest(context, self.of, self.given, page.request, self.wrap)

        def connection(found: Page, parent_id: int) -> Connection[Any]:
            return Connection(requested=requested, page=found, parent_id=parent_id)

        waits = TOTAL in self.selected or (page.request.position is not None and self.needs_behind(page.request))
        return BoundEdge(context.loaders.page_by_parent(page), connection, None, page.key, waits)


def list_binding(
    info: Info,
    of: KeysetList,
    row_type: str,
    given: Filter,
    order: Order,
    first: int | None,
    last: int | None,
    *,
    has_parent: bool,
) -> EdgeBinding:
    """Return the edge to one page of a whole list, or of the list of each parent.

    It reads the columns that the selection of `row_type` needs. The field declares `PAGE_KEYS`.
    """
    columns, looks_ahead = _selected(info, row_type, order)
    make = _OfParent if has_parent else _Whole
    return make(of, columns, given, order, first, last, looks_ahead, OBJECT_OF[row_type], selected_of(info))


def list_of_entries(
    info: Info,
    loaded: Callable[[Columns, PageRequest], LevelLoader],
    row_type: str,
    order: Order,
    arguments: PageArguments,
) -> BoundEdge:
    """Return the edge to one page of a list, by the key that the loader returned by `loaded` takes.

    The pages contain the number of rows of the whole list, and whether rows lie behind the page, so that this needs no
    further statement.
    """
    columns, looks_ahead = _selected(info, row_type, order)
    request = arguments.request(order, looks_ahead=looks_ahead)
    requested = ListRequest(info.context, None, {}, request, OBJECT_OF[row_type])

    def connection(page: Page, _: object) -> Connection[Any]:
        return Connection(requested=requested, page=page, parent_id=None)

    return BoundEdge(loaded(columns, request), connection)
