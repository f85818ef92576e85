"""The stream of one subscriber: the events of a subject in order, each once, from the log or from the feed.

A stream reads the log in pages until it has reached the position of the feed, and from then on takes what the feed
reads for all of its subscribers. Both read the same log in the same order, and the stream passes on only events after
its own position. So there is no gap and no double between missed and live events.

What the feed passes is kept in a queue of bounded length. A stream whose queue is full drops it, leaves the feed, and
reads the log again from its own position: a burst of events does not end it, and takes no memory. If its owner has not
taken an event for a while, it is ended instead.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Protocol, Self

from db.errors import Unavailable
from db.events.topics import EventPage, EventsExpiredError, LoggedEvent, Position, Subject, cursor_of

QUEUE_MAX = 256
PAGE_MAX = 256
# How long the owner of a stream may leave events untaken, if the queue is full.
UNTAKEN_MAX_S = 15.0
# The wait before a read is repeated while the database is away: at first, and at most, in seconds.
RETRY_FIRST_S, RETRY_MAX_S = 0.05, 2.0


class EndReason(Enum):
    """Why a stream has ended."""

    DROPPED = "dropped"
    EXPIRED = "expired"
    STOPPED = "stopped"


class StreamEndedError(Exception):
    """The stream has ended for a reason of the server.

    Attributes:
        reason: the reason.
    """

    def __init__(self, reason: EndReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Source(Protocol):
    """What a stream needs of the feed of its subject.

    Attributes:
        subject: the subject.
    """

    subject: Subject

    @property
    def position(self) -> Position:
        """All events up to here were passed to the streams that had joined."""
        ...

    def attach(self, stream: "EventStream") -> None:
        """Note a stream that was opened."""
        ...

    def join(self, stream: "EventStream") -> None:
        """Pass the stream all events after the current position, by `offer`."""
        ...

    def leave(self, stream: "EventStream") -> None:
        """Pass the stream no more events."""
        ...

    def release(self, stream: "EventStream | None") -> None:
        """Note that a stream was closed."""
        ...

    async def read(self, after: Position, limit: int) -> EventPage:
        """Read the log, as `EventLog.read`."""
        ...


class EventStream:
    """The events of a subject after a position: `async for event in stream`, then `close`, in any case.

    Attributes:
        subject: the subject.
        position: the position of the last event that was passed on, or where the stream began.
        is_resumed: whether it began at a cursor.
        untaken_max_s: see UNTAKEN_MAX_S.
    """

    def __init__(self, feed: Source, after: Position | None) -> None:
        """Begin at the position `after`, or now if it is None."""
        self._feed = feed
        self.subject = feed.subject
        self.is_resumed = after is not None
        self.untaken_max_s = UNTAKEN_MAX_S
        self.position = feed.position if after is None else after
        self._read_to = self.position
        self._read = deque[LoggedEvent]()
        self._joined_at: Position | None = None
        self._live = deque[LoggedEvent]()
        self._waiter: asyncio.Future[None] | None = None
        self._reason: EndReason | None = None
        self._is_closed = False
        self._taken_at = asyncio.get_running_loop().time()
        feed.attach(self)
        if after is None:
            self._join()

    def cursor(self, event: LoggedEvent) -> str:
        """Return the cursor of an event of this stream."""
        return cursor_of(self.subject, event.position)

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> LoggedEvent:
        """Wait for the next event, and return it.

        One task at a time may wait. It may be cancelled; the next call continues where it was.

        Raises:
            StreamEndedError: the server has ended the stream.
            StopAsyncIteration: it was closed.
        """
        while not self._is_closed:
            if self._reason is not None:
                raise StreamEndedError(self._reason)
            self._taken_at = asyncio.get_running_loop().time()
            event = self._next()
            if event is not None:
                self.position = event.position
                return event
            if self._is_behind:
                await self._read_again()
            else:
                await self._wait()
        raise StopAsyncIteration

    async def read_first(self) -> None:
        """Read the first page of a resumed stream, to see whether the cursor is valid.

        Raises:
            EventsExpiredError: it is too old.
            Unavailable: the database does not answer.
        """
        self._take(await self._feed.read(self._read_to, PAGE_MAX))

    def close(self) -> None:
        """Leave the feed, and free everything. A second call does nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._feed.release(self)
            self._read.clear()
            self._live.clear()
            self._wake()

    # ------------------------------------------------------------ called by the feed

    def offer(self, events: Sequence[LoggedEvent]) -> None:
        """Take events that the feed has read."""
        if len(self._live) + len(events) <= QUEUE_MAX:
            self._live.extend(events)
        elif self._waiter is None and asyncio.get_running_loop().time() - self._taken_at > self.untaken_max_s:
            self.end(EndReason.DROPPED)
        else:
            if not self._is_behind:
                first = self._live[0] if self._live else events[0]
                self._read_to = max(self._read_to, first.position.before)
            self._live.clear()
            self._joined_at = None
            self._feed.leave(self)
        self._wake()

    def end(self, reason: EndReason) -> None:
        """End the stream: its owner gets the reason instead of a further event."""
        self._reason = self._reason or reason
        self._feed.leave(self)
        self._live.clear()
        self._read.clear()
        self._wake()

    # ------------------------------------------------------------ the two sources

    @property
    def _is_behind(self) -> bool:
        """Whether events up to the position at which the stream joined the feed are still in the log alone."""
        return self._joined_at is None or self._read_to < self._joined_at

    def _join(self) -> None:
        self._joined_at = self._feed.position
        self._feed.join(self)

    def _next(self) -> LoggedEvent | None:
        if self._read:
            return self._read.popleft()
        while self._live and not self._is_behind:
            event = self._live.popleft()
            if event.position > max(self.position, self._read_to):
                return event
        return None

    def _take(self, page: EventPage) -> None:
        self._read.extend(page.events)
        self._read_to = page.position
        if page.is_complete and self._joined_at is None:
            self._join()
        elif page.is_complete and self._joined_at is not None:
            # It was read after the feed's own read, so that it had all events up to where the stream joined.
            self._read_to = max(self._read_to, self._joined_at)

    async def _read_again(self) -> None:
        try:
            self._take(await repeated(lambda: self._feed.read(self._read_to, PAGE_MAX)))
        except EventsExpiredError:
            self.end(EndReason.EXPIRED)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


async def repeated(read: Callable[[], Awaitable[EventPage]]) -> EventPage:
    """Return the result of a read, repeated until the database answers.

    Raises:
        EventsExpiredError: `read` raised it.
    """
    wait_s = RETRY_FIRST_S
    while True:
        try:
            return await read()
        except Unavailable:
            await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, RETRY_MAX_S)
