"""Posts: reads, then writes.

Invariant: only its author and administrators can see, count and change a draft. The condition is in every statement
(`visible_posts`), for every edge that leads to the post. For all other viewers a draft does not exist.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from asyncpg import Record
from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    FromClause,
    SQLColumnExpression,
    any_,
    bindparam,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from db.access import AccessLevel, Viewer
from db.connections.statements import KEYS_ARRAY, Reader, Statement, Writer, bigint_array
from db.errors import Refusal
from db.models.base import stored_columns
from db.models.posts import VIEWS_MAX, Post
from db.models.users import User
from db.query.cursors import Order, Term, TermKind
from db.query.keyset_lists import KeysetList
from db.query.pages import Columns
from db.query.statement_cache import statements
from db.query.text_search import SEARCH, matches, relevance
from db.repositories.given_rows import POSITION, given_rows
from db.repositories.ranges import created_bounds, created_conditions
from db.repositories.users import VIEWER_ID, project_users
from db.repositories.versioned_rows import VersionedRows, write_row

# ---------------------------------------------------------------- reads

CREATED_AT = Term("created_at", Post.created_at, TermKind.INSTANT)
VIEWS = Term("views", Post.views, TermKind.INTEGER)
TITLE = Term("title_key", Post.title_key, TermKind.TEXT)
RELEVANCE = Term("relevance", relevance(Post.document), TermKind.INTEGER)
"""The relevance of a post for a search; only with the filter `search`."""
ID = Term("id", Post.id, TermKind.INTEGER)

_COLUMNS: Mapping[str, SQLColumnExpression[Any]] = {
    **{name: getattr(Post, name) for name in stored_columns(Post)},
    **{term.name: term.expression for term in (TITLE, RELEVANCE)},
}


AUTHOR = "author."
"""The prefix of the columns of a post's author if they are read with the post: `author.username`."""

_AUTHOR = User.__table__.alias("author")


def _project(columns: Columns, access_level: AccessLevel) -> Sequence[ColumnElement[Any]]:
    own: list[ColumnElement[Any]] = [_COLUMNS[name].label(name) for name in columns if not name.startswith(AUTHOR)]
    of_author = tuple(name.removeprefix(AUTHOR) for name in columns if name.startswith(AUTHOR))
    return [*own, *project_users(_AUTHOR, of_author, access_level, AUTHOR)]


def _joined(columns: Columns) -> Sequence[ColumnElement[bool]]:
    """Return the condition that joins each post's author, if columns of the author are read. Each post has one."""
    return (_AUTHOR.c.id == Post.author_id,) if any(name.startswith(AUTHOR) for name in columns) else ()


def visible_posts(access_level: AccessLevel, of: FromClause = Post.__table__) -> Sequence[ColumnElement[bool]]:
    """Return the conditions under which an access level sees a post: a row of the table or of an alias."""
    if access_level is AccessLevel.ADMIN:
        return ()
    if access_level is AccessLevel.MEMBER:
        return (or_(of.c.published, of.c.author_id == VIEWER_ID),)
    return (of.c.published,)


POSTS = KeysetList(
    edge="posts_by_author",
    table=Post.__table__,
    project=_project,
    joined=_joined,
    visible=visible_posts,
    conditions={
        "published": Post.published == bindparam("published", type_=Boolean),
        "author_id": Post.author_id == bindparam("author_id", type_=BigInteger),
        SEARCH: matches(Post.document),
        "views_gte": Post.views >= bindparam("views_gte", type_=BigInteger),
        "views_lte": Post.views <= bindparam("views_lte", type_=BigInteger),
        **created_conditions(Post.created_at),
    },
    opposite_bounds={
        "views_gte": Post.views <= literal_column(str(VIEWS_MAX)),
        "views_lte": Post.views >= literal_column("0"),
        **created_bounds(Post.created_at),
    },
    parent_columns=(Post.author_id,),
)


async def numbered_page(
    reader: Reader,
    viewer: Viewer,
    columns: Columns,
    given: Mapping[str, object],
    order: Order,
    *,
    limit: int,
    offset: int,
) -> Sequence[Record]:
    """Return `limit` posts from the `offset`-th on, for interfaces that show page numbers.

    The rows before them are read and dropped, so that the cost grows with the offset. The caller must limit it.
    """
    statement = _numbered_page(columns, viewer.access_level, frozenset(given), order.general)
    return await reader.fetch(statement, {**given, "viewer_id": viewer.user_id, "limit": limit, "offset": offset})


