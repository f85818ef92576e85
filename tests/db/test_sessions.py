"""Sessions: who is signed in, what a refresh token is good for, and how attempts to sign in are counted."""

import asyncio
import hashlib

import pytest
from sqlalchemy import text

from db.connections.database import Database
from db.connections.leases import Driver
from db.sessions import (
    SWEPT_PER_WRITE_MAX,
    Credentials,
    OpenSession,
    count_attempt,
    credentials_of,
    end_session,
    end_sessions_of,
    open_session,
    refresh_session,
    viewer_of_session,
)
from db.statements import Statement
from db.users import NewUser, create_users, update_user
from db.viewer import Viewer
from tests.db.backends import waiting_backend
from tests.db.rows import ADMIN, new_user

TTL_S = 1000
WINDOW_S = 100
HASH = "a hash"  # that of every user of tests.db.rows

ATTEMPTS = Statement(text("SELECT attempts FROM sign_in_attempts ORDER BY attempts"))
SESSIONS = Statement(text("SELECT id FROM sessions ORDER BY id"))
LIFE_LEFT = Statement(text("SELECT extract(epoch FROM expires_at - clock_timestamp())::float8 FROM sessions"))


@pytest.fixture
async def ada(database: Database) -> Viewer:
    user = NewUser("Ada@example.org", "Ada", HASH)
    [row] = await database.write(lambda transaction: create_users(transaction, ADMIN, ("id",), [user]))
    return Viewer(user_id=row["id"])


def id_of(viewer: Viewer) -> int:
    assert viewer.user_id is not None
    return viewer.user_id


async def sign_in(database: Database, viewer: Viewer, *, login: str = "ada", ttl_s: int = TTL_S) -> OpenSession:
    credentials = Credentials(id_of(viewer), HASH, "admin" if viewer.is_admin else "member")
    session = await database.write(lambda transaction: open_session(transaction, credentials, login, ttl_s))
    assert session is not None
    return session


async def refresh(database: Database, token: str) -> OpenSession | None:
    return await database.write(lambda transaction: refresh_session(transaction, token, TTL_S))


async def set_active(database: Database, viewer: Viewer, *, active: bool) -> None:
    changes = {"is_active": active}
    await database.write(lambda transaction: update_user(transaction, ADMIN, ("id",), id_of(viewer), changes))


async def is_alive(database: Database, session: OpenSession) -> bool:
    """Say whether a request in this session would be let in, and that it is for whom it was opened."""
    session_id = session.viewer.session_id
    assert session_id is not None
    viewer = await viewer_of_session(database, session_id, id_of(session.viewer))
    assert viewer in {None, session.viewer}
    return viewer is not None


# ---------------------------------------------------------------- sessions


async def test_open_session_stands_for_its_user(database: Database, ada: Viewer) -> None:
    session = await sign_in(database, ada)
    assert session.viewer == Viewer(ada.user_id, session.viewer.session_id, is_admin=False)
    assert await is_alive(database, session)


async def test_session_of_an_administrator_says_so(database: Database) -> None:
    session = await sign_in(database, await new_user(database, role="admin"))
    assert session.viewer.is_admin is True
    assert await is_alive(database, session)


async def test_session_with_the_id_of_another_user_is_nobodys(database: Database, ada: Viewer) -> None:
    other = await new_user(database)
    session = await sign_in(database, ada)
    assert session.viewer.session_id is not None
    assert await viewer_of_session(database, session.viewer.session_id, id_of(other)) is None
    assert await viewer_of_session(database, session.viewer.session_id + 1, id_of(ada)) is None


async def test_refresh_token_is_kept_as_its_hash_alone(database: Database, superuser: Driver, ada: Viewer) -> None:
    session = await sign_in(database, ada)
    [row] = await superuser.fetch("SELECT * FROM refresh_tokens")
    assert row["token_hash"] == hashlib.sha256(session.refresh_token.encode()).digest()
    assert session.refresh_token not in str(dict(row))
    assert len(session.refresh_token) == 43


async def test_session_that_has_expired_is_dead(database: Database, ada: Viewer) -> None:
    session = await sign_in(database, ada, ttl_s=0)
    assert not await is_alive(database, session)
    assert await refresh(database, session.refresh_token) is None


async def test_session_of_a_deactivated_user_is_dead_at_once(database: Database, ada: Viewer) -> None:
    session = await sign_in(database, ada)
    await set_active(database, ada, active=False)
    assert not await is_alive(database, session)
    assert await refresh(database, session.refresh_token) is None
    await set_active(database, ada, active=True)
    assert await is_alive(database, session)
    assert await refresh(database, session.refresh_token) is not None


