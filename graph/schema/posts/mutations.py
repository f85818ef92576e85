"""What changes posts, in the schema: inputs, payloads and resolvers of create, update, delete and views."""

from collections.abc import Sequence
from enum import Enum
from typing import Annotated

import strawberry

from db.errors import Refusal
from db.repositories import checks
from db.repositories import posts as repository
from db.repositories.posts import NewPost
from graph.analysis.cost import WRITE, ListSize
from graph.errors import BadInput
from graph.runtime.context import Info, columns_below
from graph.schema.connections import Edge
from graph.schema.ids import NodeKind, global_id, parse
from graph.schema.mutation_kit import BULK_MAX, bulk_size_checked, code, errors_field, mutation, user_errors
from graph.schema.nodes import UserError
from graph.schema.permissions import signed_in
from graph.schema.posts.filters import NEWEST_FIRST
from graph.schema.posts.types import Post

CREATED_POSTS = ListSize(assumed_size=BULK_MAX, sized_fields=["posts"])


@strawberry.input(description="A post to create.")
class CreatePostInput:
    """A new post."""

    author_id: strawberry.ID | None = strawberry.field(
        default=None, description="Defaults to the viewer; another author only for administrators."
    )
    title: str = strawberry.field(description="1 to 200 characters, at least one of them visible.")
    content: str = strawberry.field(description="At most 100,000 characters.")
    published: bool = strawberry.field(default=False, description="Whether everyone may read it from now on.")


@strawberry.enum(description="Why a post was refused.")
class CreatePostErrorCode(Enum):
    """The codes of createPost."""

    AUTHOR_NOT_FOUND = code("AUTHOR_NOT_FOUND")
    INVALID_TITLE = code("INVALID_TITLE")
    INVALID_CONTENT = code("INVALID_CONTENT")


@strawberry.type(description="Why a post was refused.")
class CreatePostUserError(UserError):
    """An error of createPost."""

    code: CreatePostErrorCode = strawberry.field(description="What is wrong, for programs.")


@strawberry.type(description="The new post, or why there is none.")
class CreatePostPayload:
    """The payload of createPost."""

    post: Post | None = strawberry.field(default=None, description="The new post.")
    post_edge: Edge[Post] | None = strawberry.field(
        default=None, description="The new post at its place in the list of posts, newest first."
    )
    user_errors: list[CreatePostUserError] = errors_field()


@strawberry.input(description="All posts or none. At most 100.")
class CreatePostsInput:
    """New posts."""

    posts: list[CreatePostInput] = strawberry.field(description="1 to 100 posts.")


@strawberry.type(description="All the new posts, or why there is none of them.")
class CreatePostsPayload:
    """The payload of createPosts."""

    posts: list[Post] | None = strawberry.field(
        default=None, description="The new posts, in the order of the input; null where there are none."
    )
    user_errors: list[CreatePostUserError] = errors_field()


@strawberry.input(
    description="Absent fields stay as they are. Where no value differs, version and updatedAt stay as they are, too."
)
class UpdatePostInput:
    """Changes to a post."""

    id: strawberry.ID = strawberry.field(description="Which post.")
    expected_version: int | None = strawberry.field(
        default=None,
        description="Refuses with VERSION_CONFLICT where the post has changed since; null or absent skips the check.",
    )
    title: str | None = strawberry.field(default=strawberry.UNSET, description="A new title; never null.")
    content: str | None = strawberry.field(default=strawberry.UNSET, description="New content; never null.")
    published: bool | None = strawberry.field(
        default=strawberry.UNSET, description="Publishes the post or makes it a draft again; never null."
    )


@strawberry.enum(description="Why a change was refused.")
class UpdatePostErrorCode(Enum):
    """The codes of updatePost."""

    NOT_FOUND = code("NOT_FOUND")
    VERSION_CONFLICT = code("VERSION_CONFLICT")
    INVALID_TITLE = code("INVALID_TITLE")
    INVALID_CONTENT = code("INVALID_CONTENT")


@strawberry.type(description="Why a change was refused.")
class UpdatePostUserError(UserError):
    """An error of updatePost."""

    code: UpdatePostErrorCode = strawberry.field(description="What is wrong, for programs.")


