"""How much runs at once, how long, and for whom: the cap, the deadline and the budgets of cost.

All three are of one process: behind several workers each has its own, so that what is allowed in all is their sum.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from starlette.types import Receive

from db.settings import Settings
from graph.engines import OUTCOME_UNKNOWN
from graph.http.budgets import WINDOW_S, Budget
from graph.http.requests import HttpRefused
from graph.limits import REFUSED_COST

# Before that an operation is not worth a look at whether its client is still there.
WATCH_AFTER_S = 0.2


class Gate:
    """The limits on what runs."""

    def __init__(self, settings: Settings) -> None:
        self._in_flight = 0
        self._in_flight_max = settings.operations_in_flight_max
        self._deadline_s = settings.operation_deadline_ms / 1000
        self._caller_budget = Budget(settings.cost_per_minute_max)
        self._address_budget = Budget(settings.cost_per_minute_per_address_max)

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
        """Take `cost` from two budgets of the minute at once, or from neither.

        One is the caller's: the user's, from wherever they call, or where nobody is signed in the address's. The other
        is larger, and what all callers of an address share: a user's many sessions do not add up there, nor do many
        users of one who makes them up.

        Raises:
            HttpRefused: 429 where a budget does not reach, with when it will (RateLimit header fields, IETF draft).
        """
        caller = address if user_id is None else user_id
        self._demand(max(cost, 1), caller, address, f"this costs {cost}")
        self._caller_budget.spend(caller, max(cost, 1))
        self._address_budget.spend(address, max(cost, 1))

    def demand_budget(self, *, user_id: int | None, address: str) -> None:
        """Raise HttpRefused, 429, where nothing is left: before a document is parsed that has no price yet."""
        self._demand(1, address if user_id is None else user_id, address, "this is a new document")

    def charge_refused(self, *, user_id: int | None, address: str) -> None:
        """Take what a refused document costs, as far as the budgets reach: the work is done, and its answer is told."""
        self._caller_budget.spend(address if user_id is None else user_id, REFUSED_COST)
        self._address_budget.spend(address, REFUSED_COST)

    def _demand(self, cost: int, caller: int | str, address: str, what: str) -> None:
        for budget, spender, whose in (
            (self._caller_budget, caller, "a minute"),
            (self._address_budget, address, "a minute for all of this address"),
        ):
            if not budget.has(spender, cost):
                left, seconds = budget.left(spender), budget.wait_s(spender, cost)
                raise HttpRefused(
                    429,
                    "RATE_LIMITED",
                    f"{what}, and {left} of {budget.per_minute} {whose} are left; wait {seconds} s",
                    {
                        "retry-after": str(seconds),
                        "ratelimit-policy": f'"cost";q={budget.per_minute};w={WINDOW_S}',
                        "ratelimit": f'"cost";r={left};t={seconds}',
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
        except TimeoutError as error:
            if gone:
                raise HttpRefused(499, "CLIENT_CLOSED_REQUEST", "the client went away") from None
            message = f"the operation took longer than {self._deadline_s:g} s"
            if error.__cause__ is not None and OUTCOME_UNKNOWN in error.__cause__.args:
                # Nothing that says "try again": the client should look first.
                message += ", and its write may have happened: look before you send it again"
                raise HttpRefused(503, "DEADLINE_EXCEEDED", message, outcome_unknown=True) from None
            message += "; ask for less"
            raise HttpRefused(503, "DEADLINE_EXCEEDED", message, {"retry-after": "1"}) from None
