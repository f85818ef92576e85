"""Posts: the queries that read them."""

from typing import Annotated, Any

import strawberry

from db.query.pages import Filter
from db.repositories import posts as repository
from db.repositories.posts import POSTS
from graph.analysis.cost import COUNT, ListSize
from graph.errors import BadInput
from graph.runtime.context import Info, columns_below
from graph.schema.connections import PAGE_SIZE_MAX, Connection
from graph.schema.fields import node_lookup
from graph.schema.ids import NodeKind
from graph.schema.posts.filters import POSTS as LISTS
from graph.schema.posts.types import Post
from graph.schema.row_lists import conditions_of

OFFSET_MAX = 100_000
PAGE_SIZE = 10
NUMBERED_PAGE = ListSize(
    assumed_size=PAGE_SIZE, slicing_arguments=["pageSize"], sized_fields=["posts"], require_one_slicing_argument=False
)


async def _total(root: "PaginatedPosts", info: Info) -> int:
    return await info.context.loaders.count(POSTS, root.conditions)


async def _total_pages(root: "PaginatedPosts", info: Info) -> int:
    return -(-await info.context.loaders.count(POSTS, root.conditions) // root.page_size)


@strawberry.type(
    description=("A numbered page, for user interfaces with page numbers. All other clients should use a connection.")
)
class PaginatedPosts:
    """One numbered page."""

    conditions: strawberry.Private[Filter]

    posts: list[Post] = strawberry.field(description="The posts on this page. Empty after the last page.")
    page: int = strawberry.field(description="The number of this page. The first page is 1.")
    page_size: int = strawberry.field(description="The number of posts on a full page.")
    total: int = strawberry.field(resolver=_total, description="The number of posts on all pages.", directives=[COUNT])
    total_pages: int = strawberry.field(
        resolver=_total_pages, description="The number of pages. 0 if there are no posts.", directives=[COUNT]
    )


@LISTS.with_arguments
async def posts_page(
    info: Info,
    page: Annotated[int, strawberry.argument(description="The number of the page. The first page is 1.")] = 1,
    page_size: Annotated[
        int, strawberry.argument(description=f"The number of posts on a page: 1 to {PAGE_SIZE_MAX}.")
    ] = PAGE_SIZE,
    filter_: Any = None,
    order_by: Any = None,
) -> PaginatedPosts:
    """Return a numbered page of posts."""
    if page < 1:
        raise BadInput(f"page should be 1 or more, not {page}")
    if not 1 <= page_size <= PAGE_SIZE_MAX:
        raise BadInput(f"pageSize should be from 1 to {PAGE_SIZE_MAX}, not {page_size}")
    offset = (page - 1) * page_size
    if offset > OFFSET_MAX:
        raise BadInput(f"page {page} begins after post {OFFSET_MAX}; use the connection `posts` for these posts")
    context, conditions = info.context, conditions_of(filter_)
    rows = await repository.numbered_page(
        context.reader,
        context.viewer,
        columns_below(info, "Post", "id"),
        conditions,
        LISTS.orders.chosen(order_by, conditions),
        limit=page_size,
        offset=offset,
    )
    return PaginatedPosts(posts=[Post(row=row) for row in rows], page=page, page_size=page_size, conditions=conditions)


@strawberry.type
class PostQueries:
    """The queries that read posts."""

    post: Post | None = node_lookup(NodeKind.POST, "Post")
    posts: Connection[Post] = LISTS.query(
        POSTS,
        "All posts that the viewer may see: published posts and the viewer's drafts. Administrators see all drafts.",
    )
    posts_page: PaginatedPosts = strawberry.field(
        resolver=posts_page,
        description=f"Like `posts`, in numbered pages. At most {OFFSET_MAX:,} posts can precede a page.",
        directives=[NUMBERED_PAGE],
    )
