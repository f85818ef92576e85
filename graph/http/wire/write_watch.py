"""The timer of a connection that has bytes to send: the client must read them at a minimum speed."""

import asyncio
from functools import partial

from graph.http.wire.unread import UnreadAnswers, Writing, unread_bytes

# A client must read at least this many bytes in this time: a kilobyte a second.
ANSWER_S = 10.0
ANSWER_BYTES_MIN = 10_240
# A timer that fires later than this shows that the process or the machine was blocked, not that the client was slow.
BLOCKED_S = 0.1


def loop_was_blocked(timer: asyncio.TimerHandle, now: float) -> bool:
    """Return whether the loop was blocked, so that `timer` fired long after its time.

    Such a timer fires before the loop reads bytes that have arrived, and before a client on the same blocked
    machine could run. The client is not responsible for that time.
    """
    return now - timer.when() > BLOCKED_S


class WriteWatch:
    """Cuts a connection off if its client has read less than ANSWER_BYTES_MIN in the last ANSWER_S."""

    __slots__ = ("_clock", "_loop", "_one", "_transport", "_unread")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, one: Writing, unread: UnreadAnswers | None
    ) -> None:
        """Watch the connection `one`. `unread` counts the unread bytes of all connections, where it is not None."""
        self._loop = loop
        self._transport = transport
        self._one = one
        self._unread = unread
        self._clock: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Watch from now on whether the client reads."""
        if self._clock is None:
            left = unread_bytes(self._transport)
            self._clock = self._loop.call_later(ANSWER_S, partial(self._check, left))
            if self._unread is not None:
                self._unread.count(self._one, left)

    def stop(self) -> None:
        """Stop watching."""
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
        if self._unread is not None:
            self._unread.forget(self._one)

    def _check(self, before: int, *, extends: bool = True) -> None:
        """Compare the unread bytes with their number at the last check.

        Args:
            before: this number. While writing is paused, only the rest of the current response is added.
            extends: whether the client gets the time again that was lost while the loop was blocked. Only once: on a
                server that is always late, a client that reads nothing would stay connected without end.
        """
        timer, self._clock = self._clock, None
        left = unread_bytes(self._transport)
        if left <= before - ANSWER_BYTES_MIN:
            self.start()
        elif extends and timer is not None and loop_was_blocked(timer, self._loop.time()):
            self._clock = self._loop.call_later(ANSWER_S, partial(self._check, before, extends=False))
        else:
            self._one.cut_off(left)
