"""The terms of live updates: topics, subjects, events, positions in a log, and cursors."""

import datetime
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from db.query.cursors import BIGINT_MAX, CursorError, decoded_cursor, encoded_cursor, signature_of

ALL = 0
"""The id of the subject that stands for all subjects of its topic. No row has it."""


class EventTopic(Enum):
    """What can happen; the value is its name in notifications, cursors and the table `events`."""

    PUBLISHED = "published"
    CHANGED = "changed"
    COMMENTED = "commented"
    ENTRY = "entry"


class Subject(NamedTuple):
    """What a subscriber follows.

    Attributes:
        topic: the topic.
        id: the author of posts that are published (or ALL), the post that is changed or commented, or the account.
    """

    topic: EventTopic
    id: int


class Position(NamedTuple):
    """A place in the log of a subject: an event, or a place between two.

    Attributes:
        transaction_id: the database transaction that wrote the event; 0 in the ledger.
        id: the id of the event, or of the entry of the ledger.
    """

    transaction_id: int
    id: int

    @property
    def before(self) -> "Position":
        """The place directly before this event."""
        return Position(self.transaction_id, self.id - 1)


class LoggedEvent(NamedTuple):
    """Something that happened to a subject.

    Attributes:
        position: its place in the log.
        row_id: the post, the comment, or the entry of the ledger.
        author_id: the author of the post, who sees it as a draft, too; 0 in the ledger.
        was_public: whether the post was published before.
        is_public: whether it was published afterwards.
        created_at: when it happened.
    """

    position: Position
    row_id: int
    author_id: int
    was_public: bool
    is_public: bool
    created_at: datetime.datetime


class EventPage(NamedTuple):
    """Consecutive events of a subject, after some position.

    Attributes:
        position: all events up to here were read.
        is_complete: whether the log has no further event that may be read now.
        is_pending: whether it has events that may only be read when an older transaction has ended.
    """

    events: Sequence[LoggedEvent]
    position: Position
    is_complete: bool
    is_pending: bool


class EventsExpiredError(Exception):
    """Events after a position were deleted, so that it is unknown what has happened since."""


def cursor_of(subject: Subject, position: Position) -> str:
    """Return the cursor of an event."""
    return encoded_cursor([_signature(subject), *position])


def position_of(subject: Subject, cursor: str) -> Position:
    """Return the position of a cursor.

    Raises:
        CursorError: it is not a cursor of an event of this subject. The message says what to pass instead.
    """
    try:
        _, *values = decoded_cursor(cursor)
        position = Position(*values)
    except (ValueError, TypeError):
        raise _invalid() from None
    is_whole = all(type(value) is int and 0 <= value <= BIGINT_MAX for value in position)
    if not is_whole or cursor_of(subject, position) != cursor:  # another subject, or another spelling
        raise _invalid()
    return position


def _invalid() -> CursorError:
    return CursorError(
        "not a cursor of this subscription; pass the cursor of an event that the same field with the same arguments "
        "has sent"
    )


def _signature(subject: Subject) -> int:
    return signature_of("events", subject.topic.value, str(subject.id))
