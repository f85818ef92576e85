"""Values that resolvers return: iterables become lists, awaitables are awaited, and abandoned work is ended."""

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
    """Return whether any value must be awaited. The check by type is fast, because most fields have one value type."""
    if any(kind is GeneratorType or hasattr(kind, "__await__") for kind in set(map(type, values))):
        return any(map(is_awaitable, values))
    return False


def realized(value: Any, lists: int) -> tuple[Any, bool]:
    """Return `value` with lists in place of its iterables, to the depth `lists`, and whether it contains awaitables."""
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
    except Exception as raised:  # noqa: BLE001 - an iterator's error is the error of the list
        error = raised
    return (items if error is None else Broken.of(items, error)), waits


async def awaited(value: Any, lists: int) -> Any:
    """Return `value` with all awaitables in it awaited, and lists in place of its iterables, to the depth `lists`.

    Errors become `FieldError` values.
    """
    if is_awaitable(value):
        try:
            value = await value
        except Exception as error:  # noqa: BLE001 - an awaitable's error is the error of this item alone
            return FieldError(caught(error))
    value, waits = realized(value, lists)
    if not waits:
        return value
    if hasattr(value, "__aiter__"):
        return await awaited(await _collected(value), lists)
    value[:] = await gathered([awaited(item, lists - 1) for item in value])
    return value


async def gathered(waiting: Sequence[Awaitable[T]]) -> list[T]:
    """Run all awaitables concurrently, and return their results. When this function ends, all of them have ended.

    Raises:
        BaseException: the first exception of any of them; the others have been cancelled and have ended.
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
        # The error's traceback holds this frame, and one of these tasks holds the error: that is a cycle.
        running.clear()


async def _collected(iterable: AsyncIterable[Any]) -> list[Any]:
    items: list[Any] = []
    try:
        async for item in iterable:
            items.append(item)  # noqa: PERF401 - items before an error stay
    except Exception as error:  # noqa: BLE001 - an iterator's error is the error of the list
        return Broken.of(items, error)
    return items


def _track(values: Sequence[Any]) -> None:
    """End abandoned work: awaitables whose results are no longer needed must not run on after the operation.

    A coroutine has not started, and is closed. A future or task belongs to the code that made it, and other code may
    await it too, so it is not cancelled here. Its error is marked as retrieved, so that the event loop does not log it.
    """
    for value in values:
        if isinstance(value, Coroutine):
            value.close()
        elif isinstance(value, asyncio.Future):
            value.add_done_callback(_retrieve_exception)


def _retrieve_exception(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


INFO_HELPERS = GraphQLResolveInfoHelpers(gather=gathered, track=_track)
"""The helpers in the info of resolvers, in the form of graphql-core's own."""
