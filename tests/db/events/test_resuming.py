"""A subscriber that resumes with a cursor gets the rest, in order, each event once, and then the new events."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from db.connections.database import Database
from db.connections.leases import Driver
from db.events import Events, EventsExpiredError, EventStream, EventTopic, LoggedEvent, Subject
from db.events.feeds import Feed
from db.events.streams import PAGE_MAX, QUEUE_MAX
from db.events.topics import EventPage, Position
from db.query.cursors import CursorError
from tests.db.support.backends import connected_superuser
from tests.db.support.live import (
    EVERYTHING_PUBLISHED,
    INSERT_MANY,
    insert_comment,
    insert_post,
    live,
    rows_of,
    taken,
    until,
)

CONNECTIONS = 3
STEPS = 120


@asynccontextmanager
async def stream_of(events: Events, subject: Subject, after: str | None = None) -> AsyncIterator[EventStream]:
    """Open a stream, and close it."""
    stream = await events.open(subject, after)
    try:
        yield stream
    finally:
        stream.close()


class History:
    """Random changes by several transactions at once, and what they must become: the oracle.

    Attributes:
        expected: the number of events by subject and row.
        of_row: the events of each post in their order, as whether it was public afterwards. Its row is locked.
    """

    def __init__(self, seed: int, drivers: list[Driver], authors: list[int]) -> None:
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._drivers = drivers
        self._authors = authors
        self._open: dict[Driver, list[tuple[Subject, int, bool]]] = {}
        self._own: dict[Driver, list[int]] = {driver: [] for driver in drivers}
        self.expected: Counter[tuple[Subject, int]] = Counter()
        self.of_row: dict[int, list[bool]] = {}

    async def step(self) -> None:
        """Make one change, or begin or end a transaction."""
        driver, choice = self._random.choice(self._drivers), self._random.random()
        if driver not in self._open and choice < 0.3:
            await driver.execute("BEGIN")
            self._open[driver] = []
        elif driver in self._open and choice < 0.3:
            await self._end(driver, commits=choice > 0.1)
        else:
            done = await self._change(driver)
            if driver in self._open:
                self._open[driver] += done
            else:
                self._note(done)

    async def end(self) -> None:
        """Commit what is open."""
        for driver in list(self._open):
            await self._end(driver, commits=True)

    async def _end(self, driver: Driver, *, commits: bool) -> None:
        await driver.execute("COMMIT" if commits else "ROLLBACK")
        done = self._open.pop(driver)
        if commits:
            self._note(done)
        # A rollback may have undone what the list remembers.
        self._own[driver] = [row[0] for row in await driver.fetch("SELECT id FROM posts ORDER BY id")][-3:]
        for other, own in self._own.items():
            if other is not driver:
                self._own[driver] = [one for one in self._own[driver] if one not in own]

    def _note(self, done: list[tuple[Subject, int, bool]]) -> None:
        for subject, row, is_public in done:
            self.expected[subject, row] += 1
            if subject.topic is EventTopic.CHANGED:
                self.of_row.setdefault(row, []).append(is_public)

    async def _change(self, driver: Driver) -> list[tuple[Subject, int, bool]]:
        author, choice = self._random.choice(self._authors), self._random.random()
        if choice < 0.4 or not self._own[driver]:
            is_public = self._random.random() < 0.6
            post = await insert_post(driver, author, published=is_public)
            self._own[driver].append(post)
            return [(Subject(EventTopic.PUBLISHED, author), post, True)] if is_public else []
        post = self._random.choice(self._own[driver])
        before = await driver.fetchrow("SELECT author_id, published FROM posts WHERE id = $1", post)
        if before is None:
            return []
        if choice < 0.5:
            comment = await insert_comment(driver, author, post)
            return [(Subject(EventTopic.COMMENTED, post), comment, True)]
        if choice < 0.6:
            await driver.execute("UPDATE posts SET views = views + 1 WHERE id = $1", post)
            return []
        if choice < 0.7:
            await driver.execute("DELETE FROM posts WHERE id = $1", post)
            self._own[driver].remove(post)
            return [(Subject(EventTopic.CHANGED, post), post, False)]
        await driver.execute("UPDATE posts SET published = NOT published WHERE id = $1", post)
        is_public = not before["published"]
        done = [(Subject(EventTopic.CHANGED, post), post, is_public)]
        return [*done, (Subject(EventTopic.PUBLISHED, before["author_id"]), post, True)] if is_public else done


@pytest.mark.parametrize("seed", range(6))
async def test_resuming_from_every_cursor_of_a_random_history_gives_exactly_the_rest(
    database: Database, database_url: str, authors: list[int], seed: int
) -> None:
    async with AsyncExitStack() as stack:
        drivers = [await stack.enter_async_context(connected_superuser(database_url)) for _ in range(CONNECTIONS)]
        events = await stack.enter_async_context(live(database))
        of_author = Subject(EventTopic.PUBLISHED, authors[0])
        begun = {
            subject: await stack.enter_async_context(stream_of(events, subject))
            for subject in (EVERYTHING_PUBLISHED, of_author)
        }
        history = History(seed, drivers, authors)
        for _ in range(STEPS):
            await history.step()
        await history.end()
        marker = await insert_post(drivers[0], authors[0])
        wanted = Counter(
            row
            for (subject, row), count in history.expected.items()
            for _ in range(count)
            if subject.topic is EventTopic.PUBLISHED
        )
        for subject, stream in begun.items():
            found = await until_row(stream, marker)
            if subject is EVERYTHING_PUBLISHED:
                assert Counter(event.row_id for event in found) == wanted + Counter([marker])
            for index, event in enumerate(found):
                async with stream_of(events, subject, stream.cursor(event)) as resumed:
                    rest = found[index + 1 :]
                    assert await taken(resumed, len(rest)) == rest
        await assert_changes(events, history, drivers[0])


async def until_row(stream: EventStream, row: int) -> list[LoggedEvent]:
    """Return the next events of a stream up to the one of a row."""
    found: list[LoggedEvent] = []
    while not found or found[-1].row_id != row:
        found += await taken(stream, 1)
    return found


async def assert_changes(events: Events, history: History, driver: Driver) -> None:
    """Compare the whole log of each post with the oracle, whose order is that of the locks on the row."""
    for post, wanted in history.of_row.items():
        rows = await driver.fetch(
            "SELECT is_public FROM events WHERE topic = 'changed' AND row_id = $1 ORDER BY transaction_id, id", post
        )
        assert [row[0] for row in rows] == wanted


async def test_subscribers_that_come_and_go_while_posts_are_written_miss_none_and_get_none_twice(
    database: Database, database_url: str, authors: list[int]
) -> None:
    count, writers = 60, 3

    async def write() -> None:
        async with connected_superuser(database_url) as driver:
            for number in range(count):
                async with driver.transaction():
                    await insert_post(driver, authors[0])
                    if number % 3 == 0:
                        await insert_post(driver, authors[0])

    async def follow(events: Events, seed: int) -> list[int]:
        chance = random.Random(seed)  # noqa: S311 - no secret
        found: list[int] = []
        cursor, total = start, writers * count * 4 // 3
        while len(found) < total:
            async with stream_of(events, EVERYTHING_PUBLISHED, cursor) as stream:
                for event in await taken(stream, min(chance.randint(1, 20), total - len(found))):
                    found.append(event.row_id)
                    cursor = stream.cursor(event)
        return found

    async with live(database) as events, stream_of(events, EVERYTHING_PUBLISHED) as first:
        async with connected_superuser(database_url) as driver:
            await insert_post(driver, authors[0])
        [event] = await taken(first, 1)
        start = first.cursor(event)
        followers = [asyncio.create_task(follow(events, seed)) for seed in range(3)]
        await asyncio.gather(*(write() for _ in range(writers)))
        one, two, three = await asyncio.gather(*followers)
        assert sorted(one) == sorted(set(one))
        assert one == two == three == await rows_of(first, len(one))


async def test_burst_that_is_longer_than_the_queue_arrives_whole(
    database: Database, superuser: Driver, authors: list[int]
) -> None:
    count = 2 * QUEUE_MAX + PAGE_MAX + 1
    async with live(database) as events, stream_of(events, EVERYTHING_PUBLISHED) as stream:
        await superuser.execute(INSERT_MANY, authors[0], count)
        marker = await insert_post(superuser, authors[0])
        numbers = [row[0] for row in await superuser.fetch("SELECT id FROM posts ORDER BY id")]
        assert await rows_of(stream, count + 1) == numbers
        assert numbers[-1] == marker


class _LateFeed:
    """A feed whose reads reach the stream only when the test allows it."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.subject = feed.subject
        self.attach, self.join = feed.attach, feed.join
        self.leave, self.release = feed.leave, feed.release
        self.has_read, self.may_return = asyncio.Event(), asyncio.Event()

    @property
    def position(self) -> Position:
        return self.feed.position

    async def read(self, after: Position, limit: int) -> EventPage:
        page = await self.feed.read(after, limit)
        self.has_read.set()
        await self.may_return.wait()
        return page


