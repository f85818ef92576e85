"""The mutations that create, change and delete comments."""

import strawberry

from db.repositories.comments import COMMENT_ROWS
from graph.schema.comments.types import Comment
from graph.schema.row_mutations import row_creation, row_deletion, row_update


@strawberry.type
class CommentMutations:
    """The mutations of comments."""

    create_comment = row_creation(COMMENT_ROWS, Comment, "Comments on a post as the viewer; administrators, as anyone.")
    update_comment = row_update(COMMENT_ROWS, Comment, {"body": "A new text; never null."})
    delete_comment = row_deletion(COMMENT_ROWS)
