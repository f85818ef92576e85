"""Connections, after the Relay cursor connections specification: arguments in, a page with its cursors out.

`Connection[Post]` is the GraphQL type `PostConnection`. It holds a `Listing`: the rows that were fetched, and how to
find out, only where it is asked, how many there are in all and whether there are any behind the page.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Annotated, Any, Generic, TypeVar

import strawberry
from asyncpg import Record

from db.cursors import CursorError, Order, Term
from db.pages import Columns, Filter, KeysetList, Page, PageRequest
from graph.context import Context
from graph.cost import COUNT
from graph.errors import BadInput

PAGE_SIZE_DEFAULT = 20
PAGE_SIZE_MAX = 100

T = TypeVar("T")


@strawberry.enum(description="Which way an order runs.")
class OrderDirection(Enum):
    """Ascending or descending."""

    ASC = strawberry.enum_value("ASC", description="Smallest, earliest or first in the alphabet first.")
    DESC = strawberry.enum_value("DESC", description="Largest, latest or last in the alphabet first.")


@dataclass(frozen=True, slots=True)
class PageArguments:
    """The four arguments of every connection field, as they were given."""

    first: int | None
    after: str | None
    last: int | None
    before: str | None

    def request(self, order: Order) -> PageRequest:
        """Return the page of a list in `order` that the arguments ask for.

        Raises:
            BadInput: they contradict each other, are out of range, or hold no cursor of this list in this order.
        """
        if self.first is not None and self.last is not None:
            raise BadInput("first and last contradict each other; give one of them")
        backward = self.last is not None or (self.before is not None and self.first is None)
        limit = self.last if backward else self.first
        name, other, cursor, foreign = (
            ("last", "before", self.before, self.after) if backward else ("first", "after", self.after, self.before)
        )
        if foreign is not None:
            raise BadInput("first goes with after, last with before; page in one direction at a time")
        limit = PAGE_SIZE_DEFAULT if limit is None else limit
        if not 1 <= limit <= PAGE_SIZE_MAX:
            raise BadInput(f"{name} should be from 1 to {PAGE_SIZE_MAX}, not {limit}")
        try:
            return PageRequest(order, limit, backward, None if cursor is None else order.position(cursor))
        except CursorError as error:
            raise BadInput(f"{other} is {error}") from None


@lru_cache
def order_of(list_name: str, terms: tuple[tuple[Term, bool], ...], tie_breaker: Term) -> Order:
    """Return the order by `terms` (each with whether it descends), ties broken in the direction of the last one.

    The same terms give the same object, for compiled statements are kept by it.
    """
    return Order(list_name, [*terms, (tie_breaker, terms[-1][1])])


def chosen_order(
    list_name: str, given: list[tuple[Term, OrderDirection]], default: tuple[Term, bool], tie_breaker: Term
) -> Order:
    """Return the order that an `orderBy` asks for, or by `default` where it asks for none.

    Raises:
        BadInput: a field stands in it twice.
    """
    names = [term.name for term, _ in given]
    if len(set(names)) != len(names):
        raise BadInput("orderBy names a field twice")
    terms = tuple((term, direction is OrderDirection.DESC) for term, direction in given) or (default,)
    return order_of(list_name, terms, tie_breaker)


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """A fetched page with everything that a connection may be asked about it.

    Attributes:
        wrap: makes the GraphQL object of a row.
        count: how many rows the list has in all.
        behind: whether rows lie on the side that the page does not show.
    """

    page: Page
    request: PageRequest
    wrap: Callable[[Record], T]
    count: Callable[[], Awaitable[int]]
    behind: Callable[[], Awaitable[bool]]

    async def has_behind(self) -> bool:
        """Say whether there is more against the direction of paging. Without a cursor the page began at the end."""
        return self.request.position is not None and await self.behind()


@strawberry.type(description="Where a page lies in its list, after the Relay cursor connections specification.")
class PageInfo:
    """The ends of one page."""

    listing: strawberry.Private[Listing[Any]]

    @staticmethod
    async def _has_next_page(root: "PageInfo") -> bool:
        return await root.listing.has_behind() if root.listing.request.backward else root.listing.page.has_more

    @staticmethod
    async def _has_previous_page(root: "PageInfo") -> bool:
        return root.listing.page.has_more if root.listing.request.backward else await root.listing.has_behind()

    @staticmethod
    def _start_cursor(root: "PageInfo") -> str | None:
        rows = root.listing.page.rows
        return root.listing.request.order.cursor(rows[0]) if rows else None

    @staticmethod
    def _end_cursor(root: "PageInfo") -> str | None:
        rows = root.listing.page.rows
        return root.listing.request.order.cursor(rows[-1]) if rows else None

    has_next_page: bool = strawberry.field(
        resolver=_has_next_page, description="Whether the list goes on after this page."
    )
    has_previous_page: bool = strawberry.field(
        resolver=_has_previous_page, description="Whether the list has anything before this page."
    )
    start_cursor: str | None = strawberry.field(
        resolver=_start_cursor, description="The cursor of the first edge; null where the page is empty."
    )
    end_cursor: str | None = strawberry.field(
        resolver=_end_cursor, description="The cursor of the last edge; null where the page is empty."
    )


def _cursor(root: "Edge[Any]") -> str:
    return root.order.cursor(root.row)


def _node(root: "Edge[T]") -> T:
    node: T = root.wrap(root.row)
    return node


@strawberry.type(description="One place in a list.")
class Edge(Generic[T]):
    """One row at its place in an order."""

    row: strawberry.Private[Record]
    order: strawberry.Private[Order]
    wrap: strawberry.Private[Callable[[Record], Any]]

    cursor: str = strawberry.field(
        resolver=_cursor, description="Opaque; good for `after` and `before` of the same list in the same order."
    )
    node: T = strawberry.field(resolver=_node, description="What stands there.")


def _edges(root: "Connection[T]") -> list[Edge[T]]:
    listing = root.listing
    return [Edge(row=row, order=listing.request.order, wrap=listing.wrap) for row in listing.page.rows]


def _nodes(root: "Connection[T]") -> list[T]:
    return [root.listing.wrap(row) for row in root.listing.page.rows]


def _page_info(root: "Connection[T]") -> PageInfo:
    return PageInfo(listing=root.listing)


async def _total_count(root: "Connection[T]") -> int:
    return await root.listing.count()


@strawberry.type(description="A page of a list; the list itself may be longer.")
class Connection(Generic[T]):
    """A fetched page of a list."""

    listing: strawberry.Private[Listing[Any]]

    edges: list[Edge[T]] = strawberry.field(resolver=_edges, description="The page with the cursor of each place.")
    nodes: list[T] = strawberry.field(resolver=_nodes, description="The page without cursors.")
    page_info: PageInfo = strawberry.field(resolver=_page_info, description="Where the page lies in the list.")
    total_count: int = strawberry.field(
        resolver=_total_count,
        description="How many there are in the whole list; counted only where it is selected.",
        directives=[COUNT],
    )


def page_columns(needed: Columns, order: Order) -> Columns:
    """Return what a page reads: what is selected, and what its cursors are made of."""
    return tuple(sorted({*needed, *order.columns}))


async def whole_list(
    context: Context,
    of: KeysetList,
    needed: Columns,
    given: Filter,
    request: PageRequest,
    wrap: Callable[[Record], T],
) -> Connection[T]:
    """Return one page of a list that belongs to nobody."""
    database, viewer = context.database, context.viewer
    page = await of.page(database, viewer, page_columns(needed, request.order), given, request)
    listing = Listing(
        page,
        request,
        wrap,
        count=lambda: context.loaders.count(of, given),
        behind=lambda: of.behind(database, viewer, given, request),
    )
    return Connection(listing=listing)


async def list_of_parent(
    context: Context,
    of: KeysetList,
    parent_id: int,
    needed: Columns,
    given: Filter,
    request: PageRequest,
    wrap: Callable[[Record], T],
) -> Connection[T]:
    """Return one page of a parent's list; the parents of a level are answered by one statement."""
    loaders = context.loaders
    page = await loaders.page_by_parent(of, page_columns(needed, request.order), given, request).load(parent_id)
    listing = Listing(
        page,
        request,
        wrap,
        count=lambda: loaders.count_by_parent(of, given).load(parent_id),
        behind=lambda: loaders.behind_by_parent(of, given, request).load(parent_id),
    )
    return Connection(listing=listing)


First = Annotated[
    int | None, strawberry.argument(description="At most this many from the start or after `after`: 1 to 100, else 20.")
]
After = Annotated[str | None, strawberry.argument(description="Go on behind this cursor; goes with `first`.")]
Last = Annotated[
    int | None, strawberry.argument(description="At most this many from the end or before `before`: 1 to 100, else 20.")
]
Before = Annotated[str | None, strawberry.argument(description="Go on ahead of this cursor; goes with `last`.")]