@strawberry.type(description="The changed post, or why nothing changed.")
class UpdatePostPayload:
    """The payload of updatePost."""

    post: Post | None = strawberry.field(default=None, description="The post as it is now.")
    user_errors: list[UpdatePostUserError] = errors_field()


@strawberry.input(description="A post to delete.")
class DeletePostInput:
    """A post to delete."""

    id: strawberry.ID = strawberry.field(description="Which post.")


@strawberry.enum(description="Why a deletion was refused.")
class DeletePostErrorCode(Enum):
    """The codes of deletePost."""

    NOT_FOUND = code("NOT_FOUND")


@strawberry.type(description="Why a deletion was refused.")
class DeletePostUserError(UserError):
    """An error of deletePost."""

    code: DeletePostErrorCode = strawberry.field(description="What is wrong, for programs.")


@strawberry.type(description="The id that is gone, or why it is not.")
class DeletePostPayload:
    """The payload of deletePost."""

    deleted_post_id: strawberry.ID | None = strawberry.field(default=None, description="The id that is gone.")
    user_errors: list[DeletePostUserError] = errors_field()


@strawberry.input(description="A post that was viewed.")
class RecordPostViewInput:
    """A viewed post."""

    post_id: strawberry.ID = strawberry.field(description="Which post.")


@strawberry.enum(description="Why a view was refused.")
class RecordPostViewErrorCode(Enum):
    """The codes of recordPostView."""

    NOT_FOUND = code("NOT_FOUND")


@strawberry.type(description="Why a view was refused.")
class RecordPostViewUserError(UserError):
    """An error of recordPostView."""

    code: RecordPostViewErrorCode = strawberry.field(description="What is wrong, for programs.")


@strawberry.type(description="The post with the view counted, or why it was not.")
class RecordPostViewPayload:
    """The payload of recordPostView."""

    post: Post | None = strawberry.field(default=None, description="The post with the view counted.")
    user_errors: list[RecordPostViewUserError] = errors_field()


# ---------------------------------------------------------------- resolvers


async def create_post(
    info: Info, input_: Annotated[CreatePostInput, strawberry.argument(name="input", description="The post.")]
) -> CreatePostPayload:
    """Create one post."""
    created, refusals = await _create(info, [input_], ["input"])
    if refusals:
        # One post has no index in the path of the field.
        alone = [Refusal(refusal.code, refusal.field[2:], refusal.message) for refusal in refusals]
        return CreatePostPayload(user_errors=user_errors(CreatePostUserError, CreatePostErrorCode, alone))
    edge: Edge[Post] = Edge(row=created[0].row, order=NEWEST_FIRST, wrap=lambda row: Post(row=row))
    return CreatePostPayload(post=created[0], post_edge=edge)


async def create_posts(
    info: Info, input_: Annotated[CreatePostsInput, strawberry.argument(name="input", description="The posts.")]
) -> CreatePostsPayload:
    """Create many posts, all or none."""
    bulk_size_checked(input_.posts, "input.posts")
    places = [f"input.posts[{index}]" for index in range(len(input_.posts))]
    created, refusals = await _create(info, input_.posts, places)
    if refusals:
        return CreatePostsPayload(user_errors=user_errors(CreatePostUserError, CreatePostErrorCode, refusals))
    return CreatePostsPayload(posts=created)


async def _create(
    info: Info, inputs: Sequence[CreatePostInput], places: Sequence[str]
) -> tuple[list[Post], list[Refusal]]:
    """Return the created posts or the refusals, whose fields begin with `posts` and the index.

    `places` says where each input stands in the arguments, for the one who wrote a malformed id.
    """
    context, columns = info.context, columns_below(info, "Post", *NEWEST_FIRST.columns)
    viewer_id = signed_in(context.viewer)
    refusals = [
        refusal.below("posts", str(index))
        for index, one in enumerate(inputs)
        for refusal in checks.check_title(one.title) + checks.check_content(one.content)
    ]
    posts = [
        NewPost(_author(one, viewer_id, place), one.title, one.content, one.published)
        for one, place in zip(inputs, places, strict=True)
    ]
    refusals += [
        Refusal("AUTHOR_NOT_FOUND", ("posts", str(index), "authorId"), "no such user")
        for index in await repository.indexes_without_author(context.database, context.viewer, posts)
    ]
    if refusals:
        return [], refusals
    try:
        rows = await context.write(
            lambda transaction: repository.create_posts(transaction, context.viewer, columns, posts)
        )
    except Refusal as refusal:
        # The author of one of them went meanwhile; of several, the database does not say whose.
        place = ("posts", "0", *refusal.field) if len(posts) == 1 else ("posts",)
        return [], [Refusal(refusal.code, place, refusal.message)]
    return [Post(row=row) for row in rows], []