async def test_event_between_the_last_read_of_the_log_and_the_first_live_event_is_not_missed(
    database: Database, superuser: Driver, authors: list[int]
) -> None:
    async with live(database) as events, stream_of(events, EVERYTHING_PUBLISHED) as first:
        await insert_post(superuser, authors[0])
        [event] = await taken(first, 1)
        late = _LateFeed(events.feeds[EVERYTHING_PUBLISHED])
        late.feed.hold()
        resumed = EventStream(late, event.position)
        taking = asyncio.create_task(rows_of(resumed, 2))
        await late.has_read.wait()
        between = await insert_post(superuser, authors[0])
        assert await rows_of(first, 1) == [between]  # the feed has passed it on
        late.may_return.set()
        last = await insert_post(superuser, authors[0])
        assert await taking == [between, last]
        resumed.close()


async def test_waiting_for_an_event_can_be_cancelled_without_loss(
    database: Database, superuser: Driver, authors: list[int]
) -> None:
    async with live(database) as events, stream_of(events, EVERYTHING_PUBLISHED) as stream:
        posts, found = list[int](), list[LoggedEvent]()
        for turns in range(20):
            waiting = asyncio.create_task(taken(stream, 1))
            for _ in range(turns):
                await asyncio.sleep(0)
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                found += await waiting
            posts.append(await insert_post(superuser, authors[0]))
        found += await taken(stream, 20 - len(found))
        assert [event.row_id for event in found] == posts


