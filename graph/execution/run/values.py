"""Values that resolvers return: iterables become lists, awaitables are awaited, and abandoned work is ended."""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Coroutine, Iterable, Sequence
from contextlib import suppress
from types import GeneratorType
from typing import Any, TypeVar

from graphql import Undefined, get_nullable_type, is_leaf_type, is_list_type, is_non_null_type
from graphql.pyutils import is_awaitable, is_iterable
from graphql.type import GraphQLResolveInfoHelpers

from graph.execution.plan.levels import list_depth
from graph.execution.plan.scalar_output import Broken, FieldError, NeedsErrorPath, coerced
from graph.execution.traces import caught

T = TypeVar("T")

ABANDONED = FieldError(Exception("nothing needs this value"))
"""Takes the place of a value that was not awaited to its end, because the position above it is null already."""


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


async def awaited(value: Any, type_: Any = None) -> Any:
    """Return a value of `type_` with all awaitables in it awaited, and lists in place of its iterables.

    Errors become `FieldError` values. A list that is null because of one of its items is not awaited to its end: the
    items that are left are `ABANDONED`. Without a type, the value is not a list.
    """
    if is_awaitable(value):
        try:
            value = await value
        except Exception as error:  # noqa: BLE001 - an awaitable's error is the error of this item alone
            return FieldError(caught(error))
    lists = list_depth(type_)
    value, waits = realized(value, lists)
    if not waits:
        return value
    item_type = get_nullable_type(type_).of_type
    if hasattr(value, "__aiter__"):
        value, waits = realized(await _collected(value, item_type), lists)
        if not waits:
            return value
    results: list[Any] = [ABANDONED] * len(value)
    never_null = is_non_null_type(item_type)

    async def take(index: int, item: Any) -> None:
        results[index] = await awaited(item, item_type)
        if never_null and is_nulled(results[index], item_type):
            raise NeedsErrorPath

    if not isinstance(value, Broken):
        with suppress(NeedsErrorPath):
            await gathered([take(index, item) for index, item in enumerate(value)])
    abandon(value)
    value[:] = results
    return value


async def _collected(iterable: AsyncIterable[Any], item_type: Any) -> list[Any]:
    """Return the items of an async iterable. It is closed at the first item that makes the list null."""
    items: list[Any] = []
    iterator = aiter(iterable)
    try:
        async for item in iterator:
            items.append(item)
            if is_non_null_type(item_type) and not is_awaitable(item) and is_nulled(item, item_type):
                break
    except Exception as error:  # noqa: BLE001 - an iterator's error is the error of the list
        return Broken.of(items, caught(error))
    finally:
        if hasattr(iterator, "aclose"):
            with suppress(Exception):  # the list is complete, or has an error already
                await iterator.aclose()
    return items


def is_nulled(value: Any, type_: Any) -> bool:
    """Return whether a resolved value of `type_` is null or becomes null; a link stands for an object."""
    if value is None or value is Undefined or isinstance(value, FieldError | Broken | Exception):
        return True
    inner = get_nullable_type(type_)
    if is_list_type(inner):
        item_type = inner.of_type
        items = value if isinstance(value, list) and is_non_null_type(item_type) else ()
        return any(is_nulled(item, item_type) for item in items)
    if is_leaf_type(inner):
        try:
            coerced(inner, value)
        except Exception:  # noqa: BLE001 - any exception of a scalar is the field's error
            return True
    return False


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


def abandon(value: Any) -> None:
    """End an awaitable, or the awaitables of a list, that nothing awaits any more (`_track`)."""
    if isinstance(value, list):
        for item in value:
            abandon(item)
    else:
        _track([value])


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
