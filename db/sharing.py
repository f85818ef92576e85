"""Shared statements: what concurrent operations ask for with the same statement, read by one.

A statement costs its sender some 40 µs and the server as much, however few rows it returns; many operations that each
read a row or two by key spend most of their time on that. So calls that differ in their keys alone, in the same
statement with the same other values (the viewer's id among them, where the statement uses it: who may see what is the
same for all that share), become one call with all their keys. Calls that do not differ at all, such as those for the
first page of a list that everybody looks at, become one likewise.

One of those who share, the *leader*, runs the statement as part of its own work and gives the others the rows: a task
for each statement would be a good part of what the statement costs. A leader that is cancelled hands on the lead, and
the statement is run anew for those who are left.

What is shared is what has not been sent yet. Nobody is given rows that were read before they asked, so that everyone
sees their own writes. Calls that come while `IN_FLIGHT_MAX` statements of their kind are under way wait for one to
end, but not longer than `HELD_BACK_MAX_S`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence, Sized
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

_LEAD = object()
"""What a call is told, instead of an answer, that is to run the statement itself."""


@dataclass(slots=True, eq=False)
class _Batch:
    """Calls that will be one statement, or are.

    Attributes:
        waiting: the calls without the leader.
        is_led: whether a leader was found, now or before.
    """

    keys: dict[int, None] = field(default_factory=dict)
    waiting: list[asyncio.Future[Any]] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None
    is_led: bool = False
    elapsed_ns: int = 0

    @property
    def open(self) -> list[asyncio.Future[Any]]:
        """Those who still wait."""
        return [one for one in self.waiting if not one.done()]


@dataclass(slots=True, eq=False)
class _Queue:
    """Calls of one kind: those under way, and those that come next."""

    in_flight: int = 0
    next: _Batch | None = None


class SharedReads:
    """The calls of one process. `fetch` counts nothing: who shares a statement counts it as its own."""

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
        names = statement.parameters_but_keys
        kind = (statement, arrange, tuple([values[name] for name in names]) if names else ())
        queue = self._queues.get(kind)
        if queue is None:
            queue = self._queues[kind] = _Queue()
        batch = queue.next
        waiting: asyncio.Future[Any] | None = None
        if batch is not None:
            waiting = self._joined(kind, queue, batch, keys)
        elif queue.in_flight >= IN_FLIGHT_MAX:
            batch = queue.next = _Batch()
            loop = asyncio.get_running_loop()
            batch.timer = loop.call_later(HELD_BACK_MAX_S, self._find_leader, kind, queue, batch)
            waiting = self._joined(kind, queue, batch, keys)
        else:
            batch = queue.next = _Batch(dict.fromkeys(keys), is_led=True)
            queue.in_flight += 1
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
            current = tally.get()
            if current is not None:
                current.add(statement.sql, None, batch.elapsed_ns, error)
            raise
        current = tally.get()
        if current is not None:
            current.add(statement.sql, _found(answer, keys), batch.elapsed_ns)
        return answer

    async def _led(self, kind: Kind, queue: _Queue, batch: _Batch) -> Any:
        """Run the statement in the next turn of the loop: others may be ready to join it in this one."""
        if len(batch.keys) >= KEYS_MAX:
            queue.next = None  # it is full: who comes now opens another
        try:
            await asyncio.sleep(0)
        except BaseException:
            self._hand_on(kind, queue, batch)
            raise
        return await self._run(kind, queue, batch)

    def _joined(self, kind: Kind, queue: _Queue, batch: _Batch, keys: Sequence[int]) -> asyncio.Future[Any]:
        """Return what comes to the answer for `keys` too, or to `_LEAD` where this call is to be the leader."""
        for key in keys:
            batch.keys[key] = None
        waiting: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        batch.waiting.append(waiting)
        if len(batch.keys) >= KEYS_MAX and queue.next is batch:
            queue.next = None  # likewise
            self._find_leader(kind, queue, batch)
        return waiting

    def _leave(self, kind: Kind, queue: _Queue, batch: _Batch, waiting: asyncio.Future[Any]) -> None:
        """Wait no longer; where the call was told to lead in the turn in which it was cancelled, another one leads."""
        if waiting.done() and not waiting.cancelled() and not waiting.exception() and waiting.result() is _LEAD:
            self._hand_on(kind, queue, batch)

    async def _run(self, kind: Kind, queue: _Queue, batch: _Batch) -> Any:
        """Run the statement as its leader, and give the answer to the others."""
        if queue.next is batch:
            queue.next = None
        statement, arrange, given = kind
        values = dict(zip(statement.parameters_but_keys, given, strict=True))
        values[KEYS] = list(batch.keys)
        started = time.perf_counter_ns()
        try:
            answer = arrange(await self._fetch(statement, values))
        except Exception as error:
            batch.elapsed_ns = time.perf_counter_ns() - started
            for one in batch.open:
                one.set_exception(error)
            self._end(kind, queue)
            raise
        except BaseException:  # the leader's end, not the statement's
            self._hand_on(kind, queue, batch)
            raise
        batch.elapsed_ns = time.perf_counter_ns() - started
        for one in batch.open:
            one.set_result(answer)
        self._end(kind, queue)
        return answer

    def _find_leader(self, kind: Kind, queue: _Queue, batch: _Batch) -> None:
        """Have one of the calls of a batch run its statement, unless one does already."""
        if batch.is_led:
            return
        if batch.timer is not None:
            batch.timer.cancel()
        batch.is_led = True
        queue.in_flight += 1
        self._hand_on(kind, queue, batch)

    def _hand_on(self, kind: Kind, queue: _Queue, batch: _Batch) -> None:
        """Let another call of the batch lead; where nobody waits any more, nothing is asked."""
        for one in batch.open:
            one.set_result(_LEAD)
            return
        if queue.next is batch:
            queue.next = None
        self._end(kind, queue)

    def _end(self, kind: Kind, queue: _Queue) -> None:
        """Go on with the next batch when one is over."""
        queue.in_flight -= 1
        if queue.next is not None:
            self._find_leader(kind, queue, queue.next)
        elif not queue.in_flight:
            self._queues.pop(kind, None)


def _found(answer: Any, keys: Sequence[int]) -> int:
    """Return how much of an answer is whose call it was: the keys that have a row, or all of it."""
    if len(keys) == 1:
        return int(keys[0] in answer)
    if keys:
        return len(keys) if len(answer) == len(keys) else sum(map(answer.__contains__, keys))
    return len(answer) if isinstance(answer, Sized) else 1
