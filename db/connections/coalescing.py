"""Shared statements: what concurrent operations ask for with the same statement, read by one.

A statement costs its sender some 40 µs and the server as much, however few rows it returns; many operations that each
read a row or two by key spend most of their time on that. So calls that differ in their keys alone, in the same
statement with the same other values (the viewer's id among them, where the statement uses it: who may see what is the
same for all that share), become one call with all their keys. Calls that do not differ at all, such as those for the
first page of a list that everybody looks at, become one likewise.

Who calls either awaits the answer (`mapped_rows`) or is told of it (`ask`). One of those who await it, the *leader*,
runs the statement as part of its own work and gives the others the rows: a task for each statement would be a good part
of what the statement costs. A leader that is cancelled hands on the lead, and the statement is run anew for those who
are left. Only where all of them are to be told, a task runs it.

What is shared is what has not been sent yet. Nobody is given rows that were read before they asked, so that everyone
sees their own writes. Calls that come while `IN_FLIGHT_MAX` statements of their kind are under way wait for one to
end, but not longer than `HELD_BACK_MAX_S`.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence, Sized
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, Protocol

from asyncpg import Record

from db.connections.shares import Shares
from db.connections.statements import KEYS, Statement
from db.connections.statistics import query_statistics
from db.errors import copy_of

logger = logging.getLogger(__name__)

IN_FLIGHT_MAX = 1
HELD_BACK_MAX_S = 0.002
KEYS_MAX = 256

MapRows = Callable[[Sequence[Record]], Any]
ReadKind = tuple[Statement, MapRows, tuple[object, ...]]


class Subscriber(Protocol):
    """Who is told of an answer, or of the error in its place; it raises nothing."""

    def on_result(self, answer: Any, error: Exception | None, elapsed_ns: int) -> None:
        """Take the answer to a call: what `map_rows` has made, and how long the statement took."""
        ...


class Timed(Protocol):
    """Receives how long the database took, without the wait for a connection."""

    elapsed_ns: int


Fetch = Callable[[Statement, Mapping[str, object], Timed], Awaitable[Sequence[Record]]]

_LEAD = object()
"""What a call is told, instead of an answer, that is to run the statement itself."""


@dataclass(slots=True, eq=False)
class _Batch:
    """Calls that will be one statement, or are.

    Attributes:
        waiting: the calls that await the answer, without the leader.
        subscribers: the calls that are told of it.
        is_led: whether a leader was found, now or before.
        is_sent: whether the statement is under way.
        task: what leads where no call does.
        caller: whose share the connection of `task` counts for.
    """

    keys: dict[int, None] = field(default_factory=dict)
    waiting: list[asyncio.Future[Any]] = field(default_factory=list)
    subscribers: list[Subscriber] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None
    caller: str | None = None
    is_led: bool = False
    is_sent: bool = False
    elapsed_ns: int = 0

    @property
    def open(self) -> list[asyncio.Future[Any]]:
        """Those who still wait."""
        return [one for one in self.waiting if not one.done()]

    def notify(self, answer: Any, error: Exception | None) -> None:
        """Tell those who are to be told, who then are none of it any more: each knows of the batch."""
        subscribers, self.subscribers = self.subscribers, []
        for one in subscribers:
            try:
                one.on_result(answer, error and copy_of(error), self.elapsed_ns)
            except Exception:  # a fault of ours, that the others have no part in
                logger.exception("an answer was not taken")


@dataclass(slots=True, eq=False)
class _Queue:
    """Calls of one kind: those under way, and those that come next."""

    in_flight: int = 0
    next: _Batch | None = None


class CoalescedReads:
    """The calls of one process. `fetch` counts nothing: who shares a statement counts it as its own."""

    def __init__(self, fetch: Fetch, shares: Shares) -> None:
        self._fetch = fetch
        self._shares = shares
        self._queues: dict[ReadKind, _Queue] = {}

    async def mapped_rows(
        self, statement: Statement, values: Mapping[str, object], keys: Sequence[int], map_rows: MapRows
    ) -> Any:
        """Return what `map_rows` makes of the rows of `statement` for `keys` and maybe others, its parameter `ids`.

        Without `keys` it is a statement that has no such parameter.

        Raises:
            Unavailable: as the statement does.
        """
        kind, queue, batch = self._place(statement, values, map_rows)
        waiting: asyncio.Future[Any] | None = None
        if batch is None:
            batch = queue.next = _Batch(dict.fromkeys(keys), is_led=True)
            queue.in_flight += 1
        else:
            waiting = asyncio.get_running_loop().create_future()
            batch.waiting.append(waiting)
            self._join(kind, queue, batch, keys)
        try:
            if waiting is None:
                answer = await self._led(kind, queue, batch)
            else:
                try:
                    answer = await waiting
                except asyncio.CancelledError:
                    self._leave(kind, queue, batch, waiting)
                    raise
                if answer is _LEAD:
                    answer = await self._run(kind, queue, batch)
        except Exception as error:
            current = query_statistics.get()
            if current is not None:
                current.add(statement.sql, None, batch.elapsed_ns, error)
            waiting = None  # the trace of the error holds this frame, and the future holds the error
            raise
        current = query_statistics.get()
        if current is not None:
            current.add(statement.sql, _found(answer, keys), batch.elapsed_ns)
        return answer

    def subscribe(
        self,
        statement: Statement,
        values: Mapping[str, object],
        keys: Sequence[int],
        map_rows: MapRows,
        subscriber: Subscriber,
        caller: str | None,
    ) -> _Batch:
        """As `mapped_rows`, but notify `subscriber` in a later turn of the loop. Return the batch to unsubscribe from.

        The connection counts for the share of `caller`. It is in no statistics: the subscriber counts it.
        """
        kind, queue, batch = self._place(statement, values, map_rows)
        if batch is None:
            batch = queue.next = _Batch(dict.fromkeys(keys), subscribers=[subscriber], is_led=True, caller=caller)
            queue.in_flight += 1
            self._run_by_task(kind, queue, batch)
        else:
            batch.subscribers.append(subscriber)
            self._join(kind, queue, batch, keys)
        return batch

    def _place(
        self, statement: Statement, values: Mapping[str, object], map_rows: MapRows
    ) -> tuple[ReadKind, _Queue, _Batch | None]:
        """Return where a call belongs: of its kind, the batch to join, or None where it is the first of one."""
        names = statement.parameters_but_keys
        kind = (statement, map_rows, tuple([values[name] for name in names]) if names else ())
        queue = self._queues.get(kind)
        if queue is None:
            queue = self._queues[kind] = _Queue()
        batch = queue.next
        if batch is None and queue.in_flight >= IN_FLIGHT_MAX:
            batch = queue.next = _Batch()
            loop = asyncio.get_running_loop()
            batch.timer = loop.call_later(HELD_BACK_MAX_S, self._find_leader, kind, queue, batch)
        return kind, queue, batch

    async def _led(self, kind: ReadKind, queue: _Queue, batch: _Batch) -> Any:
        """Run the statement in the next turn of the loop: others may be ready to join it in this one."""
        if len(batch.keys) >= KEYS_MAX:
            queue.next = None  # it is full: who comes now opens another
        try:
            await asyncio.sleep(0)
        except BaseException:
            self._hand_on(kind, queue, batch)
            raise
        return await self._run(kind, queue, batch)

    def _join(self, kind: ReadKind, queue: _Queue, batch: _Batch, keys: Sequence[int]) -> None:
        """Add the keys of a call that is in the batch now: its answer comes, or `_LEAD` where it is to lead."""
        for key in keys:
            batch.keys[key] = None
        if len(batch.keys) >= KEYS_MAX and queue.next is batch:
            queue.next = None  # likewise
            self._find_leader(kind, queue, batch)

    def _leave(self, kind: ReadKind, queue: _Queue, batch: _Batch, waiting: asyncio.Future[Any]) -> None:
        """Wait no longer; where the call was told to lead in the turn in which it was cancelled, another one leads."""
        if waiting.done() and not waiting.cancelled() and not waiting.exception() and waiting.result() is _LEAD:
            self._hand_on(kind, queue, batch)

    async def _run(self, kind: ReadKind, queue: _Queue, batch: _Batch) -> Any:
        """Run the statement as its leader, and give the answer to the others."""
        if queue.next is batch:
            queue.next = None
        batch.is_sent = True
        statement, map_rows, given = kind
        values = dict(zip(statement.parameters_but_keys, given, strict=True))
        values[KEYS] = list(batch.keys)
        batch.elapsed_ns = 0
        try:
            answer = map_rows(await self._fetch(statement, values, batch))
        except Exception as error:
            for one in batch.open:
                one.set_exception(copy_of(error))
            batch.waiting.clear()
            self._end(kind, queue)
            batch.notify(None, error)
            raise
        except BaseException:  # the leader's end, not the statement's
            self._hand_on(kind, queue, batch)
            raise
        for one in batch.open:
            one.set_result(answer)
        self._end(kind, queue)  # before these are told, which answers them: the database is at work meanwhile
        batch.notify(answer, None)
        return answer

    def _run_by_task(self, kind: ReadKind, queue: _Queue, batch: _Batch) -> None:
        """Have the statement run, in the next turn of the loop, where all are to be told."""

        async def run() -> None:
            if not (batch.subscribers or batch.open):
                self._hand_on(kind, queue, batch)
                return
            # All have been told of an exception.
            with self._shares.operation_of(batch.caller), contextlib.suppress(Exception):
                await self._run(kind, queue, batch)

        batch.is_sent = False  # or no longer: a task that has not begun is not to be cancelled
        # Of whose work it is made says nothing of whose work it is.
        batch.task = asyncio.get_running_loop().create_task(run(), context=Context())

    def unsubscribe(self, batch: _Batch, subscriber: Subscriber) -> None:
        """Tell `who` nothing any more; a statement that a task runs for nobody is at its end."""
        if subscriber in batch.subscribers:
            batch.subscribers.remove(subscriber)
            if batch.task is not None and batch.is_sent and not (batch.subscribers or batch.open):
                batch.task.cancel()

    def _find_leader(self, kind: ReadKind, queue: _Queue, batch: _Batch) -> None:
        """Have one of the calls of a batch run its statement, unless one does already."""
        if batch.is_led:
            return
        if batch.timer is not None:
            batch.timer.cancel()
        batch.is_led = True
        queue.in_flight += 1
        self._hand_on(kind, queue, batch)

    def _hand_on(self, kind: ReadKind, queue: _Queue, batch: _Batch) -> None:
        """Let another call of the batch lead; where nobody waits any more, nothing is asked."""
        for one in batch.open:
            one.set_result(_LEAD)
            return
        if batch.subscribers and batch.task is None:
            self._run_by_task(kind, queue, batch)
            return
        if queue.next is batch:
            queue.next = None
        self._end(kind, queue)

    def _end(self, kind: ReadKind, queue: _Queue) -> None:
        """Go on with the next batch when one is over."""
        queue.in_flight -= 1
        if queue.next is not None:
            self._find_leader(kind, queue, queue.next)
        elif not queue.in_flight:
            self._queues.pop(kind, None)


class PendingRead:
    """Rows by their keys, not asked for yet: by `await`, or by `ask`."""

    __slots__ = ("_batch", "_keys", "_map_rows", "_shared", "_values", "statement")

    _batch: _Batch

    def __init__(
        self,
        shared: CoalescedReads,
        statement: Statement,
        values: Mapping[str, object],
        keys: Sequence[int],
        map_rows: MapRows,
    ) -> None:
        self._shared = shared
        self.statement = statement
        self._values = values
        self._keys = keys
        self._map_rows = map_rows

    def __await__(self) -> Generator[Any, Any, Mapping[int, Record]]:
        return self._shared.mapped_rows(self.statement, self._values, self._keys, self._map_rows).__await__()

    def subscribe(self, subscriber: Subscriber, caller: str | None = None) -> None:
        """Have `who` told, in a later turn of the loop; the connection counts for the share of `caller`."""
        self._batch = self._shared.subscribe(
            self.statement, self._values, self._keys, self._map_rows, subscriber, caller
        )

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Have `who`, who asked, told nothing any more."""
        self._shared.unsubscribe(self._batch, subscriber)


def _found(answer: Any, keys: Sequence[int]) -> int:
    """Return how much of an answer is whose call it was: the keys that have a row, or all of it."""
    if len(keys) == 1:
        return int(keys[0] in answer)
    if keys:
        return len(keys) if len(answer) == len(keys) else sum(map(answer.__contains__, keys))
    return len(answer) if isinstance(answer, Sized) else 1
