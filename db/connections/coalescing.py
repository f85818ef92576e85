"""Request coalescing: concurrent reads with the same statement become one execution of that statement.

A statement costs the client some 40 µs and the server as much, however few rows it returns. Operations that each read a
row or two by key spend most of their time on that. Two kinds of calls are therefore combined:

- Calls that differ in their keys alone become one call with all their keys. The statement and its other values are the
  same. If the statement depends on the viewer, the viewer's id is one of these values, so that all calls of a batch
  have the same access rights.
- Calls that do not differ at all, such as those for the first page of a popular list, become one call.

Callers either await the answer (`mapped_rows`) or register a callback (`subscribe`). One of the awaiting callers, the
*leader*, runs the statement as part of its work and passes the rows to the others, because a task for each statement
would add a good part of what the statement costs. If the leader is cancelled, another caller becomes the leader and
runs the statement again for those that remain. A task runs the statement only if all callers of the batch use
callbacks.

A call can join a batch only until the statement is sent. No caller receives rows that were read before its call, so
that every client sees its own writes. While `IN_FLIGHT_MAX` statements of a kind are running, further calls of that
kind wait until one of them ends, but at most `HELD_BACK_MAX_S`.
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
    """Receives the answer, or the error in its place. Its callback must not raise."""

    def on_result(self, answer: Any, error: Exception | None, elapsed_ns: int) -> None:
        """Receive the answer to a call: the result of `map_rows`, and how long the statement took in nanoseconds."""
        ...


class Timed(Protocol):
    """Receives how long the database took, without the wait for a connection."""

    elapsed_ns: int


Fetch = Callable[[Statement, Mapping[str, object], Timed], Awaitable[Sequence[Record]]]

_LEAD = object()
"""A waiting call receives this instead of an answer if it must run the statement itself."""


@dataclass(slots=True, eq=False)
class _Batch:
    """Calls that share one statement, before it is sent or while it runs.

    Attributes:
        waiting: the calls that await the answer, without the leader.
        subscribers: the callbacks to notify.
        is_led: whether a leader was chosen, now or before.
        is_sent: whether the statement was sent.
        task: the task that runs the statement if no call leads.
        caller: the caller whose share counts the connection of `task`.
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
        """The calls that still wait."""
        return [one for one in self.waiting if not one.done()]

    def notify(self, answer: Any, error: Exception | None) -> None:
        """Notify all subscribers and remove them from the batch: they refer to it, which would be a reference cycle."""
        subscribers, self.subscribers = self.subscribers, []
        for one in subscribers:
            try:
                one.on_result(answer, error and copy_of(error), self.elapsed_ns)
            except Exception:  # a bug in one subscriber must not affect the others
                logger.exception("a subscriber failed to take its answer")


@dataclass(slots=True, eq=False)
class _Queue:
    """The calls of one kind: how many statements are in flight, and the batch that is sent next."""

    in_flight: int = 0
    next: _Batch | None = None


