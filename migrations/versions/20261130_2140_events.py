"""The log of events that live updates are read from, and the triggers that write it and notify listeners.

The triggers are on statements, with transition tables, so that they also see imports, cascades and SQL by hand. An
event is written, and its notification sent, in the transaction of the change: both exist if and only if it commits.

CREATE TRIGGER takes a SHARE ROW EXCLUSIVE lock on posts, comments and transactions: writes wait for a moment, reads do
not.

Revision: c3d1b7e2f940
Revises: a6c68552da68
Created: 2026-11-30 21:40:00+00:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "c3d1b7e2f940"
down_revision: str | None = "a6c68552da68"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def is_followed(topic: str, bucket: str) -> str:
    """Return the SQL expression of whether a process follows the subjects in a bucket of a topic.

    PostgreSQL lets transactions that notify commit only one after another. So what is not followed is not notified: who
    follows a subject holds a shared advisory lock of its bucket, of which each topic has 256, and one for all subjects.
    """
    lock = f"hashtext('folio_events:' || {topic}), {bucket}"
    return f"CASE WHEN pg_try_advisory_lock({lock}) THEN NOT pg_advisory_unlock({lock}) ELSE true END"


# The functions find the tables of the schema that is migrated, whatever the search_path of the writer: the path of a
# restore is empty. A payload names the topic and the subjects. With more than 100 subjects it names the topic alone,
# which stands for all of them: a payload may have 8,000 bytes.
CREATE = (
    f"""
    CREATE FUNCTION notify_events(topic text, subjects bigint[]) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
        followed bigint[];
    BEGIN
        IF cardinality(subjects) > 100 THEN
            PERFORM pg_notify('folio_events', topic);
            RETURN;
        END IF;
        SELECT array_agg(subject) INTO followed FROM unnest(subjects) AS subject
        WHERE {is_followed("topic", "256")} OR {is_followed("topic", "(subject % 256)::integer")};
        IF followed IS NOT NULL THEN
            PERFORM pg_notify('folio_events', topic || ':' || array_to_string(followed, ','));
        END IF;
    END $$
    """,  # noqa: S608 - constants of this file
    """
    CREATE FUNCTION note_posts_inserted() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    DECLARE
        authors bigint[];
    BEGIN
        WITH noted AS (
            INSERT INTO events (topic, subject_id, row_id, author_id, was_public, is_public)
            SELECT 'published', author_id, id, author_id, false, true FROM new_rows WHERE published ORDER BY id
            RETURNING subject_id
        )
        SELECT array_agg(DISTINCT subject_id) INTO authors FROM noted;
        PERFORM notify_events('published', authors);
        RETURN NULL;
    END $$
    """,
    # Views are no change. A longer content is compared only if nothing shorter differs.
    """
    CREATE FUNCTION note_posts_updated() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    DECLARE
        posts_changed bigint[];
        authors bigint[];
    BEGIN
        WITH changed AS MATERIALIZED (
            SELECT new_rows.id, new_rows.author_id, old_rows.published AS was_public, new_rows.published AS is_public
            FROM old_rows JOIN new_rows ON new_rows.id = old_rows.id
            WHERE old_rows.version <> new_rows.version
                OR old_rows.published <> new_rows.published
                OR old_rows.author_id <> new_rows.author_id
                OR old_rows.title <> new_rows.title
                OR old_rows.content <> new_rows.content
        ), noted AS (
            INSERT INTO events (topic, subject_id, row_id, author_id, was_public, is_public)
            SELECT 'changed', id, id, author_id, was_public, is_public FROM changed
            UNION ALL
            SELECT 'published', author_id, id, author_id, false, true FROM changed WHERE is_public AND NOT was_public
            RETURNING topic, subject_id
        )
        SELECT array_agg(DISTINCT subject_id) FILTER (WHERE topic = 'changed'),
            array_agg(DISTINCT subject_id) FILTER (WHERE topic = 'published')
        INTO posts_changed, authors FROM noted;
        PERFORM notify_events('changed', posts_changed);
        PERFORM notify_events('published', authors);
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION note_posts_deleted() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    DECLARE
        posts_deleted bigint[];
    BEGIN
        INSERT INTO events (topic, subject_id, row_id, author_id, was_public, is_public)
        SELECT 'changed', id, id, author_id, published, false FROM old_rows;
        SELECT array_agg(id) INTO posts_deleted FROM old_rows;
        PERFORM notify_events('changed', posts_deleted);
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION note_comments_inserted() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    DECLARE
        posts_commented bigint[];
    BEGIN
        INSERT INTO events (topic, subject_id, row_id, author_id, was_public, is_public)
        SELECT 'commented', new_rows.post_id, new_rows.id, posts.author_id, posts.published, posts.published
        FROM new_rows JOIN posts ON posts.id = new_rows.post_id ORDER BY new_rows.id;
        SELECT array_agg(DISTINCT post_id) INTO posts_commented FROM new_rows;
        PERFORM notify_events('commented', posts_commented);
        RETURN NULL;
    END $$
    """,
    # It runs at every transfer. The ledger is its own log, so that nothing is written.
    f"""
    CREATE FUNCTION notify_entries() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        followed bigint[];
    BEGIN
        SELECT array_agg(account_id) INTO followed
        FROM (SELECT from_id FROM new_rows UNION SELECT to_id FROM new_rows) AS touched (account_id)
        WHERE {is_followed("'entry'", "(account_id % 256)::integer")};
        IF cardinality(followed) > 100 THEN
            PERFORM pg_notify('folio_events', 'entry');
        ELSIF followed IS NOT NULL THEN
            PERFORM pg_notify('folio_events', 'entry:' || array_to_string(followed, ','));
        END IF;
        RETURN NULL;
    END $$
    """,  # noqa: S608 - constants of this file
)
TRIGGERS = (
    """
    CREATE TRIGGER note_inserted AFTER INSERT ON posts REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION note_posts_inserted()
    """,
    """
    CREATE TRIGGER note_updated AFTER UPDATE ON posts REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION note_posts_updated()
    """,
    """
    CREATE TRIGGER note_deleted AFTER DELETE ON posts REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION note_posts_deleted()
    """,
    """
    CREATE TRIGGER note_inserted AFTER INSERT ON comments REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION note_comments_inserted()
    """,
    """
    CREATE TRIGGER notify_entries AFTER INSERT ON transactions REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION notify_entries()
    """,
)
DROP = (
    "DROP TRIGGER notify_entries ON transactions",
    "DROP TRIGGER note_inserted ON comments",
    "DROP TRIGGER note_deleted ON posts",
    "DROP TRIGGER note_updated ON posts",
    "DROP TRIGGER note_inserted ON posts",
    "DROP FUNCTION notify_entries()",
    "DROP FUNCTION note_comments_inserted()",
    "DROP FUNCTION note_posts_deleted()",
    "DROP FUNCTION note_posts_updated()",
    "DROP FUNCTION note_posts_inserted()",
    "DROP FUNCTION notify_events(text, bigint[])",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.create_table(
        "events",
        sa.Column(
            "transaction_id",
            sa.BigInteger(),
            server_default=sa.text("(pg_current_xact_id()::text)::bigint"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.Column("row_id", sa.BigInteger(), nullable=False),
        sa.Column("author_id", sa.BigInteger(), nullable=False),
        sa.Column("was_public", sa.Boolean(), nullable=False),
        sa.Column("is_public", sa.Boolean(), nullable=False),
        sa.Column(
            "created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("topic IN ('published', 'changed', 'commented')", name=op.f("ck_events_topic_known")),
        sa.PrimaryKeyConstraint("transaction_id", "id", name=op.f("pk_events")),
    )
    op.create_index(
        "ix_events_topic_subject_id_transaction_id_id",
        "events",
        ["topic", "subject_id", "transaction_id", "id"],
        unique=False,
    )
    op.create_index(
        "ix_events_published",
        "events",
        ["transaction_id", "id"],
        unique=False,
        postgresql_where=sa.text("topic = 'published'"),
    )
    op.create_table(
        "swept_events",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("1"), autoincrement=False, nullable=False),
        sa.Column("transaction_id", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_swept_events_only_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_swept_events")),
    )
    for statement in (*CREATE, *TRIGGERS):
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    for statement in DROP:
        op.execute(statement)
    op.drop_table("swept_events")
    op.drop_index("ix_events_published", table_name="events")
    op.drop_index("ix_events_topic_subject_id_transaction_id_id", table_name="events")
    op.drop_table("events")
