"""All live updates of a process: its feeds, its listener, and the slow poll that makes good what a notification missed.

A notification says only that something has happened to a subject, and wakes its feed, which reads the log. If
notifications were lost, because the listener's connection broke or the database restarted, all feeds are woken as soon
as it listens again. One statement every POLL_S looks for news of all subjects besides, so that events arrive even where
notifications never do, and where a transaction had written before its subject was followed. The listener connects when
the first stream is opened.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from contextvars import Context

from db.connections.database import Database
from db.connections.faults import UNAVAILABLE
from db.errors import Unavailable
from db.events.feeds import READS_AT_ONCE_MAX, Feed, Work
from db.events.listener import Listener, Lock, lock_of
from db.events.log import EventLog
from db.events.streams import EventStream
from db.events.topics import ALL, EventTopic, Subject, position_of

logger = logging.getLogger(__name__)

POLL_S = 3.0
_TOPICS = {topic.value: topic for topic in EventTopic}


class Events:
    """The live updates of one process. Streams can be opened within the block of `running`.

    Attributes:
        feeds: the feed of each subject that has an open stream.
        listener: the connection that listens.
        poll_s: the time between two polls, in seconds.
    """

    def __init__(self, database: Database) -> None:
        self.feeds: dict[Subject, Feed] = {}
        self.listener = Listener(database, lambda: self.feeds, self._notified, self._wake)
        self.poll_s = POLL_S
        self._log = EventLog(database)
        self._reading = asyncio.Semaphore(READS_AT_ONCE_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_needed = asyncio.Event()
        self._is_running = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the logs within the block. At its end all streams are ended, and all tasks."""
        self._is_running = True
        self._spawn(self._listen)
        self._spawn(self._poll)
        try:
            yield
        finally:
            self._is_running = False
            for feed in self.feeds.values():
                feed.stop()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def open(self, subject: Subject, after: str | None = None) -> EventStream:
        """Open a stream of the events of a subject. The caller must close it.

        Args:
            subject: the subject.
            after: the cursor of an event: the stream begins with the next one. Without it the stream begins now.

        Raises:
            CursorError: `after` is not a cursor of this subject.
            EventsExpiredError: events after the cursor were deleted, or it belongs to another history.
            Unavailable: the database does not answer.
        """
        if not self._is_running:
            raise Unavailable(UNAVAILABLE, "this server is stopping; try again shortly")
        position = None if after is None else position_of(subject, after)
        feed = self._held(subject)
        try:
            await self.listener.ensure_followed(subject)
            if not feed.is_started:
                await feed.start()
            stream = EventStream(feed, position)
        except BaseException:
            feed.release(None)
            raise
        if position is not None:
            try:
                await stream.read_first()
            except BaseException:
                stream.close()
                raise
        return stream

    def _held(self, subject: Subject) -> Feed:
        self._is_needed.set()
        feed = self.feeds.get(subject)
        if feed is None:
            feed = self.feeds[subject] = Feed(subject, self._log, self._reading, self._spawn, self._forget)
        feed.hold()
        return feed

    def _forget(self, feed: Feed) -> None:
        if self.feeds.get(feed.subject) is feed:
            del self.feeds[feed.subject]
            self.listener.change()

    # ------------------------------------------------------------ what wakes feeds

    def _notified(self, payload: str) -> None:
        """Wake the feeds that a payload names: `topic:1,2,3`, or only `topic` for all of its subjects."""
        name, _, ids = payload.partition(":")
        if name not in _TOPICS:
            return  # a newer version of the database
        topic = _TOPICS[name]
        named = [Subject(topic, int(one)) for one in ids.split(",")] if ids else []
        for subject in [*named, Subject(topic, ALL)] if ids else [one for one in self.feeds if one.topic is topic]:
            feed = self.feeds.get(subject)
            if feed is not None:
                feed.wake()

    def _wake(self, locks: Collection[Lock]) -> None:
        for subject, feed in self.feeds.items():
            if lock_of(subject) in locks:
                feed.wake()

    async def _listen(self) -> None:
        await self._is_needed.wait()
        await self.listener.run()

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self.poll_s)
            feeds = {subject: feed for subject, feed in self.feeds.items() if feed.is_started}
            if not feeds:
                continue
            try:
                news = await self._log.news({subject: feed.position for subject, feed in feeds.items()})
            except Unavailable:
                continue  # the listener logs it
            for subject, feed in feeds.items():
                if subject in news.subjects:
                    feed.wake()
                elif subject.topic is not EventTopic.ENTRY:
                    feed.advance(news.position)

    # ------------------------------------------------------------ tasks

    def _spawn(self, work: Work) -> asyncio.Task[None]:
        """Run `work` in a task that ends with the block of `running`.

        It starts with an empty context: it must not inherit the request that happened to create it.
        """
        task = asyncio.get_running_loop().create_task(_guarded(work), name="feed", context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _guarded(work: Work) -> None:
    try:
        await work()
    except Exception:
        logger.exception("a task of the live updates has failed")
