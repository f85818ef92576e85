"""The tables of the log of events, which live updates are read from (`db.events`). Triggers write it.

A row states that something has happened to a subject, and never what: readers read the post or comment itself.
Transfers need no rows here, because the ledger is their log.
"""

import datetime

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Model, created_at_column


class Event(Model):
    """Something that happened to a post, or a comment that was written.

    The primary key is the order of the log. `transaction_id` is the id of the transaction that wrote the row: an `xid8`
    as a bigint, which every driver can read. Only the order by transaction allows readers to wait for those that are
    still open (`db.events.log`).

    Attributes:
        topic: `published`: the subject is the author, the row is the post. `changed`: both are the post. `commented`:
            the subject is the post, the row is the comment.
        author_id: the author of the post, who sees it as a draft, too.
        was_public: whether the post was published before.
        is_public: whether it was published afterwards.
    """

    __tablename__ = "events"
    __table_args__ = (
        CheckConstraint("topic IN ('published', 'changed', 'commented')", name="topic_known"),
        Index("ix_events_topic_subject_id_transaction_id_id", "topic", "subject_id", "transaction_id", "id"),
        Index("ix_events_published", "transaction_id", "id", postgresql_where=text("topic = 'published'")),
    )

    transaction_id: Mapped[int] = mapped_column(
        primary_key=True, autoincrement=False, server_default=text("(pg_current_xact_id()::text)::bigint")
    )
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    topic: Mapped[str]
    subject_id: Mapped[int]
    row_id: Mapped[int]
    author_id: Mapped[int]
    was_public: Mapped[bool]
    is_public: Mapped[bool]
    created_at: Mapped[datetime.datetime] = created_at_column()


class SweptEvents(Model):
    """The position of the newest deleted row of `events`, in the only row of this table. It is empty before a deletion.

    A cursor before this position is known to be too old.
    """

    __tablename__ = "swept_events"
    __table_args__ = (CheckConstraint("id = 1", name="only_row"),)

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, server_default=text("1"))
    transaction_id: Mapped[int]
    event_id: Mapped[int]
