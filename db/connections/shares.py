"""Shares of the pool: how many connections one operation, one caller and all writes together may hold at once.

Without these limits the slowest waits take all connections: 24 transfers to one locked account would hold all of them
until the lock timeout, and reads that need a millisecond would wait as long. Therefore writes leave a part of the
connections to reads, one caller cannot hold all of the rest, and one operation cannot hold all of its caller's share.
"""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

from db.connections.waiting import Bound
from db.errors import Unavailable
from db.settings import Settings


@dataclass(slots=True, eq=False)
class Share:
    """The limit of one operation, within the limit of its caller.

    `enter_at_once` and `leave` count in the bounds directly: nearly every statement enters at once, and most bounds
    are never reached.

    Attributes:
        own: the bound of the operation; None if the operation runs one statement only.
    """

    shares: "Shares"
    caller: str
    own: Bound | None = None

    def enter_at_once(self) -> bool:
        """Count one more connection and return True, or return False if that would need a wait."""
        shares, own = self.shares, self.own
        of_caller = shares.callers.get(self.caller)
        if of_caller is None:
            of_caller = shares.callers[self.caller] = Bound(*shares.of_caller)
        if not of_caller.free or (own is not None and not own.free):
            return False
        of_caller.free -= 1
        if own is not None:
            own.free -= 1
        return True

    async def enter(self) -> None:
        """Count one more connection, until `leave`, and wait for that if necessary.

        Raises:
            Unavailable: DATABASE_BUSY if the wait took too long.
        """
        own, callers = self.own, self.shares.callers
        if own is not None:
            await own.enter()
        of_caller = callers.setdefault(self.caller, Bound(*self.shares.of_caller))
        try:
            await of_caller.enter()
        except BaseException:
            # This call may have received the last place when it had just left. The bound may be forgotten already.
            if of_caller.free == self.shares.of_caller_max and callers.get(self.caller) is of_caller:
                del callers[self.caller]
            if own is not None:
                own.leave()
            raise

    def leave(self) -> None:
        """Count one connection less."""
        of_caller, own = self.shares.callers[self.caller], self.own
        if of_caller.line is None:
            of_caller.free += 1
        else:
            of_caller.leave()
        if of_caller.free == self.shares.of_caller_max:
            del self.shares.callers[self.caller]  # no place is held, so no caller waits for one
        if own is not None:
            own.leave()


share: ContextVar[Share | None] = ContextVar("share", default=None)
"""The share of the current operation; None without a limit, as in a command."""


class Shares:
    """The shares of all callers of one process.

    Attributes:
        of_caller: the arguments of the bound of a caller.
    """

    def __init__(self, settings: Settings) -> None:
        most = settings.pool_size + settings.pool_max_overflow
        within_s = settings.pool_timeout_s
        self.of_operation_max = max(1, most // 3)
        self.of_caller_max = max(1, most - max(1, most // 4))
        self.writes_max = self.of_caller_max
        self.writes = Bound(self.writes_max, within_s, _refusal(self.writes_max, "writes"))
        self.callers: dict[str, Bound] = {}
        self.of_caller = (self.of_caller_max, within_s, _refusal(self.of_caller_max, "operations of this caller"))
        # The statements of one operation wait only for each other, so the deadline of the operation is their limit.
        within_operation_s = settings.operation_deadline_ms / 1000
        refusal = _refusal(self.of_operation_max, "statements of this operation")
        self._of_operation = (self.of_operation_max, within_operation_s, refusal)

    def __len__(self) -> int:
        """Return how many callers hold a connection."""
        return len(self.callers)

    def begin_operation(self, caller: str) -> Share:
        """Count the connections that the current context takes from now on for a new operation of `caller`."""
        begun = Share(self, caller, Bound(*self._of_operation))
        share.set(begun)
        return begun


def _refusal(limit: int, holder: str) -> Callable[[], Exception]:
    def refusal() -> Exception:
        return Unavailable("DATABASE_BUSY", f"{limit} connections are in use by {holder}; try again shortly")

    return refusal
