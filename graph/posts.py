"""Posts in the schema: the types, and the queries that read them. What changes them is in `graph.post_mutations`."""

import datetime
from enum import Enum
from functools import lru_cache
from typing import Annotated

import strawberry
from graphql import GraphQLError

from db import posts as repository
from db.cursors import Order
from db.pages import Filter
from db.posts import POSTS
from db.statements import Row
from db.text_search import SEARCH, SearchError, search_query
from graph.connections import (
    PAGE_SIZE_MAX,
    After,
    Before,
    Connection,
    First,
    Last,
    OrderDirection,
    PageArguments,
    chosen_order,
    order_of,
    whole_list,
)
from graph.context import Info, columns_below
from graph.cost import COUNT, LONG_TEXT, PAGE, ListSize
from graph.cost import SEARCH as COST_OF_SEARCH
from graph.errors import BadInput
from graph.execution import JOINS, Loading
from graph.fields import column, edge, found, identity
from graph.ids import Kind, parse
from graph.nodes import DateTimeRange, IntRange, Node, given
from graph.users import User

SEARCH_LENGTH_MAX = 500
OFFSET_MAX = 100_000
NUMBERED_PAGE = ListSize(
    assumed_size=10, slicing_arguments=["pageSize"], sized_fields=["posts"], require_one_slicing_argument=False
)
STALE = {"code": "CONCURRENT_CHANGE"}


def _author(info: Info) -> Loading:
    return Loading(info.context.loaders.user_by_id(columns_below(info, "User", "id")))


def _author_gone() -> GraphQLError:
    # Deleted between the two statements, and its posts with it. The contract has no null here, so an error it is.
    return GraphQLError("the author was deleted a moment ago, and this post too; ask again", extensions=STALE)


@strawberry.type(description="A text by one user: a draft until it is published.")
class Post(Node):
    """A row of `posts`."""

    row: strawberry.Private[Row]

    id: strawberry.ID = identity(Kind.POST, "Globally unique and opaque; the same object always has the same id.")
    title: str = column("title", "1 to 200 characters.")
    content: str = column(
        "content", "At most 100,000 characters.", longest=repository.CONTENT_LENGTH_MAX, directives=[LONG_TEXT]
    )
    published: bool = column("published", "Whether everyone may read it; a draft is its author's alone.")
    views: int = column("views", "How often a view was recorded.")
    author: User = edge(
        "author_id",
        _author,
        "Who wrote it.",
        made=lambda row: User(row=row),
        missing=_author_gone,
        joined=repository.AUTHOR,
    )
    created_at: datetime.datetime = column("created_at", "When it was created, as a draft or published.")
    updated_at: datetime.datetime = column("updated_at", "When it was last changed; a view changes nothing.")
    version: int = column("version", "Rises with every change; give it back as `expectedVersion`.")


@strawberry.input(description="Which posts; all parts given must hold, and a null part is as good as none.")
class PostFilter:
    """Conditions on posts."""

    published: bool | None = strawberry.field(default=None, description="Published posts, or drafts.")
    author_id: strawberry.ID | None = strawberry.field(default=None, description="Posts by this user.")
    search: str | None = strawberry.field(
        default=None,
        description='Full-text search over title and content, in web-search syntax: all words, "a phrase", `or`, '
        "-without beside another word. Case, accents and word endings make no difference. Without any word it is no "
        "filter.",
        directives=[COST_OF_SEARCH],
    )
    views: IntRange | None = strawberry.field(default=None, description="How often a view was recorded.")
    created_at: DateTimeRange | None = strawberry.field(default=None, description="When the post was created.")


@strawberry.enum(description="What posts can be ordered by.")
class PostOrderField(Enum):
    """The order terms of posts."""

    CREATED_AT = strawberry.enum_value("CREATED_AT", description="When the post was created.")
    VIEWS = strawberry.enum_value("VIEWS", description="How often a view was recorded.")
    TITLE = strawberry.enum_value(
        "TITLE", description="The title in the alphabet, whatever its case and accents; digits stand before letters."
    )
    RELEVANCE = strawberry.enum_value(
        "RELEVANCE",
        description="How well a post matches `filter.search`, best first with DESC; without a search all match alike.",
    )


@strawberry.input(description="One term of an order of posts.")
class PostOrder:
    """A field and a direction."""

    field: PostOrderField = strawberry.field(description="What to order by.")
    direction: OrderDirection = strawberry.field(description="Which way.")


_TERMS = {
    PostOrderField.CREATED_AT: repository.CREATED_AT,
    PostOrderField.VIEWS: repository.VIEWS,
    PostOrderField.TITLE: repository.TITLE,
    PostOrderField.RELEVANCE: repository.RELEVANCE,
}
NEWEST_FIRST = order_of("posts", ((repository.CREATED_AT, True),), repository.ID)


def post_order(order_by: list[PostOrder] | None, conditions: Filter) -> Order:
    """Return the order that `orderBy` asks for, newest first by default.

    Without a search among the `conditions` all posts are as relevant, and the other terms order them.
    """
    if not order_by:
        return NEWEST_FIRST
    terms = [(_TERMS[one.field], one.direction) for one in order_by]
    order = chosen_order("posts", terms, repository.ID)
    if repository.RELEVANCE.name not in order.columns:
        return order
    if SEARCH in conditions:
        return _bound(order, str(conditions[SEARCH]))
    others = [term for term in terms if term[0] is not repository.RELEVANCE]
    return chosen_order("posts", others, repository.ID) if others else NEWEST_FIRST


