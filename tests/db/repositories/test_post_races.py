"""Concurrent changes of one post: they happen one after the other, and an expected version is the changed one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable

import pytest

from db.access import Viewer
from db.connections.database import Database
from db.connections.leases import Driver
from db.errors import Refusal
from db.repositories.posts import POST_ROWS, NewPost, create_posts
from db.repositories.versioned_rows import update_row
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
    rows = await create_posts(database, author, ("id",), new)
    post_id: int = rows[0]["id"]
    return post_id


@pytest.fixture
async def uncommitted_change(superuser: Driver, post: int) -> AsyncIterator[Driver]:
    """The superuser, with an uncommitted change of the post to version 2."""
    async with superuser.transaction():
        await superuser.execute("UPDATE posts SET title = 'Second', version = 2 WHERE id = $1", post)
        yield superuser


def change_title(
    database: Database, viewer: Viewer, post: int, expected_version: int | None, title: str = "Third"
) -> Awaitable[tuple[str, int]]:
    async def changed() -> tuple[str, int]:
        row = await update_row(
            POST_ROWS, database, viewer, ("title", "version"), post, {"title": title}, expected_version=expected_version
        )
        return row["title"], row["version"]

    return asyncio.create_task(changed())


async def committed(superuser: Driver) -> None:
    """Commit the superuser's transaction as soon as a statement waits for it."""
    await waiting_backend(superuser)
    await superuser.execute("COMMIT")
    await superuser.execute("BEGIN")  # for the fixture, which ends a transaction


@pytest.mark.parametrize("expected_version", [None, 2])
async def test_change_waits_for_the_previous_one_and_is_applied_after_it(
    database: Database, uncommitted_change: Driver, author: Viewer, post: int, expected_version: int | None
) -> None:
    change = change_title(database, author, post, expected_version)
    await committed(uncommitted_change)
    assert await change == ("Third", 3)


async def test_change_of_a_version_that_a_concurrent_change_replaces_is_refused(
    database: Database, uncommitted_change: Driver, author: Viewer, post: int
) -> None:
    change = change_title(database, author, post, 1)
    await committed(uncommitted_change)
    with pytest.raises(Refusal, match="its version is 2, not 1") as caught:
        await change
    assert caught.value.code == "VERSION_CONFLICT"


async def test_change_to_the_values_of_the_previous_change_is_no_change(
    database: Database, uncommitted_change: Driver, author: Viewer, post: int
) -> None:
    change = change_title(database, author, post, None, "Second")
    await committed(uncommitted_change)
    assert await change == ("Second", 2)


async def test_change_back_to_the_values_at_its_start_is_a_change(
    database: Database, uncommitted_change: Driver, author: Viewer, post: int
) -> None:
    change = change_title(database, author, post, None, "First")
    await committed(uncommitted_change)
    assert await change == ("First", 3)


async def test_equal_change_of_a_version_that_was_replaced_is_refused(
    database: Database, uncommitted_change: Driver, author: Viewer, post: int
) -> None:
    change = change_title(database, author, post, 1, "Second")
    await committed(uncommitted_change)
    with pytest.raises(Refusal, match="its version is 2, not 1"):
        await change


async def test_twenty_equal_changes_at_once_are_one_version(database: Database, author: Viewer, post: int) -> None:
    ends = await asyncio.gather(*(change_title(database, author, post, None) for _ in range(20)))
    assert ends == [("Third", 2)] * 20


async def test_refused_change_of_another_users_post_does_not_wait_for_its_lock(
    database: Database, uncommitted_change: Driver, post: int
) -> None:
    stranger = await new_user(database)
    for expected_version in (None, 1, 2):
        with pytest.raises(Refusal) as caught:
            await asyncio.wait_for(change_title(database, stranger, post, expected_version), 5)
        assert caught.value.code == "NOT_FOUND"


async def test_twenty_changes_at_once_are_twenty_versions(database: Database, author: Viewer, post: int) -> None:
    ends = await asyncio.gather(
        *(change_title(database, author, post, None, f"Title {number}") for number in range(20))
    )
    assert sorted(version for _, version in ends) == list(range(2, 22))
