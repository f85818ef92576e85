"""Connections, after the Relay cursor connections specification: arguments in, a page with its cursors out.

`Connection[Post]` is the GraphQL type `PostConnection`. It holds the fetched page and its request. So it can find out
how many rows the list has in all, and whether rows lie outside the page, but only where a client selects this.
"""

from collections.abc import Awaitable, Callable
from enum import Enum
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import strawberry

from db.connections.statements import Row
from db.query.cursors import Order, Term
from db.query.keyset_lists import KeysetList
from db.query.pages import Filter, Page, PageRequest
from graph.analysis.cost import COUNT, PAGE_SIZE_DEFAULT
from graph.errors import BadInput
from graph.execution import Waits
from graph.runtime.context import Context
from graph.schema.fields import derived, derived_rows, derived_table

PAGE_SIZE_MAX = 100
TOTAL = "totalCount"

T = TypeVar("T")


@strawberry.enum(description="The direction of a sort.")
class OrderDirection(Enum):
    """Ascending or descending."""

    ASC = strawberry.enum_value("ASC", description="The smallest, earliest or alphabetically first value first.")
    DESC = strawberry.enum_value("DESC", description="The largest, latest or alphabetically last value first.")


@lru_cache
def order_of(list_name: str, terms: tuple[tuple[Term, bool], ...], tie_breaker: Term) -> Order:
    """Return the order by `terms`, each with True if it descends. Ties are broken in the direction of the last term.

    The same terms return the same object, because it is the key of compiled statements.
    """
    return Order(list_name, [*terms, (tie_breaker, terms[-1][1])])


def chosen_order(list_name: str, given: list[tuple[Term, OrderDirection]], tie_breaker: Term) -> Order:
    """Return the order of the argument `orderBy`, which is not empty.

    Raises:
        BadInput: a field occurs in it twice.
    """
    names = [term.name for term, _ in given]
    if len(set(names)) != len(names):
        raise BadInput("orderBy names a field twice")
    return order_of(
        list_name, tuple((term, direction is OrderDirection.DESC) for term, direction in given), tie_breaker
    )


class ListRequest(NamedTuple):
    """The request of one field for a page of a list. It is the same for all parents of a level.

    Attributes:
        of: the list; None if its pages contain the total number of rows, and whether rows lie behind.
    """

    context: Context
    of: KeysetList | None
    given: Filter
    request: PageRequest
    wrap: Callable[[Row], Any]


def _has_behind(connection: "Connection[Any]") -> bool | Awaitable[bool]:
    """Return whether rows lie behind the page, against the direction of paging. Without a cursor there are none."""
    context, of, given, request, _ = connection.requested
    if request.position is None:
        return False
    if of is None:
        return bool(connection.page.behind)
    if connection.parent_id is None:
        return of.behind(context.reader, context.viewer, given, request)
    return context.loaders.behind_by_parent(of, given, request).load(connection.parent_id)


def _has_next_page(info: "PageInfo") -> bool | Awaitable[bool]:
    connection = info.connection
    return _has_behind(connection) if connection.requested.request.backward else connection.page.has_more


def _has_previous_page(info: "PageInfo") -> bool | Awaitable[bool]:
    connection = info.connection
    return connection.page.has_more if connection.requested.request.backward else _has_behind(connection)


def _at_once(of: Callable[[T], Any], waits: Callable[[T], bool]) -> Callable[[T], Any]:
    """Return a function that does as `of`, but raises `Waits` where `of` would return an awaitable."""

    def ready(source: T) -> Any:
        if waits(source):
            raise Waits
        return of(source)

    return ready


def _behind_is_unknown(connection: "Connection[Any]") -> bool:
    return connection.requested.of is not None and connection.requested.request.position is not None


def _total_is_unknown(connection: "Connection[Any]") -> bool:
    page, (_, of, _, request, _) = connection.page, connection.requested
    return page.total is None and of is not None and (request.position is not None or page.has_more)


def _cursor_at(info: "PageInfo", index: int) -> str | None:
    page = info.connection.page
    return info.connection.requested.request.order.cursor(page.row(index)) if page else None


