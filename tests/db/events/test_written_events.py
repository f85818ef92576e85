"""Which changes write events: all of them, by whatever statement, and nothing that is no change."""

import io
from typing import Any

import orjson
import pytest

from db.bulk.jsonlines import import_lines, read_lines
from db.connections.database import Database
from db.connections.leases import Driver
from db.events import EventTopic, Subject
from tests.db.support.contents import no_progress
from tests.db.support.json_lines import ADA, POST
from tests.db.support.live import EVERYTHING_PUBLISHED, insert_comment, insert_post, live, rows_of, taken

EVENTS = "SELECT topic, subject_id, row_id, author_id, was_public, is_public FROM events ORDER BY transaction_id, id"


async def written(driver: Driver) -> list[tuple[Any, ...]]:
    """Return all events, and delete them."""
    found = [tuple(row) for row in await driver.fetch(EVENTS)]
    await driver.execute("DELETE FROM events")
    return found


async def test_life_of_a_post(superuser: Driver, authors: list[int]) -> None:
    author = authors[0]
    post = await insert_post(superuser, author, published=False)
    assert await written(superuser) == []

    async def update(assignments: str) -> list[tuple[Any, ...]]:
        await superuser.execute(f"UPDATE posts SET {assignments} WHERE id = $1", post)  # noqa: S608 - constants
        return await written(superuser)

    def changed(was_public: bool, is_public: bool) -> tuple[Any, ...]:
        return ("changed", post, post, author, was_public, is_public)

    assert await update("title = 'a draft'") == [changed(False, False)]
    assert await update("published = true") == [changed(False, True), ("published", author, post, author, False, True)]
    assert await update("published = true, content = content") == []
    assert await update("views = views + 1") == []
    assert await update("content = 'other'") == [changed(True, True)]
    assert await update("version = version + 1") == [changed(True, True)]
    assert await update("published = false") == [changed(True, False)]
    assert await update("published = true, title = 'again'") == [
        changed(False, True),
        ("published", author, post, author, False, True),
    ]
    await superuser.execute("DELETE FROM posts")
    assert await written(superuser) == [changed(True, False)]


async def test_comment_on_a_post_and_on_a_draft(superuser: Driver, authors: list[int]) -> None:
    post = await insert_post(superuser, authors[0], published=False)
    comment = await insert_comment(superuser, authors[1], post)
    assert await written(superuser) == [("commented", post, comment, authors[0], False, False)]
    await superuser.execute("UPDATE comments SET body = 'other'")
    await superuser.execute("DELETE FROM comments")
    assert await written(superuser) == []


async def test_posts_that_a_deleted_user_takes_along_are_deleted_ones(superuser: Driver, authors: list[int]) -> None:
    post = await insert_post(superuser, authors[0])
    draft = await insert_post(superuser, authors[0], published=False)
    await written(superuser)
    await superuser.execute("DELETE FROM users WHERE id = $1", authors[0])
    assert await written(superuser) == [
        ("changed", post, post, authors[0], True, False),
        ("changed", draft, draft, authors[0], False, False),
    ]


@pytest.mark.parametrize("count", [0, 1, 100, 101, 300])
async def test_one_statement_on_many_posts_reaches_each_subscriber(
    database: Database, superuser: Driver, authors: list[int], count: int
) -> None:
    """A notification with more than 100 subjects names the topic alone."""
    for _ in range(max(count, 1)):
        await insert_post(superuser, authors[0], published=False)
    numbers = [row[0] for row in await superuser.fetch("SELECT id FROM posts ORDER BY id")]
    async with live(database) as events:
        of_all = await events.open(EVERYTHING_PUBLISHED)
        of_one = await events.open(Subject(EventTopic.CHANGED, numbers[-1]))
        await superuser.execute("UPDATE posts SET published = true WHERE id = any($1)", numbers[:count])
        marker = await insert_post(superuser, authors[1])
        assert await rows_of(of_all, count + 1) == [*numbers[:count], marker]
        await superuser.execute("DELETE FROM posts WHERE id = $1", numbers[-1])
        found = await taken(of_one, 2 if count else 1)
        assert [event.is_public for event in found] == [True, False][0 if count else 1 :]
        of_all.close()
        of_one.close()


async def test_imported_posts_are_events(database: Database) -> None:
    public = {**POST, "published": True}
    lines = b"\n".join(map(orjson.dumps, (ADA, public, POST, public)))
    async with live(database) as events:
        stream = await events.open(EVERYTHING_PUBLISHED)
        await import_lines(database, read_lines(io.BytesIO(lines)), no_progress)
        assert len(set(await rows_of(stream, 2))) == 2
        stream.close()