class CoalescedReads:
    """The coalesced calls of one process. `fetch` counts no statement: each caller counts the shared one as its own."""

    def __init__(self, fetch: Fetch, shares: Shares) -> None:
        self._fetch = fetch
        self._shares = shares
        self._queues: dict[ReadKind, _Queue] = {}

    async def mapped_rows(
        self, statement: Statement, values: Mapping[str, object], keys: Sequence[int], map_rows: MapRows
    ) -> Any:
        """Return the result of `map_rows` for the rows of `statement`.

        `keys` becomes the parameter `ids`. Rows for the keys of other callers may be included. If `keys` is empty, the
        statement has no such parameter.

        Raises:
            Unavailable: the statement raised it.
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
                answer = await self._run_next_turn(kind, queue, batch)
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
            current.add(statement.sql, _own_rows(answer, keys), batch.elapsed_ns)
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
        """Do as `mapped_rows`, but notify `subscriber` in a later turn of the event loop.

        Return the batch, for `unsubscribe`. The connection counts for the share of `caller`. The statement is added to
        no statistics: the subscriber counts it.
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
        """Return a call's kind, its queue and the batch to join. The batch is None for the first call of a kind."""
        names = statement.parameters_but_keys
        kind = (statement, map_rows, tuple([values[name] for name in names]) if names else ())
        queue = self._queues.get(kind)
        if queue is None:
            queue = self._queues[kind] = _Queue()
        batch = queue.next
        if batch is None and queue.in_flight >= IN_FLIGHT_MAX:
            batch = queue.next = _Batch()
            loop = asyncio.get_running_loop()
            batch.timer = loop.call_later(HELD_BACK_MAX_S, self._ensure_leader, kind, queue, batch)
        return kind, queue, batch

    async def _run_next_turn(self, kind: ReadKind, queue: _Queue, batch: _Batch) -> Any:
        """Run the statement in the next turn of the event loop, so that calls of this turn can join it."""
        if len(batch.keys) >= KEYS_MAX:
            queue.next = None  # the batch is full: the next call opens another
        try:
            await asyncio.sleep(0)
        except BaseException:
            self._pass_on_lead(kind, queue, batch)
            raise
        return await self._run(kind, queue, batch)

    def _join(self, kind: ReadKind, queue: _Queue, batch: _Batch, keys: Sequence[int]) -> None:
        """Add the keys of a call to a batch. The call receives the answer, or `_LEAD` if it must lead."""
        for key in keys:
            batch.keys[key] = None
        if len(batch.keys) >= KEYS_MAX and queue.next is batch:
            queue.next = None  # the batch is full: the next call opens another
            self._ensure_leader(kind, queue, batch)

    def _leave(self, kind: ReadKind, queue: _Queue, batch: _Batch, waiting: asyncio.Future[Any]) -> None:
        """Withdraw a cancelled call. If it became the leader in the turn of its cancellation, choose another leader."""
        if waiting.done() and not waiting.cancelled() and not waiting.exception() and waiting.result() is _LEAD:
            self._pass_on_lead(kind, queue, batch)

    async def _run(self, kind: ReadKind, queue: _Queue, batch: _Batch) -> Any:
        """Run the statement as its leader, and pass the answer to the other calls."""
        if queue.next is batch:
            queue.next = None
        batch.is_sent = True
        statement, map_rows, arguments = kind
        values = dict(zip(statement.parameters_but_keys, arguments, strict=True))
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
        except BaseException:  # the leader was cancelled; the statement itself did not fail
            self._pass_on_lead(kind, queue, batch)
            raise
        for one in batch.open:
            one.set_result(answer)
        self._end(kind, queue)  # before the subscribers run: the database executes the next batch meanwhile
        batch.notify(answer, None)
        return answer

    def _run_by_task(self, kind: ReadKind, queue: _Queue, batch: _Batch) -> None:
        """Run the statement in a task, in the next turn of the event loop, for a batch of subscribers alone."""

        async def run() -> None:
            if not (batch.subscribers or batch.open):
                self._pass_on_lead(kind, queue, batch)
                return
            # `_run` has already passed an exception to all callers.
            with self._shares.operation_of(batch.caller), contextlib.suppress(Exception):
                await self._run(kind, queue, batch)

        batch.is_sent = False  # also if it was sent before: `unsubscribe` must not cancel a task that has not begun
        # The task starts with an empty context: it must not inherit the request that happened to create it.
        batch.task = asyncio.get_running_loop().create_task(run(), context=Context())

    def unsubscribe(self, batch: _Batch, subscriber: Subscriber) -> None:
        """Remove `subscriber` from the batch. A running statement that has no caller left is cancelled."""
        if subscriber in batch.subscribers:
            batch.subscribers.remove(subscriber)
            if batch.task is not None and batch.is_sent and not (batch.subscribers or batch.open):
                batch.task.cancel()

    def _ensure_leader(self, kind: ReadKind, queue: _Queue, batch: _Batch) -> None:
        """Choose a leader for the batch, unless it has one already."""
        if batch.is_led:
            return
        if batch.timer is not None:
            batch.timer.cancel()
        batch.is_led = True
        queue.in_flight += 1
        self._pass_on_lead(kind, queue, batch)

    def _pass_on_lead(self, kind: ReadKind, queue: _Queue, batch: _Batch) -> None:
        """Make another call of the batch the leader. If no call is left, end the batch without a statement."""
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
        """End one statement in flight, and start the next batch."""
        queue.in_flight -= 1
        if queue.next is not None:
            self._ensure_leader(kind, queue, queue.next)
        elif not queue.in_flight:
            self._queues.pop(kind, None)


class PendingRead:
    """A read of rows by their keys that is not sent yet. Either `await` it or call `subscribe`."""

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

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._shared.mapped_rows(self.statement, self._values, self._keys, self._map_rows).__await__()

    def subscribe(self, subscriber: Subscriber, caller: str | None = None) -> None:
        """Notify `subscriber` in a later turn of the event loop; the connection counts for the share of `caller`."""
        self._batch = self._shared.subscribe(
            self.statement, self._values, self._keys, self._map_rows, subscriber, caller
        )

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Stop notifications to `subscriber`, which must be subscribed."""
        self._shared.unsubscribe(self._batch, subscriber)


def _own_rows(answer: Any, keys: Sequence[int]) -> int:
    """Return how many rows of a shared answer belong to one call: the keys that have a row, or all rows."""
    if len(keys) == 1:
        return int(keys[0] in answer)
    if keys:
        return len(keys) if len(answer) == len(keys) else sum(map(answer.__contains__, keys))
    return len(answer) if isinstance(answer, Sized) else 1