async def test_ended_session_is_dead(database: Database, ada: Viewer) -> None:
    session, other = await sign_in(database, ada), await sign_in(database, ada)
    session_id = session.viewer.session_id
    assert session_id is not None
    await database.write(lambda transaction: end_session(transaction, session_id))
    assert not await is_alive(database, session)
    assert await refresh(database, session.refresh_token) is None
    assert await is_alive(database, other)


async def test_all_sessions_of_a_user_end_and_no_others(database: Database, ada: Viewer) -> None:
    mine = [await sign_in(database, ada) for _ in range(3)]
    others = await sign_in(database, await new_user(database))
    await database.write(lambda transaction: end_sessions_of(transaction, id_of(ada)))
    assert [await is_alive(database, session) for session in [*mine, others]] == [False, False, False, True]


async def test_all_sessions_of_a_user_but_one_end(database: Database, ada: Viewer) -> None:
    mine = [await sign_in(database, ada) for _ in range(3)]
    kept = mine[1].viewer.session_id
    await database.write(lambda transaction: end_sessions_of(transaction, id_of(ada), but=kept))
    assert [await is_alive(database, session) for session in mine] == [False, True, False]


# ---------------------------------------------------------------- refresh


async def test_refresh_gives_a_new_token_and_a_longer_life_to_the_same_session(database: Database, ada: Viewer) -> None:
    session = await sign_in(database, ada, ttl_s=10)
    refreshed = await refresh(database, session.refresh_token)
    assert refreshed is not None
    assert refreshed.viewer == session.viewer
    assert refreshed.refresh_token != session.refresh_token
    [row] = await database.fetch(LIFE_LEFT, {})
    assert round(row[0] / TTL_S, 1) == 1
    assert await refresh(database, refreshed.refresh_token) is not None


async def test_token_that_is_used_twice_ends_its_session(database: Database, ada: Viewer) -> None:
    session, other = await sign_in(database, ada), await sign_in(database, ada)
    refreshed = await refresh(database, session.refresh_token)
    assert refreshed is not None
    assert await refresh(database, session.refresh_token) is None
    assert not await is_alive(database, session)
    assert await refresh(database, refreshed.refresh_token) is None
    assert await is_alive(database, other)


async def test_unknown_token_is_good_for_nothing_and_ends_nothing(database: Database, ada: Viewer) -> None:
    session = await sign_in(database, ada)
    for token in ("", session.refresh_token[:-1], session.refresh_token + "A", session.refresh_token.swapcase()):
        assert await refresh(database, token) is None
    assert await is_alive(database, session)


@pytest.mark.parametrize("simultaneous", [2, 8])
async def test_token_that_is_used_twice_at_once_works_once_and_ends_its_session(
    database: Database, ada: Viewer, simultaneous: int
) -> None:
    session = await sign_in(database, ada)
    answers = await asyncio.gather(*(refresh(database, session.refresh_token) for _ in range(simultaneous)))
    [refreshed] = [answer for answer in answers if answer is not None]
    assert not await is_alive(database, session)
    assert await refresh(database, refreshed.refresh_token) is None


async def test_session_that_ends_while_it_is_refreshed_stays_ended(database: Database, ada: Viewer) -> None:
    for _ in range(5):
        session = await sign_in(database, ada)
        refreshed, _ = await asyncio.gather(
            refresh(database, session.refresh_token),
            database.write(lambda transaction: end_sessions_of(transaction, id_of(ada))),
        )
        assert not await is_alive(database, session)
        if refreshed is not None:
            assert await refresh(database, refreshed.refresh_token) is None


# ---------------------------------------------------------------- sign-in


async def test_credentials_are_found_by_username_and_email_in_any_case(database: Database, ada: Viewer) -> None:
    for login in ("Ada", "ada", "ADA", "Ada@example.org", "ada@EXAMPLE.ORG"):
        assert await credentials_of(database, login) == Credentials(id_of(ada), HASH, "member")


async def test_nobody_else_has_credentials(database: Database, ada: Viewer) -> None:
    for login in ("", "Ad", "%", "ada@example.com", "treasury", "treasury@folio.invalid"):
        assert await credentials_of(database, login) is None


async def test_deactivated_user_has_no_credentials(database: Database, ada: Viewer) -> None:
    await set_active(database, ada, active=False)
    assert await credentials_of(database, "ada") is None