@lru_cache
def _bound(order: Order, search: str) -> Order:
    # The same search gives the same object: fields of one operation that ask for the same page share it.
    return order.bound_to(search)


def post_conditions(filter_: PostFilter | None) -> Filter:
    """Return the conditions that a filter stands for.

    Raises:
        BadInput: the author's id is none, or the search is too long or only says what must not occur.
    """
    if filter_ is None:
        return {}
    author_id = None if filter_.author_id is None else parse(filter_.author_id, Kind.USER, "filter.authorId")
    views, created_at = filter_.views or IntRange(), filter_.created_at or DateTimeRange()
    return given(
        published=filter_.published,
        author_id=author_id,
        search=_searched(filter_.search),
        views_gte=views.gte,
        views_lte=views.lte,
        created_at_gte=created_at.gte,
        created_at_lt=created_at.lt,
    )


def _searched(text: str | None) -> str | None:
    if text is None:
        return None
    if len(text) > SEARCH_LENGTH_MAX:
        raise BadInput(f"filter.search has at most {SEARCH_LENGTH_MAX} characters, not {len(text)}")
    try:
        return search_query(text)
    except SearchError as error:
        raise BadInput(f"filter.search {error}") from None


# ---------------------------------------------------------------- queries

Filtered = Annotated[
    PostFilter | None, strawberry.argument(name="filter", description="Only posts that meet all of this.")
]
Ordered = Annotated[
    list[PostOrder] | None,
    strawberry.argument(description="First by the first, then by the next; newest first by default."),
]


async def post_of_id(info: Info, post_id: int) -> Post | None:
    """Return the post with this row id where the viewer may see it, with the columns that the selection needs."""
    row = await info.context.loaders.post_by_id(columns_below(info, "Post", "id")).load(post_id)
    return None if row is None else Post(row=row)


def _post(
    info: Info, id_: Annotated[strawberry.ID, strawberry.argument(name="id", description="The post's id.")]
) -> Loading:
    loader = info.context.loaders.post_by_id(columns_below(info, "Post", "id"))
    return Loading(loader, key=parse(id_, Kind.POST, "id"))


async def posts(
    info: Info,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
    filter_: Filtered = None,
    order_by: Ordered = None,
) -> Connection[Post]:
    """Return a page of all posts that the viewer may see."""
    conditions = post_conditions(filter_)
    request = PageArguments(first, after, last, before).request(info, post_order(order_by, conditions))
    return await whole_list(info, POSTS, "Post", conditions, request, lambda row: Post(row=row))


async def _total(root: "PaginatedPosts", info: Info) -> int:
    return await info.context.loaders.count(POSTS, root.conditions)


async def _total_pages(root: "PaginatedPosts", info: Info) -> int:
    return -(-await info.context.loaders.count(POSTS, root.conditions) // root.page_size)


@strawberry.type(
    description="A numbered page, for interfaces that show page numbers. Everything else should use a connection."
)
class PaginatedPosts:
    """One numbered page."""

    conditions: strawberry.Private[Filter]

    posts: list[Post] = strawberry.field(description="The posts on this page; none behind the last page.")
    page: int = strawberry.field(description="The number of this page; the first is 1.")
    page_size: int = strawberry.field(description="How many posts a full page has.")
    total: int = strawberry.field(
        resolver=_total, description="How many posts there are on all pages.", directives=[COUNT]
    )
    total_pages: int = strawberry.field(
        resolver=_total_pages, description="How many pages there are; 0 without posts.", directives=[COUNT]
    )


async def posts_page(
    info: Info,
    page: Annotated[int, strawberry.argument(description="The number of the page; the first is 1.")] = 1,
    page_size: Annotated[int, strawberry.argument(description="How many posts a page has: 1 to 100.")] = 10,
    filter_: Filtered = None,
    order_by: Ordered = None,
) -> PaginatedPosts:
    """Return a numbered page of posts."""
    if page < 1:
        raise BadInput(f"page should be 1 or more, not {page}")
    if not 1 <= page_size <= PAGE_SIZE_MAX:
        raise BadInput(f"pageSize should be from 1 to {PAGE_SIZE_MAX}, not {page_size}")
    offset = (page - 1) * page_size
    if offset > OFFSET_MAX:
        raise BadInput(f"page {page} begins behind post {OFFSET_MAX}; use the connection `posts` to go that deep")
    context, conditions = info.context, post_conditions(filter_)
    rows = await repository.numbered_page(
        context.reader,
        context.viewer,
        columns_below(info, "Post", "id"),
        conditions,
        post_order(order_by, conditions),
        limit=page_size,
        offset=offset,
    )
    return PaginatedPosts(posts=[Post(row=row) for row in rows], page=page, page_size=page_size, conditions=conditions)


@strawberry.type
class PostQueries:
    """The queries that read posts."""

    post: Post | None = found(
        _post, "The post with this id; null where the viewer can see none.", lambda row: Post(row=row)
    )
    posts: Connection[Post] = strawberry.field(
        resolver=posts,
        description="All posts that the viewer may see: published ones, and their own drafts.",
        directives=[PAGE],
        metadata={JOINS: True},
    )
    posts_page: PaginatedPosts = strawberry.field(
        resolver=posts_page,
        description="As `posts`, in numbered pages; not deeper than 100,000 posts.",
        directives=[NUMBERED_PAGE],
    )
