"""Comments: what creates, changes and deletes them."""

import strawberry

from db.fields import BODY, check_texts
from db.repositories import comments as repository
from db.repositories.versioned_rows import delete_row, update_row
from graph.runtime.context import Info, columns_below
from graph.schema.comments.types import Comment
from graph.schema.ids import NodeKind, global_id, parse
from graph.schema.mutation_kit import (
    Refused,
    answer,
    change,
    changes_of,
    expected_version,
    mutation,
    mutation_input,
    payload,
)
from graph.schema.permissions import OWNER_OR_ADMIN, signed_in


@mutation_input
class CreateCommentInput:
    """A comment to create."""

    post_id: strawberry.ID = strawberry.field(description="A post that the viewer may see.")
    author_id: strawberry.ID | None = strawberry.field(
        default=None, description="Defaults to the viewer; another author only for administrators."
    )
    body: str = strawberry.field(description=BODY.description)


@payload(right=OWNER_OR_ADMIN, refused="Why a comment was refused.", codes=("NOT_FOUND", "AUTHOR_NOT_FOUND", BODY.code))
class CreateCommentPayload:
    """The new comment, or why there is none."""

    comment: Comment | None = answer("The new comment.")


async def create_comment(info: Info, input_: CreateCommentInput) -> CreateCommentPayload:
    """Create one comment."""
    context, columns = info.context, columns_below(info, "Comment", "id")
    viewer_id = signed_in(context.viewer)
    post_id = parse(input_.post_id, NodeKind.POST, "input.postId")
    author_id = viewer_id if input_.author_id is None else parse(input_.author_id, NodeKind.USER, "input.authorId")
    if refusals := BODY.check(input_.body):
        raise Refused(refusals)
    row = await context.write(
        lambda transaction: repository.create_comment(
            transaction, context.viewer, columns, post_id, author_id, input_.body
        )
    )
    return CreateCommentPayload(comment=Comment(row=row))


@mutation_input
class UpdateCommentInput:
    """Absent fields stay as they are. Where no value differs, version and updatedAt stay as they are, too."""

    id: strawberry.ID = strawberry.field(description="Which comment.")
    expected_version: int | None = expected_version("comment")
    body: str | None = change("A new text; never null.")


@payload(right=OWNER_OR_ADMIN, refused="Why a change was refused.", codes=("NOT_FOUND", "VERSION_CONFLICT", BODY.code))
class UpdateCommentPayload:
    """The changed comment, or why nothing changed."""

    comment: Comment | None = answer("The comment as it is now.")


async def update_comment(info: Info, input_: UpdateCommentInput) -> UpdateCommentPayload:
    """Change one comment."""
    context, columns = info.context, columns_below(info, "Comment", "id")
    comment_id = parse(input_.id, NodeKind.COMMENT, "input.id")
    changes = changes_of(input_)
    if refusals := check_texts([BODY], changes):
        raise Refused(refusals)
    row = await update_row(
        repository.COMMENT_ROWS,
        context,
        context.viewer,
        columns,
        comment_id,
        changes,
        expected_version=input_.expected_version,
    )
    return UpdateCommentPayload(comment=Comment(row=row))


@mutation_input
class DeleteCommentInput:
    """A comment to delete."""

    id: strawberry.ID = strawberry.field(description="Which comment.")


@payload(right=OWNER_OR_ADMIN, refused="Why a deletion was refused.", codes=("NOT_FOUND",))
class DeleteCommentPayload:
    """The id that is gone, or why it is not."""

    deleted_comment_id: strawberry.ID | None = answer("The id that is gone.")


async def delete_comment(info: Info, input_: DeleteCommentInput) -> DeleteCommentPayload:
    """Delete one comment."""
    comment_id = parse(input_.id, NodeKind.COMMENT, "input.id")
    await delete_row(repository.COMMENT_ROWS, info.context, info.context.viewer, comment_id)
    return DeleteCommentPayload(deleted_comment_id=global_id(NodeKind.COMMENT, comment_id))


@strawberry.type
class CommentMutations:
    """The mutations of comments."""

    create_comment: CreateCommentPayload = mutation(
        create_comment, "Comments on a post as the viewer; administrators, as anyone.", takes="The comment."
    )
    update_comment: UpdateCommentPayload = mutation(
        update_comment, "Changes a comment; its author or an administrator may.", takes="The changes."
    )
    delete_comment: DeleteCommentPayload = mutation(
        delete_comment, "Deletes a comment; its author or an administrator may.", takes="The comment."
    )
