"""Sessions: which user is signed in, and what a refresh token is valid for."""

import asyncio
import hashlib

import pytest
from sqlalchemy import text

from db.access import Viewer
from db.connections.database import Database
from db.connections.leases import Driver
from db.connections.statements import Statement
from db.repositories.sessions import (
    Credentials,
    OpenSession,
    credentials_of,
    end_session,
    end_sessions_of,
    live_sessions,
    open_session,
    refresh_session,
    viewer_among,
)
from db.repositories.users import NewUser, create_users, update_user
from tests.db.support.rows import ADMIN, new_user

TTL_S = 1000
HASH = "a hash"  # that of every user that tests.db.support.rows makes

SESSIONS = Statement(text("SELECT id FROM sessions ORDER BY id"))
LIFE_LEFT = Statement(text("SELECT extract(epoch FROM expires_at - clock_timestamp())::float8 FROM sessions"))


async def viewer_of(database: Database, session_id: int, user_id: int) -> Viewer | None:
    return viewer_among(await live_sessions(database, session_id), session_id, user_id)


@pytest.fixture
async def ada(database: Database) -> Viewer:
    user = NewUser("Ada@example.org", "Ada", HASH)
    [row] = await database.write(lambda transaction: create_users(transaction, ADMIN, ("id",), [user]))
    return Viewer(user_id=row["id"])


def id_of(viewer: Viewer) -> int:
    assert viewer.user_id is not None
    return viewer.user_id


async def sign_in(database: Database, viewer: Viewer, *, ttl_s: int = TTL_S) -> OpenSession:
    credentials = Credentials(id_of(viewer), HASH, "admin" if viewer.is_admin else "member")
    session = await database.write(lambda transaction: open_session(transaction, credentials, ttl_s))
    assert session is not None
    return session


async def refresh(database: Database, token: str) -> OpenSession | None:
    return await database.write(lambda transaction: refresh_session(transaction, token, TTL_S))


async def set_active(database: Database, viewer: Viewer, *, active: bool) -> None:
    changes = {"is_active": active}
    await database.write(lambda transaction: update_user(transaction, ADMIN, ("id",), id_of(viewer), changes))


async def is_alive(database: Database, session: OpenSession) -> bool:
    """Return whether a request in this session is accepted; assert that it belongs to the session's user."""
    session_id = session.viewer.session_id
    assert session_id is not None
    viewer = await viewer_of(database, session_id, id_of(session.viewer))
    assert viewer in {None, session.viewer}
    return viewer is not None


# ---------------------------------------------------------------- sessions


async def test_open_session_stands_for_its_user(database: Database, ada: Viewer) -> None:
    session = await sign_in(database, ada)
    assert session.viewer == Viewer(ada.user_id, session.viewer.session_id, is_admin=False)
    assert await is_alive(database, session)


async def test_session_of_an_administrator_has_the_role(database: Database) -> None:
    session = await sign_in(database, await new_user(database, role="admin"))
    assert session.viewer.is_admin is True
    assert await is_alive(database, session)


async def test_session_with_the_id_of_another_user_is_invalid(database: Database, ada: Viewer) -> None:
    other = await new_user(database)
    session = await sign_in(database, ada)
    assert session.viewer.session_id is not None
    assert await viewer_of(database, session.viewer.session_id, id_of(other)) is None
    assert await viewer_of(database, session.viewer.session_id + 1, id_of(ada)) is None


async def test_refresh_token_is_stored_only_as_its_hash(database: Database, superuser: Driver, ada: Viewer) -> None:
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
    await database.write(lambda transaction: end_sessions_of(transaction, id_of(ada), kept_id=kept))
    assert [await is_alive(database, session) for session in mine] == [False, True, False]


# ---------------------------------------------------------------- refresh


async def test_refresh_returns_a_new_token_and_prolongs_the_same_session(database: Database, ada: Viewer) -> None:
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


async def test_unknown_token_is_invalid_and_ends_no_session(database: Database, ada: Viewer) -> None:
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


async def test_other_logins_have_no_credentials(database: Database, ada: Viewer) -> None:
    for login in ("", "Ad", "%", "ada@example.com", "treasury", "treasury@folio.invalid"):
        assert await credentials_of(database, login) is None


async def test_deactivated_user_has_no_credentials(database: Database, ada: Viewer) -> None:
    await set_active(database, ada, active=False)
    assert await credentials_of(database, "ada") is None


@pytest.mark.parametrize("changes", [{"hashed_password": "another hash"}, {"is_active": False}])
async def test_outdated_credentials_open_no_session(
    database: Database, ada: Viewer, changes: dict[str, object]
) -> None:
    credentials = Credentials(id_of(ada), HASH, "member")
    await database.write(lambda transaction: update_user(transaction, ADMIN, ("id",), id_of(ada), changes))
    assert await database.write(lambda transaction: open_session(transaction, credentials, TTL_S)) is None
    assert await database.fetch(SESSIONS, {}) == []
