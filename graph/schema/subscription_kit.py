"""The parts that all subscriptions share: the declaration of a field, its argument `after`, and its stream."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import strawberry
from graphql import GraphQLError

from db.events import EventsExpiredError, LoggedEvent, Subject
from db.query.cursors import CursorError
from graph.errors import BadInput
from graph.execution import DECLARATION, Derived
from graph.runtime.context import Info
from graph.runtime.live_events import CURSOR, LiveEvents, is_event_for
from graph.schema.fields import column
from graph.schema.nodes import OBJECT_OF

CURSOR_DESCRIPTION = "Opaque; give the last one back as `after` to get all that was missed."

After = Annotated[
    str | None,
    strawberry.argument(
        description=(
            "The cursor of the last event that the client has received. Without it the subscription begins now. If "
            "the cursor is older than the kept events, the error EVENTS_EXPIRED is returned."
        )
    ),
]


def cursor_field() -> Any:
    """Declare the cursor of an event."""
    return column(CURSOR, CURSOR_DESCRIPTION)


def subscription(resolver: Callable[..., Awaitable[LiveEvents]], description: str) -> Any:
    """Declare a subscription. Its resolver opens the events, which `live_events` returns."""
    declaration = Derived(lambda event: event.row, bare=True)
    metadata: dict[Any, object] = {DECLARATION: declaration}
    return strawberry.subscription(resolver=resolver, description=description, metadata=metadata)


async def live_events(
    info: Info,
    subject: Subject,
    after: str | None,
    event_type: str,
    shows: Callable[[LoggedEvent], Awaitable[bool]] | None = None,
) -> LiveEvents:
    """Open the events of a subject for the viewer.

    Args:
        info: of the field.
        subject: the subject.
        after: the argument of the same name.
        event_type: the type of the objects of the events.
        shows: whether the viewer receives an event; without it, `is_event_for` decides.

    Raises:
        BadInput: `after` is not a cursor of this subject.
        GraphQLError: EVENTS_EXPIRED.
        Unavailable: the database does not answer.
    """
    context, viewer = info.context, info.context.viewer

    async def is_shown(event: LoggedEvent) -> bool:
        return is_event_for(viewer, event)

    try:
        stream = await context.services.events.open(subject, after)
    except CursorError as error:
        raise BadInput(f"after is {error}") from None
    except EventsExpiredError:
        raise GraphQLError(
            "after is the cursor of an event whose successors are not kept any more; fetch the data again, and "
            "subscribe without after",
            extensions={"code": "EVENTS_EXPIRED"},
        ) from None
    return LiveEvents(info.field_name, stream, shows or is_shown, OBJECT_OF[event_type])
