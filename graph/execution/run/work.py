"""The work that a run waits for: what has begun ends with the run, or as soon as nothing needs it any more."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Hashable, Iterator
from dataclasses import dataclass
from dataclasses import field as attribute
from typing import Any

from graph.execution.declarations import BoundEdge, LevelLoader
from graph.execution.plan.levels import FieldPlan
from graph.execution.run.frames import Frame
from graph.execution.run.values import abandon
from graph.execution.traces import caught

Needed = Collection[Hashable]
"""What the response still needs: fields as (id of the frame, slot), values as (id, slot, index), and ids of frames."""


@dataclass(slots=True, eq=False)
class LevelLoad:
    """One call of a loader, for all edges of a wave that share it.

    Attributes:
        errors: the errors of rows without a key, by the `FieldError` that takes the place of the key.
    """

    loader: LevelLoader
    keys: dict[Any, None] = attribute(default_factory=dict)
    errors: dict[Any, Exception] = attribute(default_factory=dict)
    edges: list[tuple[Frame, FieldPlan, BoundEdge, list[Any]]] = attribute(default_factory=list)

    def keep(self, needed: Needed) -> bool:
        """Forget the edges that are not needed, and return whether any is left."""
        self.edges = [edge for edge in self.edges if (id(edge[0]), edge[1].slot) in needed]
        return bool(self.edges)

    async def answers(self) -> dict[Any, Any]:
        """Call the loader, and return the values or errors by key."""
        keys = list(self.keys)
        try:
            answers = dict(zip(keys, await self.loader.load_level(keys), strict=True)) if keys else {}
        except Exception as error:  # noqa: BLE001 - any exception of a loader is the error of all its edges
            answers = dict.fromkeys(keys, caught(error))
        return {**answers, **self.errors, None: None}


@dataclass(slots=True, eq=False)
class PendingWork:
    """Something that a run waits for.

    Attributes:
        wave: the wave that it belongs to.
        waiting: does the work, and returns its result.
        take: takes the result.
        load: the call of a loader that it is; else None.
        raw: the value that `waiting` awaits, or a list of them, which is ended with it.
        field: the field that needs it: the id of its frame, and its slot.
        index: the number of the only value of the field that needs it; None if all do.
    """

    wave: int
    waiting: Coroutine[Any, Any, Any]
    take: Callable[[Any], None]
    load: LevelLoad | None = None
    raw: Any = None
    field: tuple[int, ...] = ()
    index: int | None = None

    def is_needed(self, needed: Needed) -> bool:
        """Return whether it is still needed. The call of a loader is, until nothing is."""
        if self.load is not None:
            self.load.keep(needed)
            return bool(needed)
        return (self.field if self.index is None else (*self.field, self.index)) in needed


class Works:
    """The work of one run that has not ended. A single work is awaited without a task."""

    def __init__(self) -> None:
        self._new: list[PendingWork] = []
        self._tasks: dict[asyncio.Task[Any], PendingWork] = {}
        self._done: asyncio.Queue[asyncio.Task[Any]] = asyncio.Queue()

    def __bool__(self) -> bool:
        return bool(self._new or self._tasks)

    def __iter__(self) -> Iterator[PendingWork]:
        yield from self._new
        yield from self._tasks.values()

    def add(self, work: PendingWork) -> None:
        """Add work, which begins at the next call of `some`."""
        self._new.append(work)

    async def some(self) -> list[tuple[PendingWork, Any]]:
        """Wait until some work has ended. Return all work that has, each with its result."""
        if len(self._new) == 1 and not self._tasks:
            work = self._new[0]
            result = await work.waiting
            self._new.clear()
            return [(work, result)]
        for work in self._new:
            task = asyncio.ensure_future(work.waiting)
            task.add_done_callback(self._done.put_nowait)
            self._tasks[task] = work
        self._new.clear()
        ended = [await self._done.get()]
        while not self._done.empty():
            ended.append(self._done.get_nowait())
        return [(self._tasks.pop(task), task.result()) for task in ended if task in self._tasks]

    async def drop(self, works: Collection[PendingWork]) -> None:
        """Cancel these works, and wait until they have ended."""
        tasks = [task for task, work in self._tasks.items() if work in works]
        for task in tasks:
            del self._tasks[task]
            task.cancel()
        self._new = [work for work in self._new if work not in works]
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)
        for work in works:  # what has not begun is closed, so that Python does not warn that it was never awaited
            work.waiting.close()
            abandon(work.raw)
