"""The logs of events, and how they are read: the table `events`, and the ledger for the entries of accounts.

Order. Ids are not in the order of commits: a transaction may take an id, and commit after others that took later ids.
A reader that has passed this id would never see its row. Each row of `events` therefore has the id of its transaction.
Readers read only rows of transactions before `pg_snapshot_xmin`, the oldest one that is still open, in the order of
transaction and id. All transactions before it have ended, so that no row can be added there: what was read stays read.
(Oskar Dudycz: How Postgres sequences issues can impact your messaging guarantees, event-driven.io, 2022; PostgreSQL
documentation, 9.28, `pg_snapshot_xmin`.) A long transaction that writes, in any database of the server, delays events
until it ends.

The entries of one account need no such care: an id is assigned while the account's row is locked until the commit, so
that the ids of one account are in the order of commits (`db.ledger.statements`). Their position is the id, and they are
never deleted, so that their cursors never expire.

Every position is that of an event that was committed, never only that of the horizon: after a crash PostgreSQL may
assign ids of transactions again that were not on disk yet. A position that is ahead of the log belongs to another
history, such as that of a server that was lost in a failover. In the ledger it is that of no entry of the account.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from asyncpg import Record
from sqlalchemy import BigInteger, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from db.connections.statements import Reader, Statement
from db.events.topics import ALL, EventPage, EventsExpiredError, EventTopic, LoggedEvent, Position, Subject

HORIZON = "(pg_snapshot_xmin(pg_current_snapshot())::text)::bigint"
_OF_SUBJECT = "topic = :topic AND subject_id = :subject_id"
_OF_ALL = f"topic = '{EventTopic.PUBLISHED.value}'"

# The planner does not know that the newest rows are few, and would read the whole table for EXISTS.
_NEWEST_FIRST = "ORDER BY events.transaction_id DESC, events.id DESC LIMIT 1"

# The newest deleted event, and the newest event that may be read; either may be missing.
_BOUNDS = """
    swept.transaction_id AS swept_transaction_id, swept.event_id AS swept_id,
    newest.transaction_id AS newest_transaction_id, newest.id AS newest_id
"""
_BOUNDS_FROM = f"""
    (SELECT) AS always
    LEFT JOIN swept_events AS swept ON true
    LEFT JOIN LATERAL (
        SELECT transaction_id, id FROM events WHERE transaction_id < {HORIZON} {_NEWEST_FIRST}
    ) AS newest ON true
