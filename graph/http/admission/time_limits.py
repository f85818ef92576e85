"""Time limits for the work of a task, without an event-loop timer for each limit.

Limits of equal length expire in the order in which they were set. So one loop timer, for the oldest limit, serves all
of them. A limit that does not expire, as nearly all of them, costs only two changes of a dictionary.
"""

import asyncio
from contextvars import Context
from types import TracebackType
from typing import Self

# The time that a query may still take after its client has sent FIN.
HALF_CLOSED_S = 5.0


class Timers:
    """Time limits of one length.

    Attributes:
        pending: the running limits, oldest first, each with its expiry in seconds of the loop's clock.
    """

    def __init__(self, after_s: float) -> None:
        self.after_s = after_s
        self.pending: dict[TimeLimit, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def set(self, limit: "TimeLimit", loop: asyncio.AbstractEventLoop) -> None:
        """Call `limit.on_timeout` after the time has passed on the running `loop`, if it is still pending then."""
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
            limit.on_timeout()


class TimeLimit:
    """Cancels the block inside it after a time, and raises TimeoutError then, as `asyncio.timeout` does.

    Attributes:
        after_s: the time.
    """

    _task: asyncio.Task[object]
    _is_over = False

    def __init__(self, timers: Timers, after_s: float) -> None:
        self._timers = timers
        self.after_s = after_s

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

    def on_timeout(self) -> None:
        """Handle the expiry of the timers' interval: cancel the task."""
        self._end()

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._task.cancel()


class CancelledFromWithinError(RuntimeError):
    """Work within an operation was cancelled although the request was not: a bug in Folio."""


def end_is_requested() -> bool:
    """Return whether the cancellation of the current task was requested."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
