"""Admission control: the limit of requests in flight, their deadline, and the budgets of cost and of sign-ins.

All limits apply to one process. With several workers, each one has its own limits, and the total is their sum.
"""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from starlette.types import Receive

from db.settings import Settings
from graph.analysis.limits import COST_PER_MS
from graph.http.admission import time_limits
from graph.http.admission.budgets import WINDOW_S, Budget, spending_address
from graph.http.admission.time_limits import TimeLimit, Timers
from graph.http.parsing.requests import HttpRefused
from graph.operations.dispatch import OUTCOME_UNKNOWN
from graph.runtime.worker_thread import Stopwatch

# Shorter operations do not watch whether their client disconnects: it would cost more than it saves.
WATCH_AFTER_S = 0.2

# The budgets, in messages.
OF_CALLER = "a minute"
OF_ADDRESS = "a minute for all of this address"


class Deadline(TimeLimit):
    """The deadline of one request. A request that may be abandoned also ends when its client disconnects."""

    # A mutation is not abandoned: it must take effect, and the client can query its result later.
    _abandons = True
    _final: asyncio.TimerHandle | None = None
    _watcher: asyncio.Task[None] | None = None
    _is_gone = False

    def __init__(self, timers: Timers, after_s: float, started: float, receive: Receive, *, abandon: bool) -> None:
        super().__init__(timers, after_s)  # the timers measure the first interval only
        self._due = started + after_s
        self._receive = receive
        self._abandons = abandon

    def __enter__(self) -> Self:
        """Start the deadline.

        Raises:
            HttpRefused: 503: earlier steps of the request have used all its time.
        """
        entered = super().__enter__()
        if self._due <= asyncio.get_running_loop().time():
            self.stop()
            raise self._refusal(None)
        return entered

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the deadline.

        Raises:
            HttpRefused: 503: the deadline has passed; 499: the client has disconnected, so that it reads no response.
        """
        self.stop()
        if self._final is None and not self._is_over:
            return
        try:
            super().__exit__(kind, error, trace)
        except TimeoutError:
            raise self._refusal(error) from None

    def stop(self) -> None:
        """Stop all timers."""
        if self._final is None and not self._is_over:
            self._timers.pending.pop(self, None)  # it ended within the first interval
            return
        if self._watcher is not None:
            self._watcher.cancel()
        if self._final is not None:
            self._final.cancel()

    def _refusal(self, error: BaseException | None) -> HttpRefused:
        if self._is_gone:
            # A client that has closed its side may still read (TCP's half-close). The protocol allows it some time.
            message = f"the client disconnected, or closed its side more than {time_limits.HALF_CLOSED_S:g} s ago"
            message += "; keep the connection open until the response arrives"
            return HttpRefused(499, "CLIENT_CLOSED_REQUEST", message)
        message = f"the operation took longer than {self.after_s:g} s"
        if error is not None and OUTCOME_UNKNOWN in error.args:
            # Nothing that says "try again": the client should look first.
            message += ", and its write may have happened: check before you send it again"
            return HttpRefused(503, "DEADLINE_EXCEEDED", message, outcome_unknown=True)
        message += "; request less"
        return HttpRefused(503, "DEADLINE_EXCEEDED", message, {"retry-after": "1"})

    def on_timeout(self) -> None:
        """Start a separate timer after the first interval, for which all requests share one: few last longer."""
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


class Spenders(NamedTuple):
    """Whose budgets a request spends.

    Attributes:
        caller: the user, or the address of an anonymous caller. The shares of the pool belong to the same identity.
        address: the address, as `spending_address` returns it.
    """

    caller: str
    address: str

    @classmethod
    def at(cls, address: str) -> Self:
        """Return the spenders of a request by an anonymous caller from an address."""
        known = spending_address(address)
        return cls(known, known)

    def of_user(self, user_id: int | None) -> "Spenders":
        """Return the spenders of a request from the same address by a user, or by an anonymous caller (None)."""
        return self if user_id is None else Spenders(f"user {user_id}", self.address)


class AdmissionControl:
    """The limits on requests.

    Attributes:
        in_flight: the number of requests in flight.
        parked: returns how many requests in flight wait in a separate queue, and so do not count for the limit.
        deadline_s: how long a request may take.
        timers: the timers of deadlines, for their first interval.
    """

    def __init__(self, settings: Settings) -> None:
        self.parked: Callable[[], int] = lambda: 0
        self.in_flight = 0
        self._in_flight_max = settings.operations_in_flight_max
        self.deadline_s = settings.operation_deadline_ms / 1000
        self.timers = Timers(min(self.deadline_s, WATCH_AFTER_S))
        self._caller_budget = Budget(settings.cost_per_minute_max)
        self._address_budget = Budget(settings.cost_per_minute_per_address_max)
        self._password_budget = Budget(settings.passwords_per_minute_per_address_max)

    def enter(self) -> None:
        """Count one request as in flight, until `leave`.

        Raises:
            HttpRefused: 503: the limit is reached.
        """
        most = self._in_flight_max
        if self.in_flight >= most and self.in_flight - self.parked() >= most:
            message = f"the server already processes {self.in_flight} requests; try again shortly"
            raise HttpRefused(503, "OVERLOADED", message, {"retry-after": "1"})
        self.in_flight += 1

    def leave(self) -> None:
        """Stop counting one request as in flight."""
        self.in_flight -= 1

    def deadline(self, started: float, receive: Receive, *, abandon: bool) -> Deadline:
        """Return the deadline of a request.

        Args:
            started: its arrival in seconds of the event loop's clock.
            receive: returns a message when the client disconnects.
            abandon: whether the request also ends when the client disconnects.
        """
        return Deadline(self.timers, self.deadline_s, started, receive, abandon=abandon)

    def charge(self, cost: int, spenders: Spenders) -> None:
        """Take `cost` from two budgets per minute, or from neither.

        One budget belongs to the caller: to the user, from any address, or to the address of an anonymous caller. The
        other one is larger, and all callers of an address share it, so that neither many sessions of a user nor many
        invented users of one attacker add up.

        Raises:
            HttpRefused: 429: a budget is too small now; the headers contain the time to wait (RateLimit fields, an
                IETF draft).
        """
        caller, address = spenders
        taken, now = max(cost, 1), time.time()
        if not self._caller_budget.take(caller, taken, now):
            raise _rate_limited(self._caller_budget, caller, taken, now, f"this costs {cost}, and {{}} {OF_CALLER}")
        if not self._address_budget.take(address, taken, now):
            self._caller_budget.give_back(caller, taken)
            raise _rate_limited(self._address_budget, address, taken, now, f"this costs {cost}, and {{}} {OF_ADDRESS}")

    def charge_password(self, spenders: Spenders) -> None:
        """Take one operation from the password budget, which all callers of an address share.

        Raises:
            HttpRefused: 429: nothing is left.
        """
        budget, spender, now = self._password_budget, spenders.address, time.time()
        if not budget.take(spender, 1, now):
            message = f"this operation counts as a sign-in, and {{}} {OF_ADDRESS}"
            raise _rate_limited(budget, spender, 1, now, message, "sign-in")

    def ensure_budget(self, what: str, spenders: Spenders) -> None:
        """Raise HttpRefused, 429, where a budget is empty. For work whose price is not known yet."""
        now = time.time()
        if not self._caller_budget.has(spenders.caller, 1, now):
            raise _rate_limited(self._caller_budget, spenders.caller, 1, now, f"{what}, and {{}} {OF_CALLER}")
        self.ensure_budget_of_address(what, spenders)

    def ensure_budget_of_address(self, what: str, spenders: Spenders) -> None:
        """Raise HttpRefused, 429, where the budget of the address is empty. For work before the caller is known."""
        budget, spender, now = self._address_budget, spenders.address, time.time()
        if not budget.has(spender, 1, now):
            raise _rate_limited(budget, spender, 1, now, f"{what}, and {{}} {OF_ADDRESS}")

    def charge_work(self, watch: Stopwatch, spenders: Spenders, *, at_least: int) -> None:
        """Charge the time measured by `watch`, as far as the budgets suffice: the work is already done.

        The time is counted in tenths of a millisecond, and the watch is reset.
        """
        tenths = int(watch.lap() * 10_000)
        cost = max(tenths * COST_PER_MS // 10, at_least)
        if cost:
            now = time.time()
            self._caller_budget.spend(spenders.caller, cost, now)
            self._address_budget.spend(spenders.address, cost, now)


def _rate_limited(
    budget: Budget, spender: str, cost: int, now: float, message: str, policy: str = "cost"
) -> HttpRefused:
    """Return the refusal for a budget that is too small; `message` has a placeholder for the rest of the budget."""
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
