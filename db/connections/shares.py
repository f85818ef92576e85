"""Shares of the pool: how many connections one operation, one caller and all writes together may hold at once.

Without these limits the slowest waits take all connections: 24 transfers to one locked account would hold all of them
until the lock timeout, and reads that need a millisecond would wait as long. Therefore writes leave a part of the
connections to reads, one caller cannot hold all of the rest, and one operation cannot hold all of its caller's share.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from db.connections.waiting import Bound
from db.errors import Unavailable
from db.settings import Settings


@dataclass(slots=True)
class _Caller:
    """The bound of one caller, and the number of its running operations."""

    bound: Bound
    operations: int = 0


class Share:
    """The limit of one operation, within the limit of its caller."""

    __slots__ = ("_of_caller", "_operation_bound")

    def __init__(self, operation_bound: Bound, of_caller: Bound) -> None:
        self._operation_bound = operation_bound
        self._of_caller = of_caller

    async def enter(self) -> None:
        """Count one more connection, until `leave`, and wait for that if necessary.

        Raises:
            Unavailable: DATABASE_BUSY if the wait took too long.
        """
        await self._operation_bound.enter()
        try:
            await self._of_caller.enter()
        except BaseException:
            self._operation_bound.leave()
            raise

    def enter_at_once(self) -> bool:
        """Count one more connection and return True, or return False if that would need a wait."""
        if not self._operation_bound.enter_at_once():
            return False
        if self._of_caller.enter_at_once():
            return True
        self._operation_bound.leave()
        return False

    def leave(self) -> None:
        """Count one connection less."""
        self._of_caller.leave()
        self._operation_bound.leave()


share: ContextVar[Share | None] = ContextVar("share", default=None)
"""The share of the operation that is under way; None without a limit, as in a command."""


class Shares:
    """The shares of all callers of one process.

    Attributes:
        writes: the bound of connections that write.
    """

    def __init__(self, settings: Settings) -> None:
        most = settings.pool_size + settings.pool_max_overflow
        self._within_s = settings.pool_timeout_s
        # The statements of one operation wait only for each other, so the deadline of the operation is their limit.
        self._within_operation_s = settings.operation_deadline_ms / 1000
        self.of_operation_max = max(1, most // 3)
        self.of_caller_max = max(1, most - max(1, most // 4))
        self.writes_max = self.of_caller_max
        self.writes = Bound(self.writes_max, self._within_s, _refusal(self.writes_max, "writes"))
        self._operation_refusal = _refusal(self.of_operation_max, "statements of this operation")
        self._caller_refusal = _refusal(self.of_caller_max, "operations of this caller")
        self._callers: dict[str, _Caller] = {}

    def __len__(self) -> int:
        """Return how many callers have a running operation."""
        return len(self._callers)

    @contextmanager
    def operation_of(self, caller: str | None) -> Iterator[None]:
        """Count the connections that are taken within the block for a new operation of `caller`, unless it is None."""
        if caller is None:
            yield
            return
        token = share.set(self._begin(caller))
        try:
            yield
        finally:
            share.reset(token)
            self._end(caller)

    def _begin(self, caller: str) -> Share:
        known = self._callers.get(caller)
        if known is None:
            bound = Bound(self.of_caller_max, self._within_s, self._caller_refusal)
            known = self._callers[caller] = _Caller(bound)
        known.operations += 1
        operation_bound = Bound(self.of_operation_max, self._within_operation_s, self._operation_refusal)
        return Share(operation_bound, known.bound)

    def _end(self, caller: str) -> None:
        known = self._callers[caller]
        known.operations -= 1
        if not known.operations:
            del self._callers[caller]


def _refusal(limit: int, holder: str) -> Callable[[], Exception]:
    def refusal() -> Exception:
        return Unavailable("DATABASE_BUSY", f"{limit} connections are in use by {holder}; try again shortly")

    return refusal
