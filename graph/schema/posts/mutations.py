"""The mutations that create, change, delete and view posts: inputs, payloads and resolvers."""

from collections.abc import Sequence

import strawberry

from db.errors import Refusal
from db.fields import CONTENT, TITLE
from db.repositories import posts as repository
from db.repositories.posts import NewPost
from graph.analysis.cost import WRITE, ListSize
from graph.runtime.context import Info, columns_below
from graph.schema.connections import Edge
from graph.schema.ids import NodeKind, parse
from graph.schema.mutation_kit import (
    ALONE,
    BULK_MAX,
    Items,
    Refused,
    answer,
    bulk_input,
    bulk_size_checked,
    mutation,
    mutation_input,
    payload,
)
from graph.schema.permissions import OWNER_OR_ADMIN, SIGNED_IN, signed_in
from graph.schema.posts.filters import NEWEST_FIRST
from graph.schema.posts.types import Post
from graph.schema.row_mutations import author_field, row_deletion, row_update

CREATED_POSTS = ListSize(assumed_size=BULK_MAX, sized_fields=["posts"])
POSTS = Items("posts")


@mutation_input
class CreatePostInput:
    """A post to create."""

    author_id: strawberry.ID | None = author_field()
    title: str = strawberry.field(description=TITLE.description)
    content: str = strawberry.field(description=CONTENT.description)
    published: bool = strawberry.field(default=False, description="True publishes the post, false keeps it as a draft.")


@payload(right=OWNER_OR_ADMIN, refused="Why a post was refused.", codes=("AUTHOR_NOT_FOUND", TITLE.code, CONTENT.code))
class CreatePostPayload:
    """The new post, or the reasons why it was refused."""

    post: Post | None = answer("The new post.")
    post_edge: Edge[Post] | None = answer("The new post with its cursor in the list of posts, newest first.")


@bulk_input
class CreatePostsInput:
    """The posts to create. All of them are created, or none."""

    posts: list[CreatePostInput] = strawberry.field(description=f"1 to {BULK_MAX} posts.")


@payload(right=OWNER_OR_ADMIN, errors_as=CreatePostPayload)
class CreatePostsPayload:
    """The new posts, or the reasons why none was created."""

    posts: list[Post] | None = answer("The new posts, in the order of the input. Null if the mutation was refused.")


@mutation_input
class RecordPostViewInput:
    """A post whose view is counted."""

    post_id: strawberry.ID = strawberry.field(description="The id of the post.")


@payload(right=SIGNED_IN, refused="Why a view was refused.", codes=("NOT_FOUND",))
class RecordPostViewPayload:
    """The post with the view counted, or the reasons why it was refused."""

    post: Post | None = answer("The post, with the view counted.")


# ---------------------------------------------------------------- resolvers


async def create_post(info: Info, input_: CreatePostInput) -> CreatePostPayload:
    """Create one post."""
    [created] = await _create(info, [input_], ALONE)
    edge: Edge[Post] = Edge(row=created.row, order=NEWEST_FIRST, wrap=lambda row: Post(row=row))
    return CreatePostPayload(post=created, post_edge=edge)


async def create_posts(info: Info, input_: CreatePostsInput) -> CreatePostsPayload:
    """Create many posts, all or none."""
    bulk_size_checked(input_.posts, "input.posts")
    return CreatePostsPayload(posts=await _create(info, input_.posts, POSTS))


async def _create(info: Info, inputs: Sequence[CreatePostInput], items: Items) -> list[Post]:
    context, columns = info.context, columns_below(info, "Post", *NEWEST_FIRST.columns)
    viewer_id = signed_in(context.viewer)
    refusals = [
        refusal.below(*items.path(index))
        for index, one in enumerate(inputs)
        for refusal in TITLE.check(one.title) + CONTENT.check(one.content)
    ]
    posts = [
        NewPost(
            viewer_id
            if one.author_id is None
            else parse(one.author_id, NodeKind.USER, f"{items.where(index)}.authorId"),
            one.title,
            one.content,
            one.published,
        )
        for index, one in enumerate(inputs)
    ]
    refusals += [
        Refusal("AUTHOR_NOT_FOUND", (*items.path(index), "authorId"), "no such user")
        for index in await repository.indexes_without_author(context.database, context.viewer, posts)
    ]
    if refusals:
        raise Refused(refusals)
    try:
        rows = await repository.create_posts(context, context.viewer, columns, posts)
    except Refusal as refusal:  # an author was deleted meanwhile
        raise items.refusal_of_any(refusal, len(posts)) from None
    return [Post(row=row) for row in rows]


async def record_post_view(info: Info, input_: RecordPostViewInput) -> RecordPostViewPayload:
    """Add one to a post's views."""
    context, columns = info.context, columns_below(info, "Post", "id")
    post_id = parse(input_.post_id, NodeKind.POST, "input.postId")
    return RecordPostViewPayload(post=Post(row=await repository.record_view(context, context.viewer, columns, post_id)))


@strawberry.type
class PostMutations:
    """The mutations of posts."""

    create_post: CreatePostPayload = mutation(
        create_post, "Creates a post by the viewer. Administrators may create posts by any user.", takes="The post."
    )
    create_posts: CreatePostsPayload = mutation(
        create_posts, "Creates posts in bulk.", WRITE, CREATED_POSTS, takes="The posts."
    )
    update_post = row_update(
        repository.POST_ROWS,
        Post,
        {
            "title": "The new title. It cannot be null.",
            "content": "The new content. It cannot be null.",
            "published": "True publishes the post, false makes it a draft. It cannot be null.",
        },
    )
    delete_post = row_deletion(repository.POST_ROWS)
    record_post_view = mutation(record_post_view, "Counts one view of a post.", takes="The post.")
