"""Shared statements: what concurrent operations ask for with the same statement, read by one.

A statement costs its sender some 40 µs and the server as much, however few rows it returns; many operations that each
read a row or two by key spend most of their time on that. So calls that differ in their keys alone, in the same
statement with the same other values (the viewer's id among them, where the statement uses it: who may see what is the
same for all that share), become one call with all their keys. Calls that do not differ at all, such as those for the
first page of a list that everybody looks at, become one likewise.

What is shared is what has not been sent yet. Nobody is given rows that were read before they asked, so that everyone
sees their own writes. Calls that come while `IN_FLIGHT_MAX` statements of their kind are under way wait for one to
end, but not longer than `HELD_BACK_MAX_S`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence, Sized
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any

from asyncpg import Record

from db.statements import KEYS, Statement
from db.tally import tally

IN_FLIGHT_MAX = 1
HELD_BACK_MAX_S = 0.002
KEYS_MAX = 256

Fetch = Callable[[Statement, Mapping[str, object]], Awaitable[Sequence[Record]]]
Arrange = Callable[[Sequence[Record]], Any]
Kind = tuple[Statement, Arrange, tuple[object, ...]]


@dataclass(slots=True, eq=False)
class _Batch:
    """Calls that will be one statement, or are."""

    keys: dict[int, None] = field(default_factory=dict)
    waiting: list[asyncio.Future[Any]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None
    is_running: bool = False
    elapsed_ns: int = 0


@dataclass(slots=True, eq=False)
class _Queue:
    """Calls of one kind: those under way, and those that come next."""

    in_flight: int = 0
    next: _Batch | None = None


class SharedReads:
    """The calls of one process."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._queues: dict[Kind, _Queue] = {}

    async def arranged(
        self, statement: Statement, values: Mapping[str, object], keys: Sequence[int], arrange: Arrange
    ) -> Any:
        """Return what `arrange` makes of the rows of `statement` for `keys` and maybe others, its parameter `ids`.

        Without `keys` it is a statement that has no such parameter.

        Raises:
            Unavailable: as the statement does.
        """
        kind = (statement, arrange, tuple([values[name] for name in statement.parameters_but_keys]))
        queue = self._queues.get(kind)
        if queue is None:
            queue = self._queues[kind] = _Queue()
        batch = queue.next
        if batch is None:
            batch = queue.next = self._opened(kind, queue)
        batch.keys.update(dict.fromkeys(keys))
        waiting: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        batch.waiting.append(waiting)
        if len(batch.keys) >= KEYS_MAX:
            queue.next = None  # it is full: who comes now opens another
            self._send(kind, queue, batch)
        try:
            answer = await waiting
        except asyncio.CancelledError:
            # The last one to leave ends the statement. A task that has not begun sees for itself that nobody waits: one
            # cancelled before its first step would never run what takes it off the queue.
            if batch.is_running and batch.task is not None and all(one.done() for one in batch.waiting):
                batch.task.cancel()
            raise
        except Exception as error:
            current = tally.get()
            if current is not None:
                current.add(statement.sql, None, batch.elapsed_ns, error)
            raise
        current = tally.get()
        if current is not None:
            current.add(statement.sql, _found(answer, keys), batch.elapsed_ns)
        return answer

    def _opened(self, kind: Kind, queue: _Queue) -> _Batch:
        batch = _Batch()
        if queue.in_flight < IN_FLIGHT_MAX:
            self._send(kind, queue, batch)
        else:
            batch.timer = asyncio.get_running_loop().call_later(HELD_BACK_MAX_S, self._send, kind, queue, batch)
        return batch

    def _send(self, kind: Kind, queue: _Queue, batch: _Batch) -> None:
        """Send a batch in the next turn of the loop: others may be ready to join it in this one."""
        if batch.task is not None:
            return
        if batch.timer is not None:
            batch.timer.cancel()
        queue.in_flight += 1
        # In a context of its own: the statement belongs to no one of those who share it.
        loop = asyncio.get_running_loop()
        batch.task = loop.create_task(self._answer(kind, queue, batch), context=Context())

    async def _answer(self, kind: Kind, queue: _Queue, batch: _Batch) -> None:
        batch.is_running = True
        if queue.next is batch:
            queue.next = None
        started = time.perf_counter_ns()
        try:
            if not all(one.done() for one in batch.waiting):
                answer = await self._arranged(kind, batch)
                batch.elapsed_ns = time.perf_counter_ns() - started
                _settle(batch, lambda one: one.set_result(answer))
        except asyncio.CancelledError:
            _settle(batch, lambda one: one.cancel())
            raise
        except Exception as raised:  # noqa: BLE001 - it is theirs, whatever it is
            error = raised
            batch.elapsed_ns = time.perf_counter_ns() - started
            _settle(batch, lambda one: one.set_exception(error))
        finally:
            queue.in_flight -= 1
            if queue.next is not None:
                self._send(kind, queue, queue.next)
            elif not queue.in_flight:
                self._queues.pop(kind, None)

    async def _arranged(self, kind: Kind, batch: _Batch) -> Any:
        statement, arrange, given = kind
        values = dict(zip(statement.parameters_but_keys, given, strict=True))
        return arrange(await self._fetch(statement, {**values, KEYS: list(batch.keys)}))


def _found(answer: Any, keys: Sequence[int]) -> int:
    """Return how much of an answer is whose call it was: the keys that have a row, or all of it."""
    if keys:
        return len(keys) if len(answer) == len(keys) else sum(map(answer.__contains__, keys))
    return len(answer) if isinstance(answer, Sized) else 1


def _settle(batch: _Batch, settle: Callable[[asyncio.Future[Any]], object]) -> None:
    for one in batch.waiting:
        if not one.done():
            settle(one)
