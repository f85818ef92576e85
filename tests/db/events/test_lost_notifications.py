"""Notifications that are lost delay events, and lose none."""

import pytest

from db.connections.database import Database
from db.connections.leases import Driver
from db.errors import Unavailable
from db.events import EndReason, Events, EventTopic, StreamEndedError, Subject
from db.events.streams import QUEUE_MAX
from tests.db.support.live import EVERYTHING_PUBLISHED, INSERT_MANY, insert_post, live, rows_of, taken, until

# They hold a shared lock for what is followed.
LISTENERS = """
    SELECT DISTINCT pid FROM pg_locks JOIN pg_database ON pg_database.oid = database
    WHERE datname = current_database() AND locktype = 'advisory' AND mode = 'ShareLock' AND granted
"""

TERMINATE_ALL = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'folio'
"""


async def listening_again(events: Events, connects: int) -> None:
    await until(lambda: events.listener.connects == connects)


async def test_events_of_the_time_without_a_listener_arrive_when_it_listens_again(
    database: Database, superuser: Driver, authors: list[int]
) -> None:
    async with live(database) as events:
        changed = [await insert_post(superuser, authors[0], published=False) for _ in range(3)]
        streams = [await events.open(EVERYTHING_PUBLISHED)]
        streams += [await events.open(Subject(EventTopic.CHANGED, post)) for post in changed]
        await until(lambda: events.listener.is_listening)
        for number in range(1, 4):
            [row] = await superuser.fetch(LISTENERS)
            assert await superuser.fetchval("SELECT pg_terminate_backend($1, 5000)", row["pid"])
            await superuser.execute("UPDATE posts SET published = true, title = title || 'x'")
            await superuser.execute("UPDATE posts SET published = false")
            assert sorted(await rows_of(streams[0], 3)) == changed
            for stream, post in zip(streams[1:], changed, strict=True):
                assert await rows_of(stream, 2) == [post, post]
            await listening_again(events, number + 1)
        for stream in streams:
            stream.close()


async def test_poll_finds_what_was_never_notified(database: Database, superuser: Driver, authors: list[int]) -> None:
    await superuser.execute(
        "CREATE OR REPLACE FUNCTION notify_events(topic text, subjects bigint[]) RETURNS void LANGUAGE sql AS ''"
    )
    async with live(database, poll_s=0.05) as events:
        stream = await events.open(EVERYTHING_PUBLISHED)
        of_one = await events.open(Subject(EventTopic.PUBLISHED, authors[1]))
        await until(lambda: events.listener.is_listening)
        posts = [await insert_post(superuser, author) for author in authors]
        assert await rows_of(stream, 3) == posts
        assert await rows_of(of_one, 1) == [posts[1]]
        stream.close()
        of_one.close()


async def test_all_connections_of_the_process_may_end(
    database: Database, superuser: Driver, authors: list[int]
) -> None:
    async with live(database) as events:
        stream = await events.open(EVERYTHING_PUBLISHED)
        for _ in range(3):
            post = await insert_post(superuser, authors[0])
            await superuser.fetch(TERMINATE_ALL)
            other = await insert_post(superuser, authors[0])
            assert await rows_of(stream, 2) == [post, other]
        stream.close()


async def test_stream_whose_owner_takes_nothing_is_dropped_when_its_queue_is_full(
    database: Database, superuser: Driver, authors: list[int]
) -> None:
    async with live(database) as events:
        slow, fast = await events.open(EVERYTHING_PUBLISHED), await events.open(EVERYTHING_PUBLISHED)
        slow.untaken_max_s = 0.0
        await superuser.execute(INSERT_MANY, authors[0], QUEUE_MAX + 1)
        found = await taken(fast, QUEUE_MAX + 1)
        with pytest.raises(StreamEndedError) as ended:
            await taken(slow, 1)
        assert ended.value.reason is EndReason.DROPPED
        cursor = fast.cursor(found[0])
        slow.close()
        again = await events.open(EVERYTHING_PUBLISHED, cursor)
        assert await taken(again, QUEUE_MAX) == found[1:]
        again.close()
        fast.close()


async def test_streams_end_with_the_process(database: Database, authors: list[int]) -> None:
    events = Events(database)
    async with events.running():
        stream = await events.open(EVERYTHING_PUBLISHED)
    with pytest.raises(StreamEndedError) as ended:
        await anext(stream)
    assert ended.value.reason is EndReason.STOPPED
    stream.close()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    with pytest.raises(Unavailable, match="this server is stopping"):
        await events.open(EVERYTHING_PUBLISHED)
    assert events.feeds == {}
    assert not events.listener.is_listening


async def test_nothing_listens_before_the_first_stream(database: Database, superuser: Driver) -> None:
    async with live(database) as events:
        assert await superuser.fetch(LISTENERS) == []
        stream = await events.open(EVERYTHING_PUBLISHED)
        await until(lambda: events.listener.is_listening)
        assert len(await superuser.fetch(LISTENERS)) == 1
        stream.close()
