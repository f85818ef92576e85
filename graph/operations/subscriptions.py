"""Open subscriptions: one result for each event, as an asynchronous iterator. Transports send what it yields.

A transport opens a subscription for one viewer with `open_subscription`, iterates over it, sends each result in its
order, and closes it with `aclose`. The transport decides when the viewer's session has ended, or has another role, and
closes the subscription then. Each event is read again with the viewer's rights, on either engine, with fresh loaders.

No result is delivered twice, and none is skipped: a client that sends the cursor of its last event as `after` receives
the rest (`db.events`). While the database is away, a subscription waits, and then continues where it was.
"""

import asyncio
import datetime
import logging
from collections.abc import Awaitable
from typing import Any, NamedTuple, Self

from graphql import ExecutionResult, GraphQLError, create_source_event_stream

from db.access import Viewer
from db.connections.faults import UNAVAILABLE
from db.errors import Unavailable
from db.events import EndReason, StreamEndedError
from graph.execution import OrdinaryExecutor
from graph.execution.traces import forget_trace, is_expected
from graph.operations.cache import Operation, Operations, RequestRefused, ensure_ran
from graph.operations.dispatch import SMALL, Size
from graph.runtime.context import Context, Services
from graph.runtime.live_events import LiveEvents

__all__ = ["EndReason", "EventResult", "OpenSubscription", "SourceEvent", "SubscriptionEndedError", "open_subscription"]

logger = logging.getLogger(__name__)

# The wait before an event is executed again while the database is away: at first, and at most, in seconds.
RETRY_FIRST_S, RETRY_MAX_S = 0.05, 2.0
ATTEMPTS_MAX = 3
_ERRORS = {
    EndReason.DROPPED: (
        "SUBSCRIBER_TOO_SLOW",
        "the events were not taken in time; subscribe again, with the cursor of the last event as after",
    ),
    EndReason.EXPIRED: (
        "EVENTS_EXPIRED",
        "the events since the last one are not kept any more; fetch the data again, and subscribe without after",
    ),
    EndReason.STOPPED: (
        "SERVER_STOPPING",
        "this server is stopping; subscribe again, with the cursor of the last event as after",
    ),
}


class SubscriptionEndedError(Exception):
    """A subscription has ended for a reason of the server. The client must receive its `error`.

    Attributes:
        reason: `DROPPED`: the transport did not take the events for too long. The client may resume at once, with the
            cursor of its last event as `after`. `EXPIRED`: events that the client has not received were deleted, so
            that it must fetch the data again and subscribe without `after`. `STOPPED`: the process stops; the client
            may resume at another one.
        error: with `extensions.code` SUBSCRIBER_TOO_SLOW, EVENTS_EXPIRED or SERVER_STOPPING.
    """

    def __init__(self, reason: EndReason) -> None:
        code, message = _ERRORS[reason]
        super().__init__(message)
        self.reason = reason
        self.error = GraphQLError(message, extensions={"code": code})


class SourceEvent(NamedTuple):
    """One event of a subscription, before the operation is executed for it.

    Attributes:
        value: what the root field resolves to.
        cursor: the event's cursor, also if the client does not select it.
        created_at: when the change was made, by the clock of the database: to measure the lag until it is sent.
    """

    value: Any
    cursor: str
    created_at: datetime.datetime


class EventResult(NamedTuple):
    """One event of a subscription, executed.

    Attributes:
        result: as of a query; show its errors as those of a query (`graph.errors.presented`).
        cursor: as of `SourceEvent`.
        created_at: as of `SourceEvent`.
    """

    result: ExecutionResult
    cursor: str
    created_at: datetime.datetime