"""  # noqa: S608 - constants


def _page(condition: str) -> Statement:
    """Return the statement of a page: at least one row, whose event is null if there is none."""
    sql = f"""
        SELECT {_BOUNDS},
            coalesce((SELECT transaction_id >= {HORIZON} FROM events WHERE {condition} {_NEWEST_FIRST}), false)
                AS is_pending,
            event.transaction_id, event.id, event.row_id, event.author_id, event.was_public, event.is_public,
            event.created_at
        FROM {_BOUNDS_FROM}
        LEFT JOIN LATERAL (
            SELECT * FROM events
            WHERE {condition} AND (transaction_id, id) > (:transaction_id, :id) AND transaction_id < {HORIZON}
            ORDER BY transaction_id, id LIMIT :limit
        ) AS event ON true
        ORDER BY event.transaction_id, event.id
    """  # noqa: S608 - constants
    integers = ["transaction_id", "id", "limit", *(["subject_id"] if condition == _OF_SUBJECT else [])]
    binds = [bindparam(name, type_=BigInteger) for name in integers]
    if condition == _OF_SUBJECT:
        return Statement(text(sql).bindparams(*binds, bindparam("topic", type_=Text)))
    return Statement(text(sql).bindparams(*binds))


_PAGE_OF_SUBJECT, _PAGE_OF_ALL = _page(_OF_SUBJECT), _page(_OF_ALL)
_NOW = Statement(text(f"SELECT {_BOUNDS} FROM {_BOUNDS_FROM}"))  # noqa: S608 - constants

# One part for each end of the entries, so that each uses its index.
_ENTRIES = Statement(
    text(
        """
        SELECT :id = 0 OR EXISTS (
                SELECT FROM transactions WHERE id = :id AND :subject_id IN (from_id, to_id)
            ) AS is_known,
            entry.id, entry.created_at
        FROM (SELECT) AS always
        LEFT JOIN LATERAL (
            SELECT id, created_at FROM (
                (SELECT id, created_at FROM transactions WHERE from_id = :subject_id AND id > :id
                    ORDER BY id LIMIT :limit)
                UNION ALL
                (SELECT id, created_at FROM transactions WHERE to_id = :subject_id AND id > :id
                    ORDER BY id LIMIT :limit)
            ) AS entries
            ORDER BY id LIMIT :limit
        ) AS entry ON true
        ORDER BY entry.id
        """
    ).bindparams(*[bindparam(name, type_=BigInteger) for name in ("subject_id", "id", "limit")])
)
_LAST_ENTRY = Statement(
    text(
        """
        SELECT coalesce(greatest(
            (SELECT max(id) FROM transactions WHERE from_id = :subject_id),
            (SELECT max(id) FROM transactions WHERE to_id = :subject_id)), 0) AS id
        """
    ).bindparams(bindparam("subject_id", type_=BigInteger))
)

_NEWS = Statement(
    text(
        f"""
        SELECT {_BOUNDS}, array(
            SELECT place FROM unnest(:topics, :subject_ids, :transaction_ids, :ids) WITH ORDINALITY
                AS feed (topic, subject_id, transaction_id, id, place)
            WHERE CASE
                WHEN feed.topic = '{EventTopic.ENTRY.value}' THEN
                    EXISTS (SELECT FROM transactions WHERE from_id = feed.subject_id AND transactions.id > feed.id)
                    OR EXISTS (SELECT FROM transactions WHERE to_id = feed.subject_id AND transactions.id > feed.id)
                WHEN (feed.transaction_id, feed.id) < (swept.transaction_id, swept.event_id) THEN true
                WHEN feed.subject_id = {ALL} THEN (
                    SELECT (events.transaction_id, events.id) > (feed.transaction_id, feed.id)
                    FROM events WHERE {_OF_ALL} {_NEWEST_FIRST})
                ELSE (
                    SELECT (events.transaction_id, events.id) > (feed.transaction_id, feed.id)
                    FROM events WHERE events.topic = feed.topic AND events.subject_id = feed.subject_id
                    {_NEWEST_FIRST})
            END
        ) AS places
        FROM {_BOUNDS_FROM}
        """  # noqa: S608 - constants
    ).bindparams(
        bindparam("topics", type_=ARRAY(Text())),
        *[bindparam(name, type_=ARRAY(BigInteger())) for name in ("subject_ids", "transaction_ids", "ids")],
    )
)


class News(NamedTuple):
    """The answer to the question which subjects have something to read.

    Attributes:
        subjects: those with events after their position, which may not be readable yet, or with an expired position.
        position: the others have no events up to here. Entries of accounts have no such common position.
    """

    subjects: Collection[Subject]
    position: Position


class EventLog:
    """Reads the logs."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def now(self, subject: Subject) -> Position:
        """Return a position before all events that happen from now on. Some of the last ones may come after it, too.

        Raises:
            Unavailable: the database does not answer.
        """
        if subject.topic is EventTopic.ENTRY:
            [row] = await self._reader.fetch(_LAST_ENTRY, {"subject_id": subject.id})
            return Position(0, row["id"])
        [row] = await self._reader.fetch(_NOW, {})
        return _newest(row)

    async def read(self, subject: Subject, after: Position, limit: int) -> EventPage:
        """Return up to `limit` events of a subject after a position, in order.

        Raises:
            EventsExpiredError: events after the position were deleted, or it is ahead of the log.
            Unavailable: the database does not answer.
        """
        values: dict[str, object] = {"subject_id": subject.id, "id": after.id, "limit": limit}
        if subject.topic is EventTopic.ENTRY:
            return _page_of_entries(await self._reader.fetch(_ENTRIES, values), after, limit)
        values |= {"topic": subject.topic.value, "transaction_id": after.transaction_id}
        statement = _PAGE_OF_ALL if subject.id == ALL else _PAGE_OF_SUBJECT
        return _page_of_events(await self._reader.fetch(statement, values), after, limit)

    async def news(self, positions: Mapping[Subject, Position]) -> News:
        """Return which subjects have something to read after their positions, with one statement.

        Raises:
            Unavailable: the database does not answer.
        """
        subjects = list(positions)
        values = {
            "topics": [one.topic.value for one in subjects],
            "subject_ids": [one.id for one in subjects],
            "transaction_ids": [one.transaction_id for one in positions.values()],
            "ids": [one.id for one in positions.values()],
        }
        [row] = await self._reader.fetch(_NEWS, values)
        newest = _newest(row)
        ahead = [one for one, at in positions.items() if one.topic is not EventTopic.ENTRY and at > newest]
        return News({*ahead, *(subjects[place - 1] for place in row["places"])}, newest)


def _page_of_entries(rows: Sequence[Record], after: Position, limit: int) -> EventPage:
    if not rows[0]["is_known"]:
        raise EventsExpiredError
    events = [
        LoggedEvent(Position(0, row["id"]), row["id"], 0, True, True, row["created_at"])
        for row in rows
        if row["id"] is not None
    ]
    return EventPage(events, events[-1].position if events else after, len(events) < limit, is_pending=False)


def _page_of_events(rows: Sequence[Record], after: Position, limit: int) -> EventPage:
    first, newest = rows[0], _newest(rows[0])
    if not _swept(first) <= after <= newest:
        raise EventsExpiredError
    events = [
        LoggedEvent(
            Position(row["transaction_id"], row["id"]),
            row["row_id"],
            row["author_id"],
            row["was_public"],
            row["is_public"],
            row["created_at"],
        )
        for row in rows
        if row["id"] is not None
    ]
    if len(events) == limit:
        return EventPage(events, events[-1].position, is_complete=False, is_pending=first["is_pending"])
    return EventPage(events, newest, is_complete=True, is_pending=first["is_pending"])


def _swept(row: Record) -> Position:
    return Position(row["swept_transaction_id"] or 0, row["swept_id"] or 0)


def _newest(row: Record) -> Position:
    return max(_swept(row), Position(row["newest_transaction_id"] or 0, row["newest_id"] or 0))
