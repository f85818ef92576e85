"""Rows with a parent and without an author: the owner of the parent writes them, and they are seen where it is seen."""

import datetime

import pytest
from sqlalchemy import ForeignKey, MetaData, text
from sqlalchemy.orm import Mapped, mapped_column, registry

from db import constraints
from db.access import ANONYMOUS, Viewer
from db.connections.database import Database
from db.connections.leases import Driver
from db.errors import Refusal
from db.models import Post
from db.models.base import NAMING_CONVENTION, Model, created_at_column, identity_column
from db.query.keyset_lists import KeysetList
from db.repositories.child_rows import ChildRows, create_row
from db.repositories.posts import NewPost, create_posts, own_posts, visible_posts
from db.repositories.versioned_rows import delete_row, update_row
from tests.db.support.rows import ADMIN, new_user


class Trial(Model):
    """The base of a table that only this test has; it is none of Folio's."""

    __abstract__ = True
    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    _sa_registry = registry(metadata=metadata, type_annotation_map=Model.registry.type_annotation_map)


class Mark(Trial):
    """A word on a post."""

    __tablename__ = "marks"

    id: Mapped[int] = identity_column()
    name: Mapped[str]
    post_id: Mapped[int] = mapped_column(ForeignKey(Post.__table__.c.id))
    version: Mapped[int] = mapped_column(server_default=text("1"))
    updated_at: Mapped[datetime.datetime] = created_at_column()


TABLE = """CREATE TABLE marks (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, version bigint NOT NULL DEFAULT 1,
    post_id bigint NOT NULL REFERENCES posts, updated_at timestamptz NOT NULL DEFAULT now());
GRANT ALL ON marks TO folio"""
MARKS = ChildRows(Mark, "post_id", ("name",), visible_posts, own_posts)
MARK_LIST = KeysetList("", Mark.__table__, MARKS.project, MARKS.visible, {})
SEEN = ("id", "name", "version")


@pytest.fixture
async def author(database: Database, superuser: Driver, monkeypatch: pytest.MonkeyPatch) -> Viewer:
    """The author of a draft, which has the id 1."""
    await superuser.execute(TABLE)
    refusals = {**constraints.CONSTRAINTS, "fk_marks_post_id_posts": Refusal("NOT_FOUND", ("postId",), "no such post")}
    monkeypatch.setattr(constraints, "CONSTRAINTS", refusals)
    viewer = await new_user(database)
    assert viewer.user_id is not None
    draft = [NewPost(viewer.user_id, "A draft", "Words.", published=False)]
    await create_posts(database, viewer, ("id",), draft)
    return viewer


async def marked(database: Database, viewer: Viewer) -> int:
    """Return the id of a new mark of the draft."""
    values = {"post_id": 1, "name": "red"}
    row = await create_row(MARKS, database, viewer, SEEN, values)
    assert dict(row) == {"id": row["id"], "name": "red", "version": 1}
    return int(row["id"])


async def test_owner_of_the_parent_and_administrators_write(database: Database, author: Viewer) -> None:
    for viewer in (author, ADMIN):
        mark = await marked(database, viewer)
        row = await update_row(MARKS, database, viewer, SEEN, mark, {"name": "blue"}, expected_version=1)
        assert dict(row) == {"id": mark, "name": "blue", "version": 2}
        await delete_row(MARKS, database, viewer, mark)
        assert dict(await MARK_LIST.by_ids(database, ADMIN, SEEN, [mark])) == {}


async def test_for_others_there_is_no_such_parent_and_no_such_row(database: Database, author: Viewer) -> None:
    mark, stranger = await marked(database, author), await new_user(database)
    for write in (
        marked(database, stranger),
        update_row(MARKS, database, stranger, SEEN, mark, {"name": "blue"}),
        delete_row(MARKS, database, stranger, mark),
    ):
        with pytest.raises(Refusal, match="no such"):
            await write
    for viewer, seen in ((author, [mark]), (ADMIN, [mark]), (stranger, []), (ANONYMOUS, [])):
        assert list(await MARK_LIST.by_ids(database, viewer, SEEN, [mark])) == seen


async def test_published_parent_is_seen_with_its_rows_and_written_by_its_owner_alone(
    database: Database, author: Viewer, superuser: Driver
) -> None:
    mark, stranger = await marked(database, author), await new_user(database)
    await superuser.execute("UPDATE posts SET published = true")
    for viewer in (author, stranger, ANONYMOUS):
        assert list(await MARK_LIST.by_ids(database, viewer, SEEN, [mark])) == [mark]
    with pytest.raises(Refusal, match="no such post"):
        await marked(database, stranger)
    with pytest.raises(Refusal, match="no such mark"):
        await delete_row(MARKS, database, stranger, mark)


def test_rows_of_which_nothing_says_who_may_write_them_cannot_be_declared() -> None:
    with pytest.raises(LookupError, match="marks has no author_id: declare with `owned` who may write its rows"):
        ChildRows(Mark, "post_id", ("name",), visible_posts)
