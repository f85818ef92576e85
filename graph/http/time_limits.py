"""How long a request may take: limits of time for what a task does, without a timer of the event loop for each.

Timers of one length go off in the order in which they were set. One timer of the loop for the oldest of them therefore
serves all, and one that is dropped in time, as nearly each is, costs two changes of a dictionary.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Timers:
    """Timers that go off after the same time."""

    def __init__(self, after_s: float) -> None:
        self.after_s = after_s
        self._pending: dict[object, tuple[float, Callable[[], None]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def set(self, key: object, call: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        """Call `call` when the time has passed on the running `loop`, unless `key` is dropped before."""
        self._pending[key] = (loop.time() + self.after_s, call)
        if self._timer is None or self._loop is not loop:
            self._loop = loop
            self._timer = loop.call_later(self.after_s, self._go_off)

    def drop(self, key: object) -> None:
        """Forget the timer of `key`, if it has not gone off."""
        self._pending.pop(key, None)

    def _go_off(self) -> None:
        assert self._loop is not None
        self._timer = None
        while self._pending:
            key, (due, call) = next(iter(self._pending.items()))
            if due > self._loop.time():
                self._timer = self._loop.call_at(due, self._go_off)
                return
            del self._pending[key]
            call()


class TimeLimit:
    """Cancels, when its time is up, what runs inside of it. As `asyncio.timeout`, it raises TimeoutError then.

    Attributes:
        after_s: how much time there is.
    """

    __slots__ = ("_cancelled_before", "_is_over", "_task", "_timers", "after_s")

    _task: asyncio.Task[object]

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self.after_s = timers.after_s
        self._is_over = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelled_before = task.cancelling()
        self._timers.set(self, self._pass, task.get_loop())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timers.drop(self)
        if self._is_over and self._task.uncancel() <= self._cancelled_before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _pass(self) -> None:
        """See to it that the time of the timers is over."""
        self._end()

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._task.cancel()