async def test_cursor_belongs_to_one_subject_and_one_history(
    database: Database, superuser: Driver, authors: list[int]
) -> None:
    async with live(database) as events, stream_of(events, EVERYTHING_PUBLISHED) as stream:
        post = await insert_post(superuser, authors[0])
        [event] = await taken(stream, 1)
        cursor = stream.cursor(event)
        for subject in (Subject(EventTopic.PUBLISHED, authors[0]), Subject(EventTopic.CHANGED, post)):
            with pytest.raises(CursorError, match="not a cursor of this subscription"):
                await events.open(subject, cursor)
        for wrong in ("", "x", cursor[:-1], cursor + "=", f" {cursor}", "W10", "bnVsbA", "é"):
            with pytest.raises(CursorError, match="not a cursor of this subscription"):
                await events.open(EVERYTHING_PUBLISHED, wrong)
        ahead = event._replace(position=event.position._replace(transaction_id=2**62))
        with pytest.raises(EventsExpiredError):
            await events.open(EVERYTHING_PUBLISHED, stream.cursor(ahead))


async def test_feed_ends_with_its_last_stream(database: Database, superuser: Driver, authors: list[int]) -> None:
    async with live(database) as events:
        async with stream_of(events, EVERYTHING_PUBLISHED), stream_of(events, EVERYTHING_PUBLISHED):
            assert list(events.feeds) == [EVERYTHING_PUBLISHED]
        assert events.feeds == {}
        await until(lambda: events.listener.is_listening)
        await insert_post(superuser, authors[0])
        async with stream_of(events, EVERYTHING_PUBLISHED) as again:
            post = await insert_post(superuser, authors[0])
            found = await rows_of(again, 1)
            # The post before it may come, too: it is in doubt whether it was committed before the subscription.
            assert post in found or await rows_of(again, 1) == [post]


async def test_stream_that_is_opened_while_the_last_one_is_forgotten_is_notified(
    database: Database, superuser: Driver, authors: list[int]
) -> None:
    async with live(database) as events:
        async with stream_of(events, EVERYTHING_PUBLISHED):
            await until(lambda: events.listener.is_listening)
        for turns in range(12):
            async with stream_of(events, EVERYTHING_PUBLISHED):
                pass
            for _ in range(turns):  # the listener releases the lock meanwhile
                await asyncio.sleep(0)
            async with stream_of(events, EVERYTHING_PUBLISHED) as again:
                post = await insert_post(superuser, authors[0])
                while await rows_of(again, 1) != [post]:
                    pass
