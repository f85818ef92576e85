"""The mutations that create, change and delete comments."""

import strawberry

from db.repositories.comments import COMMENT_ROWS
from graph.schema.comments.types import Comment
from graph.schema.row_mutations import row_creation, row_deletion, row_update


@strawberry.type
class CommentMutations:
    """The mutations of comments."""

    create_comment = row_creation(
        COMMENT_ROWS, Comment, ("Creates a comment by the viewer. Administrators may create comments by any user.")
    )
    update_comment = row_update(COMMENT_ROWS, Comment, {"body": "The new text. It cannot be null."})
    delete_comment = row_deletion(COMMENT_ROWS)