class OpenSubscription:
    """An open subscription: `async for result in subscription`, then `await subscription.aclose()`, in any case.

    A transport that charges or observes each event before it is executed calls `next_event` and `execute` instead.

    Attributes:
        field: the name of its root field in the schema, such as `postPublished`: for metrics.
        is_resumed: whether the client has sent a cursor as `after`.
    """

    def __init__(
        self,
        operations: Operations,
        operation: Operation,
        variables: dict[str, Any],
        services: Services,
        viewer: Viewer,
        size: Size,
        source: LiveEvents,
    ) -> None:
        """Use `open_subscription`."""
        self.field = source.field
        self.is_resumed = source.stream.is_resumed
        self._engines = operations.engines
        self._run = (operation.execution, variables, services, viewer, size)
        self._source = source
        self._event: SourceEvent | None = None

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> EventResult:
        """Wait for the next event, execute the operation for it, and return the result.

        One task at a time may wait. It may be cancelled; the next call continues with the same event.

        Raises:
            SubscriptionEndedError: the server ends the subscription.
            StopAsyncIteration: it was closed.
        """
        if self._event is None:
            self._event = await self.next_event()
        result = await self.execute(self._event)
        self._event = None
        return result

    async def next_event(self) -> SourceEvent:
        """Wait for the next event, and return it; cancellation and exceptions as of `__anext__`."""
        try:
            value = await anext(self._source)
        except StreamEndedError as ended:
            raise SubscriptionEndedError(ended.reason) from None
        return SourceEvent(value, value.row["cursor"], value.row["created_at"])

    async def execute(self, event: SourceEvent) -> EventResult:
        """Execute the operation for an event, and repeat that while the database cannot be reached.

        If the database is busy, or the statements take too long, the result has this error after ATTEMPTS_MAX attempts.
        """
        wait_s, attempts = RETRY_FIRST_S, 0
        while True:
            try:
                result = await self._engines.run(*self._run, event.value)
            except Unavailable as unavailable:
                result = ExecutionResult(None, [GraphQLError(str(unavailable), original_error=unavailable)])
            faults = [fault for fault in map(_unavailable, result.errors or ()) if fault is not None]
            attempts += all(fault.code != UNAVAILABLE for fault in faults)
            if not faults or attempts >= ATTEMPTS_MAX:
                return EventResult(result, event.cursor, event.created_at)
            logger.warning("an event is read again: %s", faults[0].reason or faults[0])
            for error in result.errors or ():
                forget_trace(error)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, RETRY_MAX_S)

    async def aclose(self) -> None:
        """Close the subscription. The feed ends with its last subscriber. A second call does nothing."""
        self._source.stream.close()


async def open_subscription(
    operations: Operations,
    operation: Operation,
    variables: dict[str, Any],
    services: Services,
    viewer: Viewer,
    size: Size = SMALL,
) -> OpenSubscription:
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
            (UNAUTHENTICATED, NOT_FOUND), or the cursor is older than the kept events (EVENTS_EXPIRED).
        Unavailable: the database does not answer.
    """
    context = Context(services, viewer, operation.execution.selection)
    executor = OrdinaryExecutor.build(
        operations.schema,
        operation.execution.document,
        context_value=context,
        raw_variable_values=variables,
        operation_name=operation.name,
        hide_suggestions=operations.engines.hide_suggestions,
    )
    if isinstance(executor, list):
        raise _refused(executor)
    source: Any = create_source_event_stream(executor)
    if isinstance(source, Awaitable):
        source = await source
    if isinstance(source, ExecutionResult):
        raise _refused(source.errors or [])
    assert isinstance(source, LiveEvents)
    return OpenSubscription(operations, operation, variables, services, viewer, size, source)


def _refused(errors: list[GraphQLError]) -> Exception:
    """Return the exception for a subscription that could not be opened."""
    try:
        ensure_ran(ExecutionResult(None, errors))
    except RequestRefused as invalid_variables:
        return invalid_variables
    for error in errors:
        original = _unavailable(error) or error.original_error
        if original is not None and not is_expected(original):
            return original
        forget_trace(error)
    return RequestRefused(*errors)


def _unavailable(error: BaseException | None) -> Unavailable | None:
    while isinstance(error, GraphQLError):
        error = error.original_error
    return error if isinstance(error, Unavailable) else None
