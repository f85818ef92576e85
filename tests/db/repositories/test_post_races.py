"""Concurrent changes of one post: they happen one after the other, and an expected version must match."""

import asyncio
from collections.abc import AsyncIterator, Awaitable

import pytest

from db.access import Viewer
from db.connections.database import Database
from db.connections.leases import Driver
from db.errors import Refusal
from db.repositories.posts import NewPost, create_posts, update_post
from tests.db.support.backends import waiting_backend
from tests.db.support.rows import new_user


@pytest.fixture
async def author(database: Database) -> Viewer:
    """The author of the post."""
    return await new_user(database)


@pytest.fixture
async def post(database: Database, author: Viewer) -> int:
    """A post of version 1."""
    assert author.user_id is not None
    new = [NewPost(author.user_id, "First", "Words.", published=True)]
    rows = await database.write(lambda transaction: create_posts(transaction, author, ("id",), new))
    post_id: int = rows[0]["id"]
    return post_id


@pytest.fixture
async def half_changed(superuser: Driver, post: int) -> AsyncIterator[Driver]:
    """The superuser, whose change of the post to version 2 is not committed."""
    async with superuser.transaction():
        await superuser.execute("UPDATE posts SET title = 'Second', version = 2 WHERE id = $1", post)
        yield superuser


def retitled(
    database: Database, viewer: Viewer, post: int, expected_version: int | None, title: str = "Third"
) -> Awaitable[tuple[str, int]]:
    async def changed() -> tuple[str, int]:
        row = await update_post(
            database, viewer, ("title", "version"), post, {"title": title}, expected_version=expected_version
        )
        return row["title"], row["version"]

    return asyncio.create_task(changed())


async def committed(superuser: Driver) -> None:
    """Commit the superuser's change as soon as another client waits for it."""
    await waiting_backend(superuser)
    await superuser.execute("COMMIT")
    await superuser.execute("BEGIN")  # for the fixture, which ends a transaction


@pytest.mark.parametrize("expected_version", [None, 2])
async def test_change_waits_for_the_one_before_it_and_comes_after_it(
    database: Database, half_changed: Driver, author: Viewer, post: int, expected_version: int | None
) -> None:
    change = retitled(database, author, post, expected_version)
    await committed(half_changed)
    assert await change == ("Third", 3)


async def test_change_of_a_version_that_another_one_changes_meanwhile_is_refused(
    database: Database, half_changed: Driver, author: Viewer, post: int
) -> None:
    change = retitled(database, author, post, 1)
    await committed(half_changed)
    with pytest.raises(Refusal, match="its version is 2, not 1") as caught:
        await change
    assert caught.value.code == "VERSION_CONFLICT"


async def test_change_to_what_the_one_before_it_has_set_is_none(
    database: Database, half_changed: Driver, author: Viewer, post: int
) -> None:
    change = retitled(database, author, post, None, "Second")
    await committed(half_changed)
    assert await change == ("Second", 2)


async def test_change_back_to_what_there_was_when_it_began_is_one(
    database: Database, half_changed: Driver, author: Viewer, post: int
) -> None:
    change = retitled(database, author, post, None, "First")
    await committed(half_changed)
    assert await change == ("First", 3)


async def test_equal_change_of_a_version_that_has_gone_meanwhile_is_refused(
    database: Database, half_changed: Driver, author: Viewer, post: int
) -> None:
    change = retitled(database, author, post, 1, "Second")
    await committed(half_changed)
    with pytest.raises(Refusal, match="its version is 2, not 1"):
        await change


async def test_twenty_equal_changes_at_once_are_one_version(database: Database, author: Viewer, post: int) -> None:
    ends = await asyncio.gather(*(retitled(database, author, post, None) for _ in range(20)))
    assert ends == [("Third", 2)] * 20


async def test_change_of_another_ones_post_does_not_wait_for_it(
    database: Database, half_changed: Driver, post: int
) -> None:
    stranger = await new_user(database)
    for expected_version in (None, 1, 2):
        with pytest.raises(Refusal) as caught:
            await asyncio.wait_for(retitled(database, stranger, post, expected_version), 5)
        assert caught.value.code == "NOT_FOUND"


async def test_twenty_changes_at_once_are_twenty_versions(database: Database, author: Viewer, post: int) -> None:
    ends = await asyncio.gather(*(retitled(database, author, post, None, f"Title {number}") for number in range(20)))
    assert sorted(version for _, version in ends) == list(range(2, 22))
