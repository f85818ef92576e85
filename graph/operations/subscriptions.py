"""Open subscriptions: one result for each event, as an asynchronous iterator. Transports send what it yields.

A transport opens a subscription for one viewer with `open_subscription`, iterates over it, sends each result in its
order, and closes it with `aclose`. The transport decides when the viewer's session is over, or has another role, and
closes the subscription then. Each event is read anew with the viewer's rights, on either engine, with fresh loaders.

No result is delivered twice, and none is skipped: a client that sends the cursor of its last event as `after` receives
the rest (`db.events`). While the database is away, a subscription waits, and then continues where it was.
"""

import asyncio
import datetime
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, NamedTuple, Self

from graphql import ExecutionResult, GraphQLError

from db.access import Viewer
from db.errors import Unavailable
from db.events import EndReason, StreamEndedError
from graph.execution.traces import forget_trace
from graph.operations.cache import Operation, Operations, RequestRefused, ensure_ran
from graph.operations.dispatch import SMALL, Size
from graph.runtime.context import Services

__all__ = ["EndReason", "EventResult", "Subscription", "SubscriptionEndedError", "open_subscription"]

logger = logging.getLogger(__name__)

# While the database is away, the reads of an event are repeated after the first of these times, in seconds, and then
# after twice the last one, up to the second.
RETRY_FIRST_S, RETRY_MAX_S = 0.05, 2.0


class SubscriptionEndedError(Exception):
    """A subscription has ended for a reason of the server. Its `error` is what the client must be told.

    Attributes:
        reason: `DROPPED`: the transport did not take the events for too long. The client may resume at once, with the
            cursor of its last event as `after`. `EXPIRED`: events that the client has not received were deleted, so
            that it must fetch the data again and subscribe without `after`. `STOPPED`: the process stops; the client
            may resume at another one.
        error: with `extensions.code` SUBSCRIBER_TOO_SLOW, EVENTS_EXPIRED or SERVER_STOPPING.
    """

    def __init__(self, reason: EndReason, error: GraphQLError) -> None:
        super().__init__(error.message)
        self.reason = reason
        self.error = error


class EventResult(NamedTuple):
    """One event of a subscription, executed.

    Attributes:
        result: as of a query; show its errors as those of a query (`graph.errors.presented`).
        cursor: the event's cursor, also if the client did not select it.
        created_at: when the change was made, by the clock of the database: to measure the lag until it is sent.
    """

    result: ExecutionResult
    cursor: str
    created_at: datetime.datetime


class Subscription:
    """An open subscription: `async for event in subscription`, then `await subscription.aclose()`, in any case.

    Attributes:
        field: the name of its root field in the schema, such as `postPublished`: for metrics.
        is_resumed: whether the client has sent a cursor as `after`.
        delivered: the number of results so far.
    """

    def __init__(
        self,
        operations: Operations,
        operation: Operation,
        variables: dict[str, Any],
        services: Services,
        viewer: Viewer,
        size: Size,
        source: AsyncIterator[Any],
    ) -> None:
        """Use `open_subscription`."""
        self.field = operation.root_field
        self.is_resumed = bool(getattr(source, "is_resumed", False))
        self.delivered = 0
        self._operations = operations
        self._run = (operation.execution, variables, services, viewer, size)
        self._source = source

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> EventResult:
        """Wait for the next event, execute the operation for it, and return the result.

        One task at a time may wait. It may be cancelled while it waits; the next call continues with the same event.

        Raises:
            SubscriptionEndedError: the server ends the subscription.
            StopAsyncIteration: it was closed.
        """
        raise NotImplementedError

    async def aclose(self) -> None:
        """Close the subscription. The feed ends with its last subscriber. A second call does nothing."""
        raise NotImplementedError


async def open_subscription(
    operations: Operations,
    operation: Operation,
    variables: dict[str, Any],
    services: Services,
    viewer: Viewer,
    size: Size = SMALL,
) -> Subscription:
    """Open a subscription as `viewer`. Events from now on are part of it, and with `after` all later than the cursor.

    Args:
        operations: executes the events.
        operation: a subscription (`operation.kind == "subscription"`), priced and admitted by the caller. Its price is
            the price of one event.
        variables: as the client sent them.
        services: of the process.
        viewer: whose rights all events have.
        size: of one event, as `Operations.run` takes it.

    Raises:
        RequestRefused: the variables or arguments are invalid (BAD_USER_INPUT), the viewer may not see the subject
            (UNAUTHENTICATED, FORBIDDEN), or the cursor is older than the kept events (EVENTS_EXPIRED).
        Unavailable: the database does not answer.
    """
    raise NotImplementedError