def _author(one: CreatePostInput, viewer_id: int, place: str) -> int:
    return viewer_id if one.author_id is None else parse(one.author_id, NodeKind.USER, f"{place}.authorId")


async def update_post(
    info: Info, input_: Annotated[UpdatePostInput, strawberry.argument(name="input", description="The changes.")]
) -> UpdatePostPayload:
    """Change one post."""
    context, columns = info.context, columns_below(info, "Post", "id")
    post_id = parse(input_.id, NodeKind.POST, "input.id")
    given = {"title": input_.title, "content": input_.content, "published": input_.published}
    changes = {name: value for name, value in given.items() if value is not strawberry.UNSET}
    refusals = _change_faults(changes)
    if refusals:
        return UpdatePostPayload(user_errors=user_errors(UpdatePostUserError, UpdatePostErrorCode, refusals))
    try:
        row = await repository.POST_ROWS.update(
            context, context.viewer, columns, post_id, changes, expected_version=input_.expected_version
        )
    except Refusal as refusal:
        return UpdatePostPayload(user_errors=user_errors(UpdatePostUserError, UpdatePostErrorCode, [refusal]))
    return UpdatePostPayload(post=Post(row=row))


def _change_faults(changes: dict[str, str | bool | None]) -> list[Refusal]:
    if changes.get("published", True) is None:
        raise BadInput("input.published cannot be null; leave it out to keep it")
    refusals = []
    for name, invalid in {"title": "INVALID_TITLE", "content": "INVALID_CONTENT"}.items():
        if changes.get(name, "") is None:
            refusals.append(Refusal(invalid, (name,), f"{name} cannot be null; leave it out to keep it"))
    title, content = changes.get("title"), changes.get("content")
    if isinstance(title, str):
        refusals += checks.check_title(title)
    if isinstance(content, str):
        refusals += checks.check_content(content)
    return refusals


async def delete_post(
    info: Info, input_: Annotated[DeletePostInput, strawberry.argument(name="input", description="The post.")]
) -> DeletePostPayload:
    """Delete one post."""
    context = info.context
    post_id = parse(input_.id, NodeKind.POST, "input.id")
    try:
        await repository.POST_ROWS.delete(context, context.viewer, post_id)
    except Refusal as refusal:
        return DeletePostPayload(user_errors=user_errors(DeletePostUserError, DeletePostErrorCode, [refusal]))
    return DeletePostPayload(deleted_post_id=global_id(NodeKind.POST, post_id))


async def record_post_view(
    info: Info, input_: Annotated[RecordPostViewInput, strawberry.argument(name="input", description="The post.")]
) -> RecordPostViewPayload:
    """Add one to a post's views."""
    context, columns = info.context, columns_below(info, "Post", "id")
    post_id = parse(input_.post_id, NodeKind.POST, "input.postId")
    try:
        row = await repository.record_view(context, context.viewer, columns, post_id)
    except Refusal as refusal:
        return RecordPostViewPayload(
            user_errors=user_errors(RecordPostViewUserError, RecordPostViewErrorCode, [refusal])
        )
    return RecordPostViewPayload(post=Post(row=row))


@strawberry.type
class PostMutations:
    """The mutations of posts."""

    create_post: CreatePostPayload = mutation(create_post, "Creates a post by the viewer; administrators, by anyone.")
    create_posts: CreatePostsPayload = mutation(create_posts, "Creates posts in bulk.", WRITE, CREATED_POSTS)
    update_post: UpdatePostPayload = mutation(update_post, "Changes a post; its author or an administrator may.")
    delete_post: DeletePostPayload = mutation(delete_post, "Deletes a post; its author or an administrator may.")
    record_post_view: RecordPostViewPayload = mutation(record_post_view, "Counts one view of a post.")
