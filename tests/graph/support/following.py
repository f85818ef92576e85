"""Subscriptions as transports open them, without a transport."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from fastapi import FastAPI

from db.access import ANONYMOUS, Viewer
from graph.operations.cache import Operations, RequestRefused
from graph.operations.subscriptions import OpenSubscription, open_subscription
from tests.graph.support.callers import Person

ARRIVES_S = 60.0


def viewer_of(person: Person | None, *, is_admin: bool = False) -> Viewer:
    """Return a person as a viewer."""
    return ANONYMOUS if person is None else Viewer(user_id=person.number, is_admin=is_admin)


@asynccontextmanager
async def following(app: FastAPI, viewer: Viewer, text: str, **variables: Any) -> AsyncIterator[OpenSubscription]:
    """Open a subscription, and close it."""
    operations: Operations = app.state.operations
    operation = operations.find(text, None)
    price = operation.priced(variables)
    assert price.cost >= 1
    subscription = await open_subscription(operations, operation, variables, app.state.services, viewer)
    try:
        yield subscription
    finally:
        await subscription.aclose()


async def refusals(app: FastAPI, viewer: Viewer, text: str, **variables: Any) -> list[tuple[str, str]]:
    """Return the codes and messages with which a subscription is refused."""
    with pytest.raises(RequestRefused) as refused:
        async with following(app, viewer, text, **variables):
            pass
    return [((error.extensions or {})["code"], error.message) for error in refused.value.errors]


async def received(subscription: OpenSubscription, count: int = 1) -> list[dict[str, Any]]:
    """Return the data of the next events, which have no errors."""
    found = []
    async with asyncio.timeout(ARRIVES_S):
        for _ in range(count):
            event = await anext(subscription)
            assert event.result.errors is None
            assert event.result.data is not None
            found.append(orjson.loads(orjson.dumps(event.result.data)))
    return found
