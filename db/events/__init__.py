"""Live updates: who has subscribed to what, and which events each subscriber receives, in order, without gap or double.

Triggers write a log in the transaction of each change and notify; the ledger is the log of its accounts. `hub` opens a
stream of events for a subject, of which `topics` defines the terms. The room knows tables, and neither viewers nor
GraphQL: who may see an event is decided where its row is read.
"""

from db.events.hub import Events
from db.events.streams import EndReason, EventStream, StreamEndedError
from db.events.topics import EventsExpiredError, EventTopic, LoggedEvent, Subject

__all__ = [
    "EndReason",
    "EventStream",
    "EventTopic",
    "Events",
    "EventsExpiredError",
    "LoggedEvent",
    "StreamEndedError",
    "Subject",
]
