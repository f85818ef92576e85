"""How much runs at once, how long, and for whom: the cap, the deadline and the budgets of cost.

All three are of one process: behind several workers each has its own, so that what is allowed in all is their sum.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.types import Receive

from db.settings import Settings
from graph.http.requests import HttpRefused

# Before that an operation is not worth a look at whether its client is still there.
WATCH_AFTER_S = 0.2


class Gate:
    """The limits on what runs."""

    def __init__(self, settings: Settings) -> None:
        self._in_flight = 0
        self._in_flight_max = settings.operations_in_flight_max
        self._deadline_s = settings.operation_deadline_ms / 1000
        self._budget = settings.cost_per_minute_max
        self._per_minute = RateLimitItemPerMinute(max(self._budget, 1))
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    @property
    def in_flight(self) -> int:
        """How many requests are being answered."""
        return self._in_flight

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Count one request as in flight.

        Raises:
            HttpRefused: 503: there are as many as there may be.
        """
        if self._in_flight >= self._in_flight_max:
            message = f"{self._in_flight} requests are being answered already; try again shortly"
            raise HttpRefused(503, "OVERLOADED", message, {"retry-after": "1"})
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    def charge(self, cost: int, *, user_id: int | None, address: str) -> None:
        """Take `cost` from the minute's budget of the user, or of the address where nobody is signed in.

        Raises:
            HttpRefused: 429 where the budget does not reach, with when it will (RateLimit header fields, IETF draft).
        """
        if not self._budget:
            return
        whose = ("user", str(user_id)) if user_id is not None else ("address", address)
        if self._limiter.hit(self._per_minute, *whose, cost=max(cost, 1)):
            return
        window = self._limiter.get_window_stats(self._per_minute, *whose)
        seconds = max(1, round(window.reset_time - time.time()))
        message = f"this costs {cost}, and {window.remaining} of {self._budget} a minute are left; wait {seconds} s"
        raise HttpRefused(
            429,
            "RATE_LIMITED",
            message,
            {
                "retry-after": str(seconds),
                "ratelimit-policy": f'"cost";q={self._budget};w=60',
                "ratelimit": f'"cost";r={window.remaining};t={seconds}',
            },
        )

    @asynccontextmanager
    async def deadline(self, receive: Receive, *, abandon: bool) -> AsyncIterator[None]:
        """Cancel what runs inside when its time is up, or, where it may be abandoned, when its client has left.

        Raises:
            HttpRefused: 503 for the deadline; nobody is there to read what is raised for a client that left.
        """
        loop = asyncio.get_running_loop()
        watchers: list[asyncio.Task[None]] = []
        gone = False

        async def watch() -> None:
            nonlocal gone
            while (await receive())["type"] != "http.disconnect":
                pass
            gone = True
            limit.reschedule(loop.time())

        def start_watching() -> None:
            # A mutation is not abandoned: what it was sent for is to happen, and its answer can be asked for.
            if abandon:
                watchers.append(loop.create_task(watch()))

        try:
            async with asyncio.timeout(self._deadline_s) as limit:
                timer = loop.call_later(WATCH_AFTER_S, start_watching)
                try:
                    yield
                finally:
                    timer.cancel()
                    for watcher in watchers:
                        watcher.cancel()
        except TimeoutError:
            if gone:
                raise HttpRefused(499, "CLIENT_CLOSED_REQUEST", "the client went away") from None
            message = f"the operation took longer than {self._deadline_s:g} s; ask for less"
            raise HttpRefused(503, "DEADLINE_EXCEEDED", message, {"retry-after": "1"}) from None
