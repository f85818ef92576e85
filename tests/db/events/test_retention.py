"""Old events are deleted, and no subscriber loses one without an error."""

import asyncio

import pytest

from db.connections.database import Database
from db.connections.leases import Driver
from db.events import EndReason, EventsExpiredError, EventTopic, StreamEndedError, Subject
from db.events.retention import BATCH_MAX, sweep_events
from db.events.streams import PAGE_MAX
from tests.db.support.backends import connected_superuser
from tests.db.support.live import ARRIVES_S, EVERYTHING_PUBLISHED, INSERT_MANY, insert_post, live, rows_of, taken, until

DAY_S = 86_400
AGE = "UPDATE events SET created_at = created_at - interval '2 days' WHERE row_id = any($1)"


async def sweep_all(database: Database, count: int) -> None:
    """Sweep until `count` events are deleted. Transactions of other tests on the same server delay it."""
    swept = 0
    async with asyncio.timeout(ARRIVES_S):
        while swept < count:
            swept += await sweep_events(database, DAY_S)
    assert swept == count


async def test_cursor_of_the_newest_deleted_event_gives_the_rest_and_an_older_one_is_expired(
    database: Database, superuser: Driver, authors: list[int]
) -> None:
    async with live(database) as events:
        stream = await events.open(EVERYTHING_PUBLISHED)
        posts = [await insert_post(superuser, authors[0]) for _ in range(4)]
        cursors = [stream.cursor(event) for event in await taken(stream, 4)]
        stream.close()
        assert await sweep_events(database, DAY_S) == 0
        await superuser.execute(AGE, posts[:2])
        await sweep_all(database, 2)
        assert await sweep_events(database, DAY_S) == 0
        with pytest.raises(EventsExpiredError):
            await events.open(EVERYTHING_PUBLISHED, cursors[0])
        for index in (1, 2):
            resumed = await events.open(EVERYTHING_PUBLISHED, cursors[index])
            assert await rows_of(resumed, 3 - index) == posts[index + 1 :]
            resumed.close()


async def test_newer_event_before_an_old_one_is_kept_and_the_old_one_with_it(
    database: Database, superuser: Driver, authors: list[int]
) -> None:
    """Only a beginning of the log is deleted: instants need not be in its order."""
    posts = [await insert_post(superuser, authors[0]) for _ in range(3)]
    await superuser.execute(AGE, [posts[0], posts[2]])
    await sweep_all(database, 1)
    assert [row[0] for row in await superuser.fetch("SELECT row_id FROM events ORDER BY id")] == posts[1:]


async def test_many_events_are_deleted_in_batches_by_two_sweeps_at_once(
    database: Database, superuser: Driver, authors: list[int]
) -> None:
    await superuser.execute(INSERT_MANY, authors[0], 2 * BATCH_MAX + 1)
    await superuser.execute("UPDATE events SET created_at = created_at - interval '2 days'")
    last = await superuser.fetchrow("SELECT transaction_id, id FROM events ORDER BY transaction_id DESC, id DESC")
    post = await insert_post(superuser, authors[0])
    swept = 0
    async with asyncio.timeout(ARRIVES_S):
        while swept < 2 * BATCH_MAX + 1:
            swept += sum(await asyncio.gather(*(sweep_events(database, DAY_S) for _ in range(2))))
    assert swept == 2 * BATCH_MAX + 1
    assert [row[0] for row in await superuser.fetch("SELECT row_id FROM events")] == [post]
    assert await superuser.fetchrow("SELECT transaction_id, event_id FROM swept_events") == last


async def test_quiet_subscriber_outlives_the_events_of_others(
    database: Database, superuser: Driver, authors: list[int]
) -> None:
    async with live(database, poll_s=0.02) as events:
        quiet = Subject(EventTopic.PUBLISHED, authors[1])
        stream = await events.open(quiet)
        others = [await insert_post(superuser, authors[0]) for _ in range(3)]
        await superuser.execute(AGE, others)
        swept = await superuser.fetchval("SELECT max(transaction_id) FROM events")
        await until(lambda: events.feeds[quiet].position.transaction_id >= swept)
        await sweep_all(database, 3)
        post = await insert_post(superuser, authors[1])
        assert await rows_of(stream, 1) == [post]
        stream.close()


async def test_subscriber_whose_events_are_deleted_before_it_reads_them_gets_an_error(
    database: Database, superuser: Driver, authors: list[int]
) -> None:
    async with live(database) as events:
        first = await events.open(EVERYTHING_PUBLISHED)
        await insert_post(superuser, authors[0])
        [event] = await taken(first, 1)
        await superuser.execute(INSERT_MANY, authors[0], 2 * PAGE_MAX)
        resumed = await events.open(EVERYTHING_PUBLISHED, first.cursor(event))
        await superuser.execute("UPDATE events SET created_at = created_at - interval '2 days'")
        await sweep_all(database, 2 * PAGE_MAX + 1)
        with pytest.raises(StreamEndedError) as ended:
            await taken(resumed, 2 * PAGE_MAX)
        assert ended.value.reason is EndReason.EXPIRED
        first.close()
        resumed.close()


async def test_events_of_an_open_transaction_are_kept_and_what_comes_after_it(
    database: Database, database_url: str, superuser: Driver, authors: list[int]
) -> None:
    async with connected_superuser(database_url) as older, older.transaction():
        await insert_post(older, authors[0])
        await insert_post(superuser, authors[0])
        await superuser.execute("UPDATE events SET created_at = created_at - interval '2 days'")
        assert await sweep_events(database, DAY_S) == 0
    await superuser.execute("UPDATE events SET created_at = created_at - interval '2 days'")
    await sweep_all(database, 2)


async def test_events_of_another_server_are_deleted_and_expire_nothing(
    database: Database, superuser: Driver, authors: list[int]
) -> None:
    """A copy of a database on a new server has transaction ids that this server has not reached."""
    await insert_post(superuser, authors[0])
    await superuser.execute("UPDATE events SET transaction_id = transaction_id + 1000000000")
    async with live(database) as events:
        stream = await events.open(EVERYTHING_PUBLISHED)
        post = await insert_post(superuser, authors[0])
        assert await rows_of(stream, 1) == [post]
        await sweep_all(database, 1)
        assert await superuser.fetch("SELECT FROM swept_events") == []
        post = await insert_post(superuser, authors[0])
        assert await rows_of(stream, 1) == [post]
        stream.close()
