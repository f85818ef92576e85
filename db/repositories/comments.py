"""Comments on posts: how they are read and written.

Invariant: a comment exists for a viewer only if its post does. The condition is in every statement (`_visible`): a
comment on a draft is seen, counted and changed only by viewers who see the draft.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from asyncpg import Record
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    SQLColumnExpression,
    Text,
    bindparam,
    exists,
    insert,
    select,
)

from db.access import AccessLevel, Viewer
from db.connections.statements import Reader, Statement
from db.constraints import violation_of
from db.models.comments import Comment
from db.models.posts import Post
from db.models.users import User
from db.query.cursors import Term, TermKind
from db.query.keyset_lists import KeysetList
from db.query.pages import Columns
from db.query.statement_cache import statements
from db.query.text_search import SEARCH, matches
from db.repositories.posts import visible_posts
from db.repositories.ranges import created_bounds, created_conditions
from db.repositories.users import VIEWER_ID
from db.repositories.versioned_rows import VersionedRows

CREATED_AT = Term("created_at", Comment.created_at, TermKind.INSTANT)
ID = Term("id", Comment.id, TermKind.INTEGER)


def _project(columns: Columns, access_level: AccessLevel) -> Sequence[ColumnElement[Any]]:
    return [Comment.__table__.c[name] for name in columns]


_POST = Post.__table__.alias("comment_post")


def _visible(access_level: AccessLevel) -> Sequence[SQLColumnExpression[bool]]:
    on_post = visible_posts(access_level, _POST)
    return (exists().where(_POST.c.id == Comment.post_id, *on_post),) if on_post else ()


def _mine(access_level: AccessLevel) -> Sequence[SQLColumnExpression[bool]]:
    return () if access_level is AccessLevel.ADMIN else (Comment.author_id == VIEWER_ID, *_visible(access_level))


COMMENTS_OF_POST = KeysetList(
    edge="comments_by_post",
    table=Comment.__table__,
    project=_project,
    visible=_visible,
    conditions={
        SEARCH: matches(Comment.document),
        **created_conditions(Comment.created_at),
    },
    opposite_bounds={**created_bounds(Comment.created_at)},
    parent_columns=(Comment.post_id,),
)
COMMENTS_OF_AUTHOR = replace(COMMENTS_OF_POST, edge="comments_by_author", parent_columns=(Comment.author_id,))


# ---------------------------------------------------------------- writes

COMMENT_ROWS = VersionedRows("comment", Comment, _project, ("body",), _mine)
"""Updates and deletes comments."""


async def create_comment(
    transaction: Reader, viewer: Viewer, columns: Columns, post_id: int, author_id: int, body: str
) -> Record:
    """Create a comment on a post that the viewer sees, and return its row; a member writes as themself alone.

    Raises:
        Refusal: NOT_FOUND: no such post; AUTHOR_NOT_FOUND: the viewer may not write as the author.
        ForeignKeyViolationError: post or author are gone; `Database.write` turns it into the same refusals.
    """
    values = {"post_id": post_id, "author_id": author_id, "body": body, "viewer_id": viewer.user_id}
    if not await transaction.fetch(_post_of(viewer.access_level), values):
        raise violation_of("fk_comments_post_id_posts")
    may_write = viewer.is_admin or author_id == viewer.user_id
    rows = await transaction.fetch(_insert(columns, viewer.access_level), values) if may_write else ()
    if not rows:
        raise violation_of("fk_comments_author_id_users")
    return rows[0]


@statements
def _post_of(access_level: AccessLevel) -> Statement:
    given = _POST.c.id == bindparam("post_id", type_=BigInteger)
    return Statement(select(_POST.c.id).where(given, *visible_posts(access_level, _POST)))


@statements
def _insert(columns: Columns, access_level: AccessLevel) -> Statement:
    given = [bindparam("post_id", type_=BigInteger), bindparam("body", type_=Text)]
    is_author = User.id == bindparam("author_id", type_=BigInteger)
    rows = select(User.id, *given).where(is_author, User.role != "system")
    inserted = insert(Comment).from_select(["author_id", "post_id", "body"], rows)
    return Statement(inserted.returning(*_project(columns, access_level)))
