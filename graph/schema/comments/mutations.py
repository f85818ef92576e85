"""The mutations that create, change and delete comments."""

import strawberry

from db.fields import BODY
from db.repositories import comments as repository
from graph.runtime.context import Info, columns_below
from graph.schema.comments.types import Comment
from graph.schema.ids import NodeKind, parse
from graph.schema.mutation_kit import (
    Refused,
    answer,
    mutation,
    mutation_input,
    payload,
)
from graph.schema.permissions import OWNER_OR_ADMIN, signed_in
from graph.schema.row_mutations import row_deletion, row_update


@mutation_input
class CreateCommentInput:
    """A comment to create."""

    post_id: strawberry.ID = strawberry.field(description="The id of the post. The viewer must be able to see it.")
    author_id: strawberry.ID | None = strawberry.field(
        default=None, description="The author. The default is the viewer. Only administrators may name another user."
    )
    body: str = strawberry.field(description=BODY.description)


@payload(right=OWNER_OR_ADMIN, refused="Why a comment was refused.", codes=("NOT_FOUND", "AUTHOR_NOT_FOUND", BODY.code))
class CreateCommentPayload:
    """The new comment, or the reasons why it was refused."""

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


@strawberry.type
class CommentMutations:
    """The mutations of comments."""

    create_comment: CreateCommentPayload = mutation(
        create_comment,
        "Creates a comment by the viewer. Administrators may create comments by any user.",
        takes="The comment.",
    )
    update_comment = row_update(
        repository.COMMENT_ROWS, NodeKind.COMMENT, Comment, {"body": (str, "The new text. It cannot be null.")}, [BODY]
    )
    delete_comment = row_deletion(repository.COMMENT_ROWS, NodeKind.COMMENT)
