"""The response that is a stream of events (server-sent events, https://html.spec.whatwg.org/#server-sent-events)."""

import asyncio
from collections import deque
from contextlib import suppress

from starlette.types import Send

from graph.http.live.limits import MESSAGES_WAITING_MAX
from graph.http.responses.response import SECURITY_HEADERS, VARY, Response

# Some browsers wait for a first byte; afterwards it shows proxies and both ends that the connection is alive.
COMMENT = b":\n\n"
HEADERS = {
    **SECURITY_HEADERS,
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "vary": VARY,
    "x-accel-buffering": "no",  # nginx would collect the events
}


def next_event(data: bytes) -> bytes:
    """Return the event with a result, which is JSON and so has no line breaks."""
    return b"event: next\ndata: %b\n\n" % data


def complete_event(data: bytes = b"") -> bytes:
    """Return the event after the last result. Without a `data` field, EventSource would not pass it on."""
    return b"event: complete\ndata: %b\n\n" % data


class EventStream:
    """One stream: operations put events, and one task writes them as the client reads them."""

    def __init__(self, ping_s: float) -> None:
        """Make a stream that sends a comment after each silence of `ping_s` seconds."""
        self._ping_s = ping_s
        self._waiting: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._has_room = asyncio.Event()
        self.is_over = False

    async def put(self, event: bytes) -> None:
        """Put an event behind those that wait, when there is room for it."""
        while len(self._waiting) >= MESSAGES_WAITING_MAX and not self.is_over:
            self._has_room.clear()
            await self._has_room.wait()
        self.put_now(event)

    def put_now(self, event: bytes) -> None:
        """Put an event behind those that wait, unless the stream has ended."""
        if not self.is_over:
            self._waiting.append(event)
            self._changed.set()

    def end(self) -> None:
        """End the stream behind the events that wait."""
        self.is_over = True
        self._changed.set()
        self._has_room.set()

    async def write(self, send: Send, answer: Response, request_id: str) -> None:
        """Send the response until the stream ends. `answer` has further headers."""
        headers = {**HEADERS, **answer.headers, "x-request-id": request_id}
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        await send({"type": "http.response.body", "body": COMMENT, "more_body": True})
        while True:
            while self._waiting:
                events = b"".join(self._waiting)
                self._waiting.clear()
                self._has_room.set()
                await send({"type": "http.response.body", "body": events, "more_body": True})
            if self.is_over:
                break
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._ping_s):
                    await self._changed.wait()
            if not self._waiting and not self.is_over:
                await send({"type": "http.response.body", "body": COMMENT, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