@strawberry.type(
    description="The position of a page in its list, as the Relay cursor connections specification defines it."
)
class PageInfo:
    """The ends of one page."""

    connection: strawberry.Private["Connection[Any]"]

    has_next_page: bool = derived(
        _has_next_page,
        "Whether items follow this page.",
        looks_ahead=True,
        ready=_at_once(
            _has_next_page,
            lambda info: info.connection.requested.request.backward and _behind_is_unknown(info.connection),
        ),
    )
    has_previous_page: bool = derived(
        _has_previous_page,
        "Whether items precede this page.",
        looks_ahead=True,
        ready=_at_once(
            _has_previous_page,
            lambda info: not info.connection.requested.request.backward and _behind_is_unknown(info.connection),
        ),
    )
    start_cursor: str | None = derived(
        lambda info: _cursor_at(info, 0),
        "The cursor of the first edge. Null if the page is empty.",
        reads_order=True,
    )
    end_cursor: str | None = derived(
        lambda info: _cursor_at(info, -1),
        "The cursor of the last edge. Null if the page is empty.",
        reads_order=True,
    )


@strawberry.type(description="One item of a page, with its cursor.")
class Edge(Generic[T]):
    """One row at its place in an order."""

    row: strawberry.Private[Row]
    order: strawberry.Private[Order]
    wrap: strawberry.Private[Callable[[Row], Any]]

    cursor: str = derived(
        lambda edge: edge.order.cursor(edge.row),
        (
            "The position of the item in the list. Opaque. Use it as `after` or `before` in the same list "
            "with the same order."
        ),
        reads_order=True,
    )
    node: T = derived_rows(lambda edge: edge.row, lambda edge: edge.wrap(edge.row), "The item.")


def _edges(connection: "Connection[T]") -> list[Edge[T]]:
    requested = connection.requested
    return [Edge(row=row, order=requested.request.order, wrap=requested.wrap) for row in connection.page.rows]


def _count(connection: "Connection[Any]") -> int | Awaitable[int]:
    page, (context, of, given, request, _) = connection.page, connection.requested
    if page.total is not None or of is None:
        return page.total or 0
    if request.position is None and not page.has_more:
        return page.size  # from one end of the list to the other
    if connection.parent_id is None:
        return context.loaders.count(of, given)
    return context.loaders.count_by_parent(of, given).load(connection.parent_id)


@strawberry.type(description="One page of a list. The list may be longer.")
class Connection(Generic[T]):
    """A fetched page of a list, with everything that a client can select of it.

    Attributes:
        parent_id: the id of the row to which the list belongs; None if it belongs to no row.
    """

    requested: strawberry.Private[ListRequest]
    page: strawberry.Private[Page]
    parent_id: strawberry.Private[int | None]

    edges: list[Edge[T]] = derived(_edges, "The items of the page, each with its cursor.")
    nodes: list[T] = derived_table(
        attrgetter("page"),
        lambda connection: list(map(connection.requested.wrap, connection.page.rows)),
        "The items of the page, without cursors.",
    )
    page_info: PageInfo = derived(
        lambda connection: PageInfo(connection=connection), "The position of the page in the list."
    )
    total_count: int = derived(
        _count,
        "The number of items in the whole list. It is counted only if it is selected.",
        directives=[COUNT],
        looks_ahead=True,
        ready=_at_once(_count, _total_is_unknown),
    )


_SIZE = f"1 to {PAGE_SIZE_MAX}. The default is {PAGE_SIZE_DEFAULT}."
First = Annotated[
    int | None,
    strawberry.argument(
        description=f"The maximum number of items from the start of the list, or after `after`: {_SIZE}"
    ),
]
After = Annotated[
    str | None, strawberry.argument(description="Return the items after this cursor. Use it with `first`.")
]
Last = Annotated[
    int | None,
    strawberry.argument(
        description=f"The maximum number of items from the end of the list, or before `before`: {_SIZE}"
    ),
]
Before = Annotated[
    str | None, strawberry.argument(description="Return the items before this cursor. Use it with `last`.")
]
