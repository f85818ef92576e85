"""Values as resolvers give them: iterables made lists, what has to be awaited awaited, and work nobody waits for."""

import asyncio
from collections.abc import AsyncIterable, Iterable, Sequence
from types import GeneratorType
from typing import Any

from graphql.pyutils import gather_with_cancel, is_awaitable, is_iterable
from graphql.type import GraphQLResolveInfoHelpers

from graph.execution.leaves import Broken, Raised


def any_awaitable(values: Iterable[Any]) -> bool:
    """Say whether any of the values has to be awaited. Most have one type, which cannot be."""
    if any(kind is GeneratorType or hasattr(kind, "__await__") for kind in set(map(type, values))):
        return any(map(is_awaitable, values))
    return False


def realized(value: Any, lists: int) -> tuple[Any, bool]:
    """Return `value` with lists for all its iterables, and whether something in it has to be awaited yet."""
    if not lists or value is None or isinstance(value, Raised | Exception):
        return value, False
    if hasattr(value, "__aiter__"):
        return value, True
    if not is_iterable(value):
        return value, False
    items: list[Any] = []
    error: Exception | None = value.error if isinstance(value, Broken) else None
    waits = False
    try:
        for item in value:
            inner, pending = (item, True) if is_awaitable(item) else realized(item, lists - 1)
            items.append(inner)
            waits |= pending
    except Exception as raised:  # noqa: BLE001 - an iterator's error is the list's
        error = raised
    return (items if error is None else Broken.of(items, error)), waits


async def awaited(value: Any, lists: int) -> Any:
    """Return `value` with everything in it awaited, and lists for all its iterables; errors become `Raised`."""
    if is_awaitable(value):
        try:
            value = await value
        except Exception as error:  # noqa: BLE001 - an item's error is the item's
            return Raised(error)
    value, waits = realized(value, lists)
    if not waits:
        return value
    if hasattr(value, "__aiter__"):
        return await awaited(await _collected(value), lists)
    value[:] = await asyncio.gather(*(awaited(item, lists - 1) for item in value))
    return value


async def _collected(iterable: AsyncIterable[Any]) -> list[Any]:
    items: list[Any] = []
    try:
        async for item in iterable:
            items.append(item)  # noqa: PERF401 - what went before an error stays
    except Exception as error:  # noqa: BLE001 - an iterator's error is the list's
        return Broken.of(items, error)
    return items


async def _gather(values: Sequence[Any]) -> list[Any]:
    return list(await gather_with_cancel(*values))


def _track(values: Sequence[Any]) -> None:
    """Let work go on that nobody waits for any more, so that its errors are seen."""
    for value in values:
        if is_awaitable(value):
            task = asyncio.ensure_future(value)
            _tracked.add(task)
            task.add_done_callback(_settled)


def _settled(task: asyncio.Future[Any]) -> None:
    _tracked.discard(task)
    if not task.cancelled():
        task.exception()  # seen: the event loop would else log an error that nobody waits for


_tracked: set[asyncio.Future[Any]] = set()
INFO_HELPERS = GraphQLResolveInfoHelpers(gather=_gather, track=_track)
"""What resolvers find in their info, as graphql-core gives it to them."""
