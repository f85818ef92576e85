"""Deletes old events, oldest first, and remembers how far: a cursor before that position is known to be too old.

Only a beginning of the log is deleted, of transactions that all readers have passed or can read now. Rows and position
are written in one transaction, so that a reader sees both or neither: it never takes a gap for the absence of events.
"""

from sqlalchemy import BigInteger, Integer, bindparam, text

from db.connections.statements import Statement, Writer
from db.events.log import HORIZON

BATCH_MAX = 1000
BATCHES_MAX = 500

_SWEEP = Statement(
    text(
        f"""
        WITH oldest AS MATERIALIZED (
            SELECT transaction_id, id, created_at < now() - make_interval(secs => :kept_s) AS is_old FROM events
            WHERE transaction_id < {HORIZON} ORDER BY transaction_id, id LIMIT :limit
        ), kept AS MATERIALIZED (
            SELECT transaction_id, id FROM oldest WHERE NOT is_old ORDER BY transaction_id, id LIMIT 1
        ), swept AS (
            DELETE FROM events USING oldest
            WHERE events.transaction_id = oldest.transaction_id AND events.id = oldest.id AND NOT EXISTS (
                SELECT FROM kept WHERE (kept.transaction_id, kept.id) <= (oldest.transaction_id, oldest.id))
            RETURNING events.transaction_id, events.id
        ), noted AS (
            INSERT INTO swept_events AS newest (transaction_id, event_id)
            SELECT transaction_id, id FROM swept ORDER BY transaction_id DESC, id DESC LIMIT 1
            ON CONFLICT (id) DO UPDATE SET transaction_id = EXCLUDED.transaction_id, event_id = EXCLUDED.event_id
            WHERE (newest.transaction_id, newest.event_id) < (EXCLUDED.transaction_id, EXCLUDED.event_id)
        )
        SELECT count(*) AS events FROM swept
        """  # noqa: S608 - constants
    ).bindparams(bindparam("kept_s", type_=Integer), bindparam("limit", type_=BigInteger))
)

# A copy of a database, restored on another server, has transaction ids that this server has not reached.
_SWEEP_FOREIGN = Statement(
    text(
        """
        DELETE FROM events WHERE transaction_id >= (pg_snapshot_xmax(pg_current_snapshot())::text)::bigint
        RETURNING id
        """
    )
)


async def sweep_events(writer: Writer, kept_s: int) -> int:
    """Delete the events that are older than `kept_s` seconds, in batches, and return how many.

    Raises:
        Unavailable: the database cannot be written; events that were deleted before stay deleted.
    """
    swept = len(await writer.write(lambda one: one.fetch(_SWEEP_FOREIGN, {})))
    for _ in range(BATCHES_MAX):
        values = {"kept_s": kept_s, "limit": BATCH_MAX}
        [row] = await writer.write(lambda one: one.fetch(_SWEEP, values))  # noqa: B023 - awaited at once
        swept += row["events"]
        if row["events"] < BATCH_MAX:
            break
    return swept