@statements
def _numbered_page(columns: Columns, access_level: AccessLevel, filters: frozenset[str], order: Order) -> Statement:
    conditions = [POSTS.conditions[name] for name in sorted(filters)]
    ordering = [term.expression.desc() if descending else term.expression.asc() for term, descending in order.terms]
    return Statement(
        select(*_project(columns, access_level))
        .where(*visible_posts(access_level), *conditions)
        .order_by(*ordering)
        .limit(bindparam("limit", type_=BigInteger))
        .offset(bindparam("offset", type_=BigInteger))
    )


# ---------------------------------------------------------------- writes


class NewPost(NamedTuple):
    """A post to create, after its checks."""

    author_id: int
    title: str
    content: str
    published: bool


_NEW_POST_COLUMNS = tuple(NewPost.__annotations__)

_AUTHORS = Statement(select(User.id).where(User.id == any_(KEYS_ARRAY), User.role != "system"))


async def indexes_without_author(reader: Reader, viewer: Viewer, posts: Sequence[NewPost]) -> list[int]:
    """Return the indexes at which `posts` has an author that does not exist, or for which the viewer may not write.

    The database is read only for an administrator. The foreign key decides finally.
    """
    foreign = {post.author_id for post in posts} - {viewer.user_id}
    if not foreign:
        return []
    known = {viewer.user_id}
    if viewer.is_admin:
        known |= {row["id"] for row in await reader.fetch(_AUTHORS, {"ids": list(foreign)})}
    return [index for index, post in enumerate(posts) if post.author_id not in known]


async def create_posts(writer: Writer, viewer: Viewer, columns: Columns, posts: Sequence[NewPost]) -> list[Record]:
    """Create `posts` with one statement and return their rows in order. A member may write only in their own name.

    No viewer may write as the system user, because it is not a person.

    Raises:
        Refusal: AUTHOR_NOT_FOUND: the viewer may not write as the author, or there is no such author.
    """
    values = dict(zip(_NEW_POST_COLUMNS, map(list, zip(*posts, strict=True)), strict=True))
    if not viewer.is_admin and set(values["author_id"]) != {viewer.user_id}:
        raise Refusal("AUTHOR_NOT_FOUND", ("authorId",), "no such user")
    statement = _insert_posts(tuple(dict.fromkeys(("id", *columns))), viewer.access_level)
    rows = await writer.autocommit_write(statement, values) or await writer.write(
        lambda transaction: transaction.fetch(statement, values)
    )
    if not rows:
        raise Refusal("AUTHOR_NOT_FOUND", ("authorId",), "no such user")
    # Identities are assigned in the order of the SELECT. RETURNING guarantees no order.
    return sorted(rows, key=itemgetter("id"))


@statements
def _insert_posts(columns: Columns, access_level: AccessLevel) -> Statement:
    """Insert all posts, or none if the system user is one of the authors."""
    new_rows = given_rows(Post, _NEW_POST_COLUMNS)
    as_system = exists().where(User.role == "system", User.id == any_(bigint_array("author_id")))
    rows = select(*(new_rows.c[name] for name in _NEW_POST_COLUMNS)).where(~as_system).order_by(new_rows.c[POSITION])
    inserted = insert(Post).from_select(_NEW_POST_COLUMNS, rows)
    return Statement(inserted.returning(*_project(columns, access_level)))


_ID_GIVEN = Post.id == bindparam("id", type_=BigInteger)


def own_posts(access_level: AccessLevel, of: FromClause = Post.__table__) -> Sequence[ColumnElement[bool]]:
    """Return the conditions under which an access level may change a post: a row of the table or of an alias."""
    return () if access_level is AccessLevel.ADMIN else (of.c.author_id == VIEWER_ID,)


POST_ROWS = VersionedRows("post", Post, _project, ("title", "content", "published"), own_posts)
"""Updates and deletes posts."""


async def record_view(writer: Writer, viewer: Viewer, columns: Columns, post_id: int) -> Record:
    """Add one to the views of a visible post and return its row. A view is not an edit: the version stays the same.

    Raises:
        Refusal: NOT_FOUND: there is no such post that the viewer can see.
    """
    rows = await write_row(POST_ROWS, writer, viewer, post_id, _record_view(columns, viewer.access_level))
    if not rows:
        raise Refusal("NOT_FOUND", ("postId",), "no such post")
    return rows[0]


@statements
def _record_view(columns: Columns, access_level: AccessLevel) -> Statement:
    # One statement, so that simultaneous views wait for the row's lock and none is lost.
    return Statement(
        update(Post)
        .where(_ID_GIVEN, *visible_posts(access_level))
        .values(views=func.least(Post.views + 1, VIEWS_MAX))
        .returning(*_project(columns, access_level))
    )
