"""How much runs at once, how long, and for whom: the cap, the deadline, and the budgets of cost and of sign-ins.

All of them are of one process: behind several workers each has its own, so that what is allowed in all is their sum.
"""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from starlette.types import Receive

from db.settings import Settings
from graph.analysis.limits import COST_PER_MS
from graph.http.admission import time_limits
from graph.http.admission.budgets import WINDOW_S, Budget, spending_address
from graph.http.admission.time_limits import TimeLimit, Timers
from graph.http.parsing.requests import HttpRefused
from graph.operations.dispatch import OUTCOME_UNKNOWN
from graph.runtime.worker_thread import Stopwatch

# Before that an operation is not worth a look at whether its client is still there.
WATCH_AFTER_S = 0.2

# Whose budget it is, in messages.
OF_CALLER = "a minute"
OF_ADDRESS = "a minute for all of this address"


class Deadline(TimeLimit):
    """What is left of the time of one request, which also ends, where it may be abandoned, when its client has left."""

    __slots__ = ("_abandons", "_due", "_final", "_is_gone", "_receive", "_watcher")

    def __init__(self, timers: Timers, after_s: float, started: float, receive: Receive, *, abandon: bool) -> None:
        super().__init__(timers, after_s)  # the timers are of its first while
        self._due = started + after_s
        # A mutation is not abandoned: what it was sent for is to happen, and its answer can be asked for.
        self._abandons = abandon
        self._receive = receive
        self._final: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._is_gone = False

    def __enter__(self) -> Self:
        """Begin.

        Raises:
            HttpRefused: 503: what came before has taken all the time.
        """
        entered = super().__enter__()
        if self._due <= asyncio.get_running_loop().time():
            self.stop()
            raise self._refusal(None)
        return entered

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave.

        Raises:
            HttpRefused: 503 for the deadline; nobody is there to read what is raised for a client that left.
        """
        self.stop()
        if self._final is None and not self._is_over:
            return
        try:
            super().__exit__(kind, error, trace)
        except TimeoutError:
            raise self._refusal(error) from None

    def stop(self) -> None:
        """Take no more time."""
        if self._final is None and not self._is_over:
            self._timers.pending.pop(self, None)  # it lasted for less than the first while
            return
        if self._watcher is not None:
            self._watcher.cancel()
        if self._final is not None:
            self._final.cancel()

    def _refusal(self, error: BaseException | None) -> HttpRefused:
        if self._is_gone:
            # Who has sent its last byte may still read (TCP's half-close), for which the protocol gives it some time.
            message = f"the client has left, or sent its last byte more than {time_limits.HALF_CLOSED_S:g} s ago"
            message += "; leave the connection open until the answer is there"
            return HttpRefused(499, "CLIENT_CLOSED_REQUEST", message)
        message = f"the operation took longer than {self.after_s:g} s"
        if error is not None and OUTCOME_UNKNOWN in error.args:
            # Nothing that says "try again": the client should look first.
            message += ", and its write may have happened: check before you send it again"
            return HttpRefused(503, "DEADLINE_EXCEEDED", message, outcome_unknown=True)
        message += "; ask for less"
        return HttpRefused(503, "DEADLINE_EXCEEDED", message, {"retry-after": "1"})

    def passed(self) -> None:
        """Start a timer of its own after the first interval, for which all requests share one: few last longer."""
        loop = asyncio.get_running_loop()
        left_s = self._due - loop.time()
        if left_s <= 0:
            self._end()
            return
        self._final = loop.call_later(left_s, self._end)
        if self._abandons:
            self._watcher = loop.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._is_gone = True
        self._end()


D = TypeVar("D", bound=Deadline)


class AdmissionControl:
    """The limits on what runs.

    Attributes:
        parked: says how many of the requests in flight wait in a line of their own, and so take no slot meanwhile.
    """

    def __init__(self, settings: Settings) -> None:
        self.parked: Callable[[], int] = lambda: 0
        self._in_flight = 0
        self._in_flight_max = settings.operations_in_flight_max
        self._deadline_s = settings.operation_deadline_ms / 1000
        self._timers = Timers(min(self._deadline_s, WATCH_AFTER_S))
        self._caller_budget = Budget(settings.cost_per_minute_max)
        self._address_budget = Budget(settings.cost_per_minute_per_address_max)
        self._password_budget = Budget(settings.passwords_per_minute_per_address_max)

    @property
    def in_flight(self) -> int:
        """How many requests are being answered."""
        return self._in_flight

    @property
    def is_full(self) -> bool:
        """Whether as many requests are being answered as there may be."""
        return self._in_flight >= self._in_flight_max and self._in_flight - self.parked() >= self._in_flight_max

    def enter(self) -> None:
        """Count one request as in flight, until it leaves.

        Raises:
            HttpRefused: 503: there are as many as there may be.
        """
        if self.is_full:
            message = f"{self._in_flight} requests are being answered already; try again shortly"
            raise HttpRefused(503, "OVERLOADED", message, {"retry-after": "1"})
        self._in_flight += 1

    def leave(self) -> None:
        """Count one request less."""
        self._in_flight -= 1

    def deadline(self, started: float, receive: Receive, *, abandon: bool) -> Deadline:
        """Return what is left of the time of a request that came at `started`, by the event loop's clock.

        It ends too, where it may be abandoned, when the client has left.
        """
        return Deadline(self._timers, self._deadline_s, started, receive, abandon=abandon)

    def deadline_of(self, kind: type[D], started: float, receive: Receive) -> D:
        """Return the same for what may be abandoned, of a kind of its own."""
        return kind(self._timers, self._deadline_s, started, receive, abandon=True)

    def charge(self, cost: int, *, user_id: int | None, address: str) -> None:
        """Take `cost` from two budgets of the minute at once, or from neither.

        One is the caller's: the user's, from wherever they call, or where nobody is signed in the address's. The other
        is larger, and what all callers of an address share: a user's many sessions do not add up there, nor do many
        users of one who makes them up.

        Raises:
            HttpRefused: 429 where a budget does not reach, with when it will (RateLimit header fields, IETF draft).
        """
        caller, address = _spenders(user_id, address)
        taken, now = max(cost, 1), time.time()
        if not self._caller_budget.take(caller, taken, now):
            raise _rate_limited(self._caller_budget, caller, taken, now, f"this costs {cost}, and {{}} {OF_CALLER}")
        if not self._address_budget.take(address, taken, now):
            self._caller_budget.give_back(caller, taken)
            raise _rate_limited(self._address_budget, address, taken, now, f"this costs {cost}, and {{}} {OF_ADDRESS}")

    def charge_password(self, address: str) -> None:
        """Take one from what all callers of an address may ask that needs a password.

        Raises:
            HttpRefused: 429 where nothing is left.
        """
        budget, spender, now = self._password_budget, spending_address(address), time.time()
        if not budget.take(spender, 1, now):
            message = f"this operation counts as a sign-in, and {{}} {OF_ADDRESS}"
            raise _rate_limited(budget, spender, 1, now, message, "sign-in")

    def caller(self, *, user_id: int | None, address: str) -> str:
        """Return by what a caller is known: the user, or where nobody is signed in the address."""
        return _spenders(user_id, address)[0]

    def ensure_budget(self, what: str, *, user_id: int | None, address: str) -> None:
        """Raise HttpRefused, 429, where nothing is left: before something is read that has no price yet."""
        caller, _ = _spenders(user_id, address)
        now = time.time()
        if not self._caller_budget.has(caller, 1, now):
            raise _rate_limited(self._caller_budget, caller, 1, now, f"{what}, and {{}} {OF_CALLER}")
        self.ensure_budget_of_address(what, address)

    def ensure_budget_of_address(self, what: str, address: str) -> None:
        """Raise HttpRefused, 429, where all callers of an address have nothing left: who asks is not known yet."""
        budget, spender, now = self._address_budget, spending_address(address), time.time()
        if not budget.has(spender, 1, now):
            raise _rate_limited(budget, spender, 1, now, f"{what}, and {{}} {OF_ADDRESS}")

    def charge_work(self, watch: Stopwatch, user_id: int | None, address: str, *, at_least: int) -> None:
        """Take what the work of `watch` costs, as far as the budgets reach: it is done, and its answer is told.

        It is counted in tenths of a millisecond, and the watch begins anew.
        """
        tenths = int(watch.lap() * 10_000)
        cost = max(tenths * COST_PER_MS // 10, at_least)
        if cost:
            caller, address = _spenders(user_id, address)
            now = time.time()
            self._caller_budget.spend(caller, cost, now)
            self._address_budget.spend(address, cost, now)


def _rate_limited(
    budget: Budget, spender: str, cost: int, now: float, message: str, policy: str = "cost"
) -> HttpRefused:
    """Return the refusal of what a budget does not reach for; `message` has a gap for what is left of it."""
    left, seconds = budget.left(spender, now), budget.wait_s(spender, cost, now)
    return HttpRefused(
        429,
        "RATE_LIMITED",
        f"{message.format(f'{left} of {budget.per_minute}')} are left; wait {seconds} s",
        {
            "retry-after": str(seconds),
            "ratelimit-policy": f'"{policy}";q={budget.per_minute};w={WINDOW_S}',
            "ratelimit": f'"{policy}";r={left};t={seconds}',
        },
    )


def _spenders(user_id: int | None, address: str) -> tuple[str, str]:
    known = spending_address(address)
    return known if user_id is None else f"user {user_id}", known
