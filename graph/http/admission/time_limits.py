"""How long a request may take: limits of time for what a task does, without a timer of the event loop for each.

Limits of one length are reached in the order in which they were set. One timer of the loop for the oldest of them
therefore serves all, and one that is left in time, as nearly each is, costs two changes of a dictionary.
"""

import asyncio
from contextvars import Context
from types import TracebackType
from typing import Self

# How long a query still may take whose client has sent FIN.
HALF_CLOSED_S = 5.0


class Timers:
    """Time limits of one length.

    Attributes:
        pending: those that run, oldest first, each with the time of the loop at which it is reached.
    """

    def __init__(self, after_s: float) -> None:
        self.after_s = after_s
        self.pending: dict[TimeLimit, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def set(self, limit: "TimeLimit", loop: asyncio.AbstractEventLoop) -> None:
        """Tell `limit` when the time has passed on the running `loop`, unless it is no longer pending then."""
        self.pending[limit] = loop.time() + self.after_s
        if self._timer is None or self._loop is not loop:
            self._loop = loop
            # An empty context: the timer must not keep the request alive that happened to set it.
            self._timer = loop.call_later(self.after_s, self._go_off, context=Context())

    def _go_off(self) -> None:
        assert self._loop is not None
        self._timer = None
        while self.pending:
            limit, due = next(iter(self.pending.items()))
            if due > self._loop.time():
                self._timer = self._loop.call_at(due, self._go_off, context=Context())
                return
            del self.pending[limit]
            limit.passed()


class TimeLimit:
    """Cancels, when its time is up, what runs inside of it. As `asyncio.timeout`, it raises TimeoutError then.

    Attributes:
        after_s: how much time there is.
    """

    __slots__ = ("_cancelled_before", "_is_over", "_task", "_timers", "after_s")

    _task: asyncio.Task[object]

    def __init__(self, timers: Timers, after_s: float) -> None:
        self._timers = timers
        self.after_s = after_s
        self._is_over = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelled_before = task.cancelling()
        self._timers.set(self, task.get_loop())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timers.pending.pop(self, None)
        if self._is_over and self._task.uncancel() <= self._cancelled_before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def passed(self) -> None:
        """See to it that the time of the timers is over."""
        self._end()

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._task.cancel()


class CancelledFromWithinError(RuntimeError):
    """Something within an operation was cancelled although nobody asked for the end of the request: a fault of ours."""


def is_to_end() -> bool:
    """Say whether somebody has asked for the end of the current task."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