@pytest.mark.parametrize("changes", [{"hashed_password": "another hash"}, {"is_active": False}])
async def test_credentials_that_are_no_good_any_more_open_no_session(
    database: Database, ada: Viewer, changes: dict[str, object]
) -> None:
    credentials = Credentials(id_of(ada), HASH, "member")
    await database.write(lambda transaction: update_user(transaction, ADMIN, ("id",), id_of(ada), changes))
    assert await database.write(lambda transaction: open_session(transaction, credentials, "ada", TTL_S)) is None
    assert await database.fetch(SESSIONS, {}) == []


async def attempt(database: Database, login: str = "ada", *, window_s: int = WINDOW_S) -> int:
    return await database.write(lambda transaction: count_attempt(transaction, login, window_s))


async def test_simultaneous_attempts_are_counted_one_by_one(database: Database) -> None:
    counts = await asyncio.gather(*(attempt(database, login) for login in ("ada", "ADA") * 15))
    assert sorted(counts) == list(range(1, 31))


async def test_attempts_are_counted_for_each_login_on_its_own(database: Database) -> None:
    logins = ["ada", "ada", "bob", "ada@example.org", "ada"]
    assert [await attempt(database, login) for login in logins] == [1, 2, 1, 1, 3]


async def test_attempts_are_forgotten_when_their_window_ends(database: Database) -> None:
    assert [await attempt(database, window_s=0) for _ in range(3)] == [1, 1, 1]
    assert [await attempt(database) for _ in range(3)] == [1, 2, 3]


async def test_simultaneous_attempts_after_a_window_begin_a_new_one_together(database: Database) -> None:
    await attempt(database, window_s=0)
    assert sorted(await asyncio.gather(*(attempt(database) for _ in range(12)))) == list(range(1, 13))


async def test_window_that_nobody_has_swept_is_renewed(database: Database, superuser: Driver) -> None:
    await attempt(database, window_s=0)
    async with superuser.transaction():
        # The sweep passes over a row that somebody has locked.
        await superuser.execute("SELECT FROM sign_in_attempts FOR UPDATE")
        counting = asyncio.create_task(attempt(database))
        await waiting_backend(superuser)
    assert await counting == 1
    assert [await attempt(database) for _ in range(2)] == [2, 3]


async def test_sign_in_forgets_the_attempts_of_its_login_alone(database: Database, ada: Viewer) -> None:
    for login in ("ADA", "ada", "bob"):
        await attempt(database, login)
    await sign_in(database, ada, login="Ada")
    assert [row["attempts"] for row in await database.fetch(ATTEMPTS, {})] == [1]
    assert [await attempt(database, login) for login in ("ada", "bob")] == [1, 2]


# ---------------------------------------------------------------- what is swept


async def test_sign_in_sweeps_expired_sessions_and_no_others(
    database: Database, superuser: Driver, ada: Viewer
) -> None:
    kept = [await sign_in(database, ada) for _ in range(2)]
    expired = [await sign_in(database, ada) for _ in range(3)]
    expired_ids = [session.viewer.session_id for session in expired]
    await superuser.execute(
        "UPDATE sessions SET expires_at = clock_timestamp() - interval '1 s' WHERE id = any($1)", expired_ids
    )
    kept.append(await sign_in(database, ada))
    rows = await database.fetch(SESSIONS, {})
    assert [row["id"] for row in rows] == [session.viewer.session_id for session in kept]
    assert [await is_alive(database, session) for session in kept] == [True] * 3
    assert await superuser.fetchval("SELECT count(*) FROM refresh_tokens") == 3


async def test_sign_in_sweeps_no_more_sessions_than_its_limit(
    database: Database, superuser: Driver, ada: Viewer
) -> None:
    await superuser.execute(
        "INSERT INTO sessions (user_id, expires_at) SELECT $1, clock_timestamp() FROM generate_series(1, $2)",
        *(id_of(ada), SWEPT_PER_WRITE_MAX + 5),
    )
    left = []
    for _ in range(3):
        await sign_in(database, ada)
        left.append(len(await database.fetch(SESSIONS, {})))
    assert left == [5 + 1, 2, 3]


async def test_attempt_sweeps_windows_that_have_ended_and_no_others(database: Database) -> None:
    for number in range(3):
        await attempt(database, f"gone{number}", window_s=0)
    await attempt(database, "kept")
    await attempt(database, "kept")
    await attempt(database, "new")
    assert [row["attempts"] for row in await database.fetch(ATTEMPTS, {})] == [1, 2]
