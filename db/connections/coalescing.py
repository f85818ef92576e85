"""Request coalescing: concurrent reads with the same statement become one execution of that statement.

A statement costs the client some 40 µs and the server as much, however few rows it returns. Operations that each read a
row or two by key spend most of their time on that. Two kinds of calls are therefore combined:

- Calls that differ in their keys alone become one call with all their keys. The statement and its other values are the
  same. If the statement depends on the viewer, the viewer's id is one of these values, so that all calls of a batch
  have the same access rights.
- Calls that do not differ at all, such as those for the first page of a popular list, become one call.

There is one mechanism. A `PendingRead` subscribes to a batch. Each batch has one task, which waits for its turn, runs
the statement, and passes the result to all subscribers; a call that awaits its rows subscribes with a future. The task
is cancelled when the last subscriber leaves. It belongs to no caller: its context is empty, and each subscriber
receives its own copy of an error.

A call can join a batch only until the statement is sent. No caller receives rows that were read before its call, so
that every client sees its own writes. The first statement of a kind is sent at the end of the turn of the event loop in
which it was requested, so that equal calls of that turn share it. To send it within the turn saves a lone call nothing
that can be measured; 32 concurrent calls then need twice as many statements, and 1.5 times the processor time. While
`IN_FLIGHT_MAX` statements of a kind are running, further calls of that kind wait until one of them ends, but at most
`HELD_BACK_MAX_S`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence, Sized
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, Protocol

from asyncpg import Record

from db.connections.faults import UNAVAILABLE
from db.connections.shares import Share, Shares, share
from db.connections.statements import KEYS, Statement
from db.connections.statistics import query_statistics
from db.errors import Unavailable, copy_of

logger = logging.getLogger(__name__)

IN_FLIGHT_MAX = 1
HELD_BACK_MAX_S = 0.002
KEYS_MAX = 256
# How long the statements that are in flight may take to end after their connections were closed.
CLOSE_TIMEOUT_S = 1.0

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


Read = Callable[[Statement, Mapping[str, object], Share | None, Timed], Awaitable[Sequence[Record]]]


@dataclass(slots=True, eq=False)
class _Batch:
    """Calls that share one statement, before it is sent or while it runs.

    Attributes:
        share: the share of the caller that opened the batch, which counts its connection.
        turn: is done as soon as the statement may be sent; None if it need not wait.
    """

    keys: dict[int, None]
    share: Share | None
    subscribers: list[Subscriber]
    turn: asyncio.Future[None] | None = None
    task: asyncio.Task[None] | None = None
    is_sent: bool = False
    elapsed_ns: int = 0

    async def wait(self, turn: asyncio.Future[None]) -> None:
        """Wait until the statement may be sent."""
        timer = asyncio.get_running_loop().call_later(HELD_BACK_MAX_S, self.wake)
        try:
            await turn
        finally:
            timer.cancel()

    def wake(self) -> None:
        """Let the statement be sent in the next turn of the event loop."""
        if self.turn is not None and not self.turn.done():
            self.turn.set_result(None)


@dataclass(slots=True, eq=False)
class _Queue:
    """The calls of one kind: the batches whose tasks have not ended, and the one that calls can join."""

    batches: set[_Batch] = field(default_factory=set)
    next: _Batch | None = None


class CoalescedReads:
    """The coalesced reads of one process. `read` counts no statement: each caller counts the shared one as its own.

    Attributes:
        queues: the kinds of which a statement is requested or running.
    """

    def __init__(self, read: Read, shares: Shares) -> None:
        self._read = read
        self.shares = shares
        self.queues: dict[ReadKind, _Queue] = {}

    async def close(self) -> None:
        """Wait until the statements in flight have ended; end those that take too long."""
        tasks = [one.task for queue in self.queues.values() for one in queue.batches if one.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=CLOSE_TIMEOUT_S)

    async def run(self, kind: ReadKind, queue: _Queue, batch: _Batch) -> None:
        """Send the statement of a batch when it is its turn, and pass the result to all subscribers."""
        statement, map_rows, arguments = kind
        answer, error = None, None
        try:
            if batch.turn is not None:
                await batch.wait(batch.turn)
            if queue.next is batch:
                queue.next = None
            for one in batch.subscribers:
                if isinstance(one, _Waiter) and one.future.done():
                    continue  # its call was cancelled in this turn of the event loop, and leaves in the next one
                batch.is_sent = True
                values = dict(zip(statement.parameters_but_keys, arguments, strict=True))
                values[KEYS] = [*batch.keys]
                answer = map_rows(await self._read(statement, values, batch.share, batch))
                break
        except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001 - any is the error of the subscribers
            error = _error_of(raised)
        batch.task = None
        queue.batches.discard(batch)
        if queue.next is not None:
            queue.next.wake()
        elif not queue.batches:
            del self.queues[kind]
        subscribers, batch.subscribers = batch.subscribers, []  # they refer to the batch: a reference cycle
        for one in subscribers:
            try:
                one.on_result(answer, error and copy_of(error), batch.elapsed_ns)
            except Exception:  # a bug in one subscriber must not affect the others
                logger.exception("a subscriber failed to take its answer")


@dataclass(slots=True, eq=False)
class PendingRead:
    """A read of rows that is not sent yet. Either `await` it or call `subscribe`.

    `keys` becomes the parameter `ids`. Rows for the keys of other callers may be included. If `keys` is empty, the
    statement has no such parameter.
    """

    _reads: CoalescedReads
    statement: Statement
    _values: Mapping[str, object]
    _keys: Sequence[int]
    _map_rows: MapRows
    _batch: _Batch | None = None

    def subscribe(self, subscriber: Subscriber, caller: str | None = None) -> None:
        """Notify `subscriber` in a later turn of the event loop.

        The connection counts for the share of `caller`, or of the current operation if `caller` is None. The
        statement is added to no statistics: the subscriber counts it.
        """
        reads, names, values = self._reads, self.statement.parameters_but_keys, self._values
        kind = (self.statement, self._map_rows, tuple(map(values.__getitem__, names)) if names else ())
        queue = reads.queues.get(kind)
        if queue is None:
            queue = reads.queues[kind] = _Queue()
        batch = queue.next
        if batch is None:
            own = share.get() if caller is None else Share(reads.shares, caller)
            batch = queue.next = _Batch(dict.fromkeys(self._keys), own, [subscriber])
            loop = asyncio.get_running_loop()
            if len(queue.batches) >= IN_FLIGHT_MAX:
                batch.turn = loop.create_future()
            queue.batches.add(batch)
            # The task starts with an empty context: it must not inherit the request that happened to create it.
            batch.task = loop.create_task(reads.run(kind, queue, batch), context=Context())
        else:
            batch.subscribers.append(subscriber)
            batch.keys.update(dict.fromkeys(self._keys))
        if len(batch.keys) >= KEYS_MAX:
            queue.next = None  # the batch is full: the next call opens another
            batch.wake()
        self._batch = batch

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Stop notifications to `subscriber`. A running statement that has no subscriber left is cancelled."""
        # A cancelled call keeps its frames for a while, and the closed connection of its statement keeps others.
        batch, self._batch = self._batch, None
        if batch is not None and subscriber in batch.subscribers:
            batch.subscribers.remove(subscriber)
            if batch.is_sent and batch.task is not None and not batch.subscribers:
                batch.task.cancel()

    def __await__(self) -> Generator[Any, Any, Any]:
        """Return the result of `map_rows` for the rows of the statement.

        Raises:
            Unavailable: the statement raised it.
        """
        current = query_statistics.get()
        waiter = _Waiter(asyncio.get_running_loop().create_future())
        self.subscribe(waiter)
        try:
            answer = yield from waiter.future
        except asyncio.CancelledError:
            self.unsubscribe(waiter)
            del waiter  # its future may hold an error that came at the same time
            raise
        except Exception as error:
            if current is not None:
                current.add(self.statement.sql, None, waiter.elapsed_ns, error)
            del waiter  # the trace of the error holds this frame, and the future holds the error
            raise
        if current is not None:
            current.add(self.statement.sql, _own_rows(answer, self._keys), waiter.elapsed_ns)
        return answer


