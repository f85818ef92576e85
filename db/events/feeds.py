"""The feed of one subject: it reads the log when it is woken, and passes each event to all of its streams.

A feed exists as long as a stream of its subject is open, and has a task only while there is something to read. It reads
after its own position, in order, in pages. Where events of an unfinished order remain, it tries again soon
(`db.events.log`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from db.errors import Unavailable
from db.events.log import EventLog
from db.events.streams import PAGE_MAX, RETRY_FIRST_S, RETRY_MAX_S, EndReason, EventStream
from db.events.topics import EventPage, EventsExpiredError, Position, Subject

logger = logging.getLogger(__name__)

# The wait for an older transaction that is still open: at first, and at most, in seconds.
PENDING_FIRST_S, PENDING_MAX_S = 0.02, 1.0
READS_AT_ONCE_MAX = 2

Work = Callable[[], Awaitable[None]]
Spawn = Callable[[Work], "asyncio.Task[None]"]
"""Runs work in a task that the process owns."""


class Feed:
    """The feed of one subject. `db.events.hub` makes one for each subject with a stream.

    Attributes:
        subject: the subject.
        position: all events up to here were passed to the streams that had joined; only after `start`.
    """

    position: Position

    def __init__(
        self,
        subject: Subject,
        log: EventLog,
        reading: asyncio.Semaphore,
        spawn: Spawn,
        on_unused: Callable[["Feed"], None],
    ) -> None:
        """Make the feed.

        Args:
            subject: the subject.
            log: reads the events.
            reading: bounds the reads of all feeds.
            spawn: runs the reads.
            on_unused: is called after the last stream was closed.
        """
        self.subject = subject
        self._holds = 0
        self._log = log
        self._reading = reading
        self._spawn = spawn
        self._on_unused = on_unused
        self._open: set[EventStream] = set()
        self._joined: set[EventStream] = set()
        self._is_started = False
        self._is_woken = False
        self._task: asyncio.Task[None] | None = None

    @property
    def holders(self) -> int:
        """The number of open streams."""
        return len(self._open)

    @property
    def is_started(self) -> bool:
        """Whether it has a position."""
        return self._is_started

    async def start(self) -> None:
        """Begin now.

        Raises:
            Unavailable: the database does not answer.
        """
        position = await self._log.now(self.subject)
        if not self._is_started:
            self._is_started = True
            self.position = position
            if self._is_woken:
                self.wake()

    def hold(self) -> None:
        """Note that a stream is about to be opened: the feed exists until `release`."""
        self._holds += 1

    def attach(self, stream: EventStream) -> None:
        """Note the stream that was opened."""
        self._open.add(stream)

    def release(self, stream: EventStream | None) -> None:
        """Note that a stream was closed, or could not be opened (None)."""
        self._holds -= 1
        if stream is not None:
            self._open.discard(stream)
            self._joined.discard(stream)
        if not self._holds:
            self._on_unused(self)
            if self._task is not None:
                self._task.cancel()

    def join(self, stream: EventStream) -> None:
        """Pass the stream all events after the current position, by `EventStream.offer`."""
        self._joined.add(stream)

    def leave(self, stream: EventStream) -> None:
        """Pass the stream no more events."""
        self._joined.discard(stream)

    def stop(self) -> None:
        """End all streams: the process stops."""
        for stream in list(self._open):
            stream.end(EndReason.STOPPED)

    async def read(self, after: Position, limit: int) -> EventPage:
        """Read the log, as `EventLog.read`, not too often at once."""
        async with self._reading:
            return await self._log.read(self.subject, after, limit)

    def advance(self, position: Position) -> None:
        """Note that the log has no events up to a position, apart from those up to the current one."""
        self.position = max(self.position, position)

    def wake(self) -> None:
        """Read what is new. A feed that reads already reads once more."""
        self._is_woken = True
        if self._is_started and self._task is None and self._holds:
            self._task = self._spawn(self._follow)

    async def _follow(self) -> None:
        """Read until nothing is left to read."""
        retry_s, pending_s = RETRY_FIRST_S, PENDING_FIRST_S
        try:
            while self._is_woken:
                self._is_woken = False
                try:
                    page = await self.read(self.position, PAGE_MAX)
                except Unavailable:
                    self._is_woken = True
                    await asyncio.sleep(retry_s)
                    retry_s = min(2 * retry_s, RETRY_MAX_S)
                    continue
                except EventsExpiredError:
                    await self._restart()
                    continue
                retry_s = RETRY_FIRST_S
                self._give(page)
                if not page.is_complete:
                    self._is_woken = True
                elif page.is_pending:
                    self._is_woken = True
                    await asyncio.sleep(pending_s)
                    pending_s = PENDING_FIRST_S if page.events else min(2 * pending_s, PENDING_MAX_S)
        finally:
            self._task = None

    def _give(self, page: EventPage) -> None:
        self.position = page.position
        if page.events:
            for stream in list(self._joined):
                stream.offer(page.events)

    async def _restart(self) -> None:
        """Begin again now, after events were deleted before they were read. The streams end with this reason."""
        logger.warning("events of %s were deleted before they were read", self.subject.topic.value)
        for stream in list(self._joined):
            stream.end(EndReason.EXPIRED)
        try:
            self.position = await self._log.now(self.subject)
        except Unavailable:
            self._is_woken = True  # the next read finds the same
