"""Comments on posts: how they are read and written.

Invariant: a comment on a draft is seen, counted and changed only by viewers who see the draft
(`db.repositories.child_rows`).
"""

from dataclasses import replace

from db.models.comments import Comment
from db.query.cursors import Term, TermKind
from db.query.keyset_lists import KeysetList
from db.query.text_search import SEARCH, matches
from db.repositories.child_rows import ChildRows
from db.repositories.posts import visible_posts
from db.repositories.ranges import created_bounds, created_conditions

CREATED_AT = Term("created_at", Comment.created_at, TermKind.INSTANT)
ID = Term("id", Comment.id, TermKind.INTEGER)

COMMENT_ROWS = ChildRows(Comment, "post_id", ("body",), visible_posts)

COMMENTS_OF_POST = KeysetList(
    edge="comments_by_post",
    table=Comment.__table__,
    project=COMMENT_ROWS.project,
    visible=COMMENT_ROWS.visible,
    conditions={SEARCH: matches(Comment.document), **created_conditions(Comment.created_at)},
    opposite_bounds={**created_bounds(Comment.created_at)},
    parent_columns=(Comment.post_id,),
)
COMMENTS_OF_AUTHOR = replace(COMMENTS_OF_POST, edge="comments_by_author", parent_columns=(Comment.author_id,))
