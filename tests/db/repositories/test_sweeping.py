"""Old rows are deleted in batches, also with concurrent sweeps; rows that are still needed stay."""

import asyncio
import datetime

import pytest

from db.access import Viewer
from db.connections.database import Database
from db.connections.leases import Driver
from db.repositories.sessions import Credentials, OpenSession, end_session, open_session, refresh_session
from db.repositories.sweeping import CLOCK_MARGIN_S, STATEMENTS, sweep
from tests.db.support.backends import connected_superuser
from tests.db.support.rows import new_user

TTL_S = 1000
OLD = datetime.timedelta(seconds=TTL_S + CLOCK_MARGIN_S + 1)
OVER = "INSERT INTO sessions (user_id, expires_at) SELECT $1, now() - $2::interval FROM generate_series(1, $3)"
NOTHING = {"refresh_tokens": 0, "sessions": 0, "sign_in_attempts": 0, "sign_in_places": 0}


@pytest.fixture
async def ada(database: Database) -> Viewer:
    return await new_user(database)


async def opened(database: Database, viewer: Viewer) -> OpenSession:
    assert viewer.user_id is not None
    credentials = Credentials(viewer.user_id, "a hash", "member")
    session = await database.write(lambda transaction: open_session(transaction, credentials, TTL_S))
    assert session is not None
    return session


async def refreshed(database: Database, token: str) -> OpenSession | None:
    return await database.write(lambda transaction: refresh_session(transaction, token, TTL_S))


async def test_nothing_that_serves_is_swept(database: Database, superuser: Driver, ada: Viewer) -> None:
    session = await opened(database, ada)
    newer = await refreshed(database, session.refresh_token)
    assert newer is not None
    await superuser.execute("INSERT INTO sign_in_places VALUES ($1, 'x', clock_timestamp())", ada.user_id)
    await superuser.execute("INSERT INTO sign_in_attempts VALUES ('x', 1, clock_timestamp() + interval '1 min')")
    assert await sweep(database, TTL_S) == NOTHING
    # The spent token still detects its copy.
    assert await refreshed(database, session.refresh_token) is None
    assert await refreshed(database, newer.refresh_token) is None


async def test_token_that_was_spent_a_life_ago_goes_and_its_session_stays(
    database: Database, superuser: Driver, ada: Viewer
) -> None:
    session = await opened(database, ada)
    newer = await refreshed(database, session.refresh_token)
    assert newer is not None
    await superuser.execute("UPDATE refresh_tokens SET used_at = now() - $1::interval WHERE used_at IS NOT NULL", OLD)
    assert await sweep(database, TTL_S) == NOTHING | {"refresh_tokens": 1}
    assert await refreshed(database, session.refresh_token) is None
    assert await refreshed(database, newer.refresh_token) is not None


async def test_sessions_that_are_over_go_with_their_tokens(database: Database, superuser: Driver, ada: Viewer) -> None:
    kept, expired, ended = [await opened(database, ada) for _ in range(3)]
    ended_id = ended.viewer.session_id
    assert ended_id is not None
    await superuser.execute(
        "UPDATE sessions SET expires_at = now() - $2::interval WHERE id = $1", expired.viewer.session_id, OLD
    )
    await database.write(lambda transaction: end_session(transaction, ended_id))
    assert await sweep(database, TTL_S) == NOTHING | {"sessions": 1}  # a clock may be wrong, for a while
    await superuser.execute("UPDATE sessions SET expires_at = expires_at - $1::interval WHERE ended_at < now()", OLD)
    assert await sweep(database, TTL_S) == NOTHING | {"sessions": 1}
    assert [row[0] for row in await superuser.fetch("SELECT id FROM sessions")] == [kept.viewer.session_id]
    assert await superuser.fetchval("SELECT count(*) FROM refresh_tokens") == 1


async def test_windows_and_places_that_are_old_go(database: Database, superuser: Driver, ada: Viewer) -> None:
    for days in (89, 91):
        old, key = datetime.timedelta(days=days), b"%d" % days
        await superuser.execute("INSERT INTO sign_in_attempts VALUES ($1, 1, now() - $2::interval)", key, old)
        await superuser.execute(
            "INSERT INTO sign_in_places VALUES ($1, $2, now() - $3::interval)", ada.user_id, key, old
        )
    assert await sweep(database, TTL_S) == NOTHING | {"sign_in_attempts": 2, "sign_in_places": 1}


async def test_several_who_sweep_at_once_share_the_work(database: Database, superuser: Driver, ada: Viewer) -> None:
    await superuser.execute(OVER, ada.user_id, OLD, 205)
    swept = await asyncio.gather(*(sweep(database, TTL_S) for _ in range(4)))
    assert sum(one["sessions"] for one in swept) + (await sweep(database, TTL_S))["sessions"] == 205
    assert await superuser.fetchval("SELECT count(*) FROM sessions") == 0


async def test_what_somebody_has_locked_is_left_for_the_next_time(
    database: Database, superuser: Driver, database_url: str, ada: Viewer
) -> None:
    await superuser.execute(OVER, ada.user_id, OLD, 3)
    async with connected_superuser(database_url) as locking, locking.transaction():
        await locking.execute("SELECT FROM sessions ORDER BY id LIMIT 1 FOR UPDATE")
        assert await sweep(database, TTL_S) == NOTHING | {"sessions": 2}
    assert await sweep(database, TTL_S) == NOTHING | {"sessions": 1}


async def test_sweep_reads_no_whole_table(database: Database, superuser: Driver, ada: Viewer) -> None:
    """An index finds the old rows, however many others there are."""
    for table in ("refresh_tokens", "sessions", "sign_in_attempts", "sign_in_places"):
        await superuser.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    await superuser.execute(
        "INSERT INTO sessions (user_id, expires_at)"
        " SELECT $1, clock_timestamp() + interval '1 day' FROM generate_series(1, 20000)",
        ada.user_id,
    )
    await superuser.execute(
        "INSERT INTO refresh_tokens (session_id, token_hash, used_at)"
        " SELECT id, int8send(id), CASE WHEN id % 2 = 0 THEN clock_timestamp() END FROM sessions"
    )
    await superuser.execute("ANALYZE")
    for table in ("refresh_tokens", "sessions"):
        statement = STATEMENTS[table]
        rows = await superuser.fetch("EXPLAIN " + statement.sql, *statement.arguments({"token_kept_s": TTL_S}))
        assert f"Seq Scan on {table}" not in str(rows), rows
