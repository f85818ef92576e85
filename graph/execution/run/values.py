"""Values as resolvers give them: iterables made lists, what has to be awaited awaited, and work nobody waits for."""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Coroutine, Iterable, Sequence
from types import GeneratorType
from typing import Any, TypeVar

from graphql.pyutils import is_awaitable, is_iterable
from graphql.type import GraphQLResolveInfoHelpers

from graph.execution.plan.scalar_output import Broken, FieldError
from graph.execution.traces import caught

T = TypeVar("T")


def any_awaitable(values: Iterable[Any]) -> bool:
    """Say whether any of the values has to be awaited. Most have one type, which cannot be."""
    if any(kind is GeneratorType or hasattr(kind, "__await__") for kind in set(map(type, values))):
        return any(map(is_awaitable, values))
    return False


def realized(value: Any, lists: int) -> tuple[Any, bool]:
    """Return `value` with lists for all its iterables, and whether something in it has to be awaited yet."""
    if not lists or value is None or isinstance(value, FieldError | Exception):
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
    """Return `value` with everything in it awaited, and lists for all its iterables; errors become `FieldError`."""
    if is_awaitable(value):
        try:
            value = await value
        except Exception as error:  # noqa: BLE001 - an item's error is the item's
            return FieldError(caught(error))
    value, waits = realized(value, lists)
    if not waits:
        return value
    if hasattr(value, "__aiter__"):
        return await awaited(await _collected(value), lists)
    value[:] = await gathered([awaited(item, lists - 1) for item in value])
    return value


async def gathered(waiting: Sequence[Awaitable[T]]) -> list[T]:
    """Return what all of `waiting` come to, which run at once. However this ends, none of them runs on.

    Raises:
        BaseException: the first that one of them raises; the others are cancelled, and have ended then.
    """
    running = [asyncio.ensure_future(one) for one in waiting]
    try:
        return await asyncio.gather(*running)
    except BaseException:
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        raise
    finally:
        # The error's traceback holds this frame, and one of these holds the error.
        running.clear()


async def _collected(iterable: AsyncIterable[Any]) -> list[Any]:
    items: list[Any] = []
    try:
        async for item in iterable:
            items.append(item)  # noqa: PERF401 - what went before an error stays
    except Exception as error:  # noqa: BLE001 - an iterator's error is the list's
        return Broken.of(items, error)
    return items


def _track(values: Sequence[Any]) -> None:
    """Give up what nobody waits for any more: nothing of it is to run on when the operation is over.

    A coroutine is closed before it has begun. A future or task was begun by somebody else, who ends it, and others may
    wait for it too. Only its error, which nobody hears of here, is not to be logged by the event loop.
    """
    for value in values:
        if isinstance(value, Coroutine):
            value.close()
        elif isinstance(value, asyncio.Future):
            value.add_done_callback(_seen)


def _seen(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


INFO_HELPERS = GraphQLResolveInfoHelpers(gather=gathered, track=_track)
"""What resolvers find in their info, as graphql-core gives it to them."""
