"""One HTTP/1.1 connection of a client, at the level of bytes, because it must be able to end during a request."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import orjson

ANSWER_LIMIT_S = 25.0  # the server's own deadline is 15 s
IDLE_MAX_S = 3.0  # the server closes a connection that is idle for 5 s


class BrokenError(Exception):
    """The connection ended before the response was complete."""


class UnansweredError(Exception):
    """No complete response arrived within the time limit."""


class AbortedError(Exception):
    """The client closed the connection on purpose before the response was complete."""


@dataclass(frozen=True)
class Answer:
    """A response: its status, and the JSON object in its body."""

    status: int
    content: dict[str, Any]


class Wire:
    """A connection that is kept between requests, and opened again after it has ended."""

    def __init__(self, port: int, limit_s: float = ANSWER_LIMIT_S) -> None:
        """Connect to `port` of 127.0.0.1 at the first request; wait at most `limit_s` for a response."""
        self._port, self._limit_s = port, limit_s
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._used_at = 0.0

    async def request(self, body: bytes, token: str | None, *, abort_after_s: float | None = None) -> Answer:
        """Send one request, and return its response.

        Args:
            body: the JSON of the request.
            token: the caller's access token, or None.
            abort_after_s: the time after which the client closes the connection on purpose.

        Raises:
            BrokenError, UnansweredError, AbortedError: see these classes. The connection is closed.
        """
        limit = self._limit_s if abort_after_s is None else abort_after_s
        try:
            async with asyncio.timeout(limit):
                return await self._send(body, token)
        except TimeoutError:
            self.close()
            if abort_after_s is None:
                raise UnansweredError from None
            raise AbortedError from None
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            self.close()
            raise BrokenError(f"{type(error).__name__}: {error}") from error

    async def _send(self, body: bytes, token: str | None) -> Answer:
        if time.monotonic() - self._used_at > IDLE_MAX_S:
            self.close()
        if self._ends is None:
            self._ends = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._ends
        self._used_at = time.monotonic()
        bearer = b"authorization: Bearer %b\r\n" % token.encode() if token else b""
        head = b"POST /graphql HTTP/1.1\r\nhost: soak\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
        writer.write(head % (bearer, len(body)) + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        content = orjson.loads(await reader.readexactly(int(headers["content-length"])))
        self._used_at = time.monotonic()
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(lines[0].split()[1]), content)

    def close(self) -> None:
        """Close the connection at once, also during a request."""
        if self._ends is not None:
            self._ends[1].transport.abort()
            self._ends = None


async def page(port: int, path: str) -> str:
    """Return the response to a GET of `path`, on a new connection."""
    async with asyncio.timeout(ANSWER_LIMIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nhost: soak\r\nconnection: close\r\n\r\n".encode())
            return (await reader.read()).decode()
        finally:
            writer.close()