@dataclass(slots=True, eq=False)
class _Waiter:
    """The subscriber of a call that awaits its rows."""

    future: asyncio.Future[Any]
    elapsed_ns: int = 0

    def on_result(self, answer: Any, error: Exception | None, elapsed_ns: int) -> None:
        self.elapsed_ns = elapsed_ns
        if self.future.done():  # its call was cancelled in this turn of the event loop
            return
        if error is None:
            self.future.set_result(answer)
        else:
            self.future.set_exception(error)


def _error_of(raised: BaseException) -> Exception:
    """Return the error of the subscribers of a batch whose task has raised.

    A cancellation ends here: the task would keep it, and it would keep the task, in a reference cycle. Either the last
    subscriber has left, or the process stops.
    """
    if isinstance(raised, Exception):
        return copy_of(raised)
    return Unavailable(UNAVAILABLE, "this server is stopping; try again shortly")


def _own_rows(answer: Any, keys: Sequence[int]) -> int:
    """Return how many rows of a shared answer belong to one call: the keys that have a row, or all rows."""
    if len(keys) == 1:
        return int(keys[0] in answer)
    if keys:
        return len(keys) if len(answer) == len(keys) else sum(map(answer.__contains__, keys))
    return len(answer) if isinstance(answer, Sized) else 1
