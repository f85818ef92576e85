"""The events of a stream that a viewer receives, each as the object that the root field of a subscription returns.

Which events of a subject a viewer receives depends on the log and the viewer alone, not on the moment at which it is
read, so that a resumed subscription gets what it has missed. An event of a post that was a draft before and afterwards
is an event for its author and for administrators alone: other viewers must not learn that a draft exists, or was
changed. An event that makes a post a draft, or deletes it, is one for all, and its row is null for those who cannot see
it any more. The row itself is read when the event is sent, with the rights of the viewer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self

from db.access import Viewer
from db.errors import Unavailable
from db.events import EventStream, LoggedEvent

# The wait before a read is repeated while the database is away: at first, and at most, in seconds.
RETRY_FIRST_S, RETRY_MAX_S = 0.05, 2.0

CURSOR, ROW_ID, CREATED_AT = "cursor", "row_id", "created_at"
"""The columns of an event's object: all types of events have the same."""


class LiveEvents:
    """An asynchronous iterator of the events of `stream`.

    Attributes:
        field: the name of the root field.
        stream: the stream; who closes it ends the iterator.
    """

    def __init__(
        self,
        field: str,
        stream: EventStream,
        shows: Callable[[LoggedEvent], Awaitable[bool]],
        made: Callable[[dict[str, Any]], Any],
    ) -> None:
        """Make the iterator.

        Args:
            field: the name of the root field.
            stream: the stream.
            shows: whether the viewer receives an event. It is called again if the database does not answer.
            made: makes the object of an event from its columns.
        """
        self.field = field
        self.stream = stream
        self._shows = shows
        self._made = made
        self._event: LoggedEvent | None = None

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> Any:
        """Return the object of the next event that the viewer receives. It may be cancelled, and called again.

        Raises:
            StreamEndedError: the server has ended the stream.
            StopAsyncIteration: the stream was closed.
        """
        while True:
            if self._event is None:
                self._event = await anext(self.stream)
            is_shown, event = await self._is_shown(self._event), self._event
            self._event = None
            if is_shown:
                columns = {CURSOR: self.stream.cursor(event), ROW_ID: event.row_id, CREATED_AT: event.created_at}
                return self._made(columns)

    async def _is_shown(self, event: LoggedEvent) -> bool:
        wait_s = RETRY_FIRST_S
        while True:
            try:
                return await self._shows(event)
            except Unavailable:
                await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, RETRY_MAX_S)


def is_event_for(viewer: Viewer, event: LoggedEvent) -> bool:
    """Return whether a viewer could see the post of an event, either before or afterwards."""
    return event.was_public or event.is_public or viewer.is_admin or viewer.user_id == event.author_id
