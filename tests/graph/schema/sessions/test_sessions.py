"""Sessions from a client's point of view: signing in, refreshing, and every event that ends a session."""

import asyncio
import datetime
import hashlib
import logging
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import jwt
import pytest
from argon2.low_level import hash_secret, verify_secret

from db.connections.leases import Driver
from db.settings import Settings
from graph.app import create_app
from tests.conftest import SECRET_KEY
from tests.db.support.backends import connected_superuser, waiting_backend
from tests.graph.support.callers import PASSWORD, Client, Person, SignUp, http_client, serving
from tests.graph.support.recording import recorded
from tests.graph.support.rights_data import dump

SIGN_IN = """mutation($login: String!, $password: String!) { signIn(input: {login: $login, password: $password}) {
    accessToken refreshToken expiresAt viewer { username email } userErrors { field message code }
} }"""
REFRESH = """mutation($token: String!) { refreshSession(input: {refreshToken: $token}) {
    accessToken refreshToken expiresAt viewer { username email } userErrors { field message code }
} }"""
SIGN_OUT = "mutation { signOut { signedOut } }"
CHANGE = "mutation($input: UpdateUserInput!) { updateUser(input: $input) { user { id } userErrors { code } } }"
WHO = "{ viewer { username } }"

ATTEMPTS_MAX = 10
WRONG = "a wrong password"
NO_TOKENS = {"accessToken": None, "refreshToken": None, "expiresAt": None, "viewer": None}
INVALID_CREDENTIALS = NO_TOKENS | {
    "userErrors": [
        {"field": None, "message": "no active user has this login and password", "code": "INVALID_CREDENTIALS"}
    ]
}
TOO_MANY_ATTEMPTS = NO_TOKENS | {
    "userErrors": [
        {
            "field": ["input", "login"],
            "message": "too many attempts; try again in 30 seconds",
            "code": "TOO_MANY_ATTEMPTS",
        }
    ]
}
INVALID_REFRESH_TOKEN = NO_TOKENS | {
    "userErrors": [
        {
            "field": ["input", "refreshToken"],
            "message": "the refresh token is unknown, expired or was used before; sign in again",
            "code": "INVALID_REFRESH_TOKEN",
        }
    ]
}


async def sign_in(client: Client, login: str, password: str = PASSWORD) -> dict[str, Any]:
    payload: dict[str, Any] = (await client.data(SIGN_IN, login=login, password=password))["signIn"]
    return payload


async def refresh(client: Client, token: str) -> dict[str, Any]:
    payload: dict[str, Any] = (await client.data(REFRESH, token=token))["refreshSession"]
    return payload


async def change(client: Client, by: Person, whose: Person, **changes: Any) -> None:
    data = await client.data(CHANGE, by=by, input={"id": whose.id, **changes})
    assert data == {"updateUser": {"user": {"id": whose.id}, "userErrors": []}}


async def is_accepted(client: Client, access_token: str) -> bool:
    """Return whether the token is accepted; if not, check the refusal."""
    headers = {"authorization": f"Bearer {access_token}"}
    response = await client.http.post("/graphql", json={"query": WHO}, headers=headers)
    if response.status_code != 401:
        assert response.json()["data"]["viewer"] is not None
        return True
    assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert response.json()["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}
    return False


@pytest.fixture
async def ada(sign_up: SignUp) -> Person:
    """A user with an open session."""
    return await sign_up("ada")


@pytest.fixture
async def admin(sign_up: SignUp) -> Person:
    """An administrator with an open session."""
    return await sign_up("root", admin=True)


# ---------------------------------------------------------------- signing in


@pytest.mark.parametrize("login", ["ida", "IDA", "ida@example.com", "Ida@Example.COM", " ida "])
async def test_user_signs_in_by_username_or_email_in_any_case(client: Client, sign_up: SignUp, login: str) -> None:
    await sign_up("ida")
    payload = await sign_in(client, login)
    assert payload["viewer"] == {"username": "ida", "email": "ida@example.com"}
    assert payload["userErrors"] == []
    assert await is_accepted(client, payload["accessToken"])
    expires_at = jwt.decode(payload["accessToken"], SECRET_KEY, algorithms=["HS256"], issuer="folio")["exp"]
    assert datetime.datetime.fromisoformat(payload["expiresAt"]).timestamp() == expires_at


@pytest.mark.parametrize("login", ["\u0130da", "\u212aim", "id", "ida%", "", "treasury"])
async def test_login_that_only_resembles_a_username_is_refused(client: Client, sign_up: SignUp, login: str) -> None:
    # PostgreSQL's lower() converts the dotted capital I to an i, and the Kelvin sign to a k.
    await sign_up("ida")
    await sign_up("kim")
    assert await sign_in(client, login) == INVALID_CREDENTIALS


async def test_sign_in_as_the_treasury_is_refused_even_with_its_password(client: Client, superuser: Driver) -> None:
    hashed = await client.services.passwords.hash(PASSWORD)
    email = await superuser.fetchval(
        "UPDATE users SET hashed_password = $1, is_active = true WHERE role = 'system' RETURNING email", hashed
    )
    for login in ("treasury", "TREASURY", email):
        assert await sign_in(client, login) == INVALID_CREDENTIALS


@pytest.fixture
def hashes() -> Iterator[list[str]]:
    """Every password that is hashed or compared by a thread that starts after this."""
    calls: list[str] = []
    codes = {hash_secret.__code__: "hashed", verify_secret.__code__: "compared"}

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code in codes:
            calls.append(codes[frame.f_code])

    threading.setprofile(note)
    yield calls
    threading.setprofile(None)


async def test_unknown_user_and_wrong_password_have_the_same_answer_statements_and_hashes(
    client: Client, hashes: list[str], sign_up: SignUp, superuser: Driver
) -> None:
    await sign_up("ada")
    await sign_up("gone")
    await superuser.execute("UPDATE users SET is_active = false WHERE username = 'gone'")
    assert hashes == ["hashed", "hashed"]
    taken = []
    for login, password in [("ada", WRONG), ("ada", "a" * 1000), ("nobody", PASSWORD), ("gone", PASSWORD)]:
        hashes.clear()
        with recorded() as queries:
            response = await client.post(SIGN_IN, login=login, password=password)
        taken.append((response.json(), [query.query for query in queries], list(hashes)))
    assert taken == [taken[0]] * 4
    body, statements, compared = taken[0]
    assert body == {"data": {"signIn": INVALID_CREDENTIALS}}
    assert len(statements) == 4 + 1  # the statements of a write, between its BEGIN and COMMIT, and a read
    assert compared == ["compared"]


# ---------------------------------------------------------------- attempts


@pytest.mark.parametrize("login", ["ada", "nobody"])
async def test_login_is_refused_after_ten_failures_even_with_the_right_password(
    client: Client, ada: Person, sign_up: SignUp, login: str
) -> None:
    await sign_up("eve")
    spellings = [login, login.upper(), f" {login} "]
    failed = [await sign_in(client, spellings[number % 3], WRONG) for number in range(ATTEMPTS_MAX)]
    assert failed == [INVALID_CREDENTIALS] * ATTEMPTS_MAX
    assert [await sign_in(client, spelling) for spelling in spellings] == [TOO_MANY_ATTEMPTS] * 3
    assert (await sign_in(client, "eve"))["userErrors"] == []
    assert await is_accepted(client, ada.token)


async def test_ten_of_many_simultaneous_guesses_are_checked(client: Client, hashes: list[str], ada: Person) -> None:
    hashes.clear()
    answers = await asyncio.gather(*(sign_in(client, "ada", f"{WRONG} {number}") for number in range(30)))
    assert sorted(answer["userErrors"][0]["code"] for answer in answers) == [
        *["INVALID_CREDENTIALS"] * ATTEMPTS_MAX,
        *["TOO_MANY_ATTEMPTS"] * 20,
    ]
    assert hashes == ["compared"] * ATTEMPTS_MAX
    assert await sign_in(client, "ada") == TOO_MANY_ATTEMPTS


async def test_login_is_accepted_again_after_the_window(client: Client, ada: Person, superuser: Driver) -> None:
    for _ in range(ATTEMPTS_MAX):
        await sign_in(client, "ada", WRONG)
    assert await sign_in(client, "ada") == TOO_MANY_ATTEMPTS
    await superuser.execute("UPDATE sign_in_attempts SET retry_at = now(), window_ends_at = now()")
    assert (await sign_in(client, "ada"))["userErrors"] == []


async def test_success_forgets_the_failures_before_it(client: Client, ada: Person) -> None:
    for _ in range(ATTEMPTS_MAX - 1):
        await sign_in(client, "ada", WRONG)
    assert (await sign_in(client, "ada"))["userErrors"] == []
    failed = [await sign_in(client, "ada", WRONG) for _ in range(ATTEMPTS_MAX)]
    assert failed == [INVALID_CREDENTIALS] * ATTEMPTS_MAX
    assert await sign_in(client, "ada") == TOO_MANY_ATTEMPTS


# ---------------------------------------------------------------- refreshing


async def test_refresh_returns_new_tokens_of_the_same_session(client: Client, ada: Person) -> None:
    session = await sign_in(client, "ada")
    refreshed = await refresh(client, session["refreshToken"])
    assert refreshed["viewer"] == {"username": "ada", "email": "ada@example.com"}
    assert refreshed["userErrors"] == []
    assert refreshed["refreshToken"] != session["refreshToken"]
    claims = [jwt.decode(one["accessToken"], options={"verify_signature": False}) for one in (session, refreshed)]
    assert claims[0]["sid"] == claims[1]["sid"]
    assert await is_accepted(client, refreshed["accessToken"])
    assert (await refresh(client, refreshed["refreshToken"]))["userErrors"] == []


async def test_refresh_token_that_is_used_again_ends_its_session_and_no_other(client: Client, ada: Person) -> None:
    session = await sign_in(client, "ada")
    refreshed = await refresh(client, session["refreshToken"])
    assert await refresh(client, session["refreshToken"]) == INVALID_REFRESH_TOKEN
    assert [await is_accepted(client, one["accessToken"]) for one in (session, refreshed)] == [False, False]
    assert await refresh(client, refreshed["refreshToken"]) == INVALID_REFRESH_TOKEN
    assert await is_accepted(client, ada.token)


@pytest.mark.parametrize("simultaneous", [2, 8])
async def test_one_of_simultaneous_refreshes_works_and_the_session_ends(
    client: Client, ada: Person, simultaneous: int
) -> None:
    session = await sign_in(client, "ada")
    answers = await asyncio.gather(*(refresh(client, session["refreshToken"]) for _ in range(simultaneous)))
    [refreshed] = [answer for answer in answers if answer != INVALID_REFRESH_TOKEN]
    assert not await is_accepted(client, refreshed["accessToken"])
    assert await refresh(client, refreshed["refreshToken"]) == INVALID_REFRESH_TOKEN
    assert await is_accepted(client, ada.token)


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "\u00e4" * 100_000])
async def test_refresh_token_that_was_never_issued_is_refused(client: Client, token: str) -> None:
    assert await refresh(client, token) == INVALID_REFRESH_TOKEN


# ---------------------------------------------------------------- ends of sessions


async def test_sign_out_ends_the_session_at_once_and_no_other(client: Client, ada: Person) -> None:
    session = await sign_in(client, "ada")
    out = await client.http.post(
        "/graphql", json={"query": SIGN_OUT}, headers={"authorization": f"Bearer {session['accessToken']}"}
    )
    assert out.json() == {"data": {"signOut": {"signedOut": True}}}
    assert not await is_accepted(client, session["accessToken"])
    assert await refresh(client, session["refreshToken"]) == INVALID_REFRESH_TOKEN
    assert await is_accepted(client, ada.token)


async def test_deactivation_ends_every_session_permanently(client: Client, ada: Person, admin: Person) -> None:
    session = await sign_in(client, "ada")
    await change(client, admin, ada, isActive=False)
    for token in (ada.token, session["accessToken"]):
        assert not await is_accepted(client, token)
    assert await refresh(client, session["refreshToken"]) == INVALID_REFRESH_TOKEN
    assert await sign_in(client, "ada") == INVALID_CREDENTIALS
    await change(client, admin, ada, isActive=True)
    assert not await is_accepted(client, ada.token)
    assert await refresh(client, session["refreshToken"]) == INVALID_REFRESH_TOKEN
    assert (await sign_in(client, "ada"))["userErrors"] == []


async def test_new_password_ends_all_sessions_but_the_one_that_set_it(client: Client, ada: Person) -> None:
    session = await sign_in(client, "ada")
    await change(client, ada, ada, password="another password", currentPassword=PASSWORD)
    assert await is_accepted(client, ada.token)
    assert not await is_accepted(client, session["accessToken"])
    assert await refresh(client, session["refreshToken"]) == INVALID_REFRESH_TOKEN
    assert await sign_in(client, "ada") == INVALID_CREDENTIALS
    assert (await sign_in(client, "ada", "another password"))["userErrors"] == []


async def test_password_set_by_an_administrator_ends_all_sessions_of_the_user(
    client: Client, ada: Person, admin: Person
) -> None:
    await change(client, admin, ada, password="another password")
    assert not await is_accepted(client, ada.token)
    assert await is_accepted(client, admin.token)


@pytest.mark.parametrize("changes", [{"password": "another password"}, {"isActive": False}])
async def test_sign_in_during_a_change_of_its_password_opens_no_lasting_session(
    client: Client, ada: Person, admin: Person, superuser: Driver, database_url: str, changes: dict[str, Any]
) -> None:
    async with connected_superuser(database_url) as locking, locking.transaction():
        # The sign-in waits at its last step, after it has verified the old password.
        await locking.execute("LOCK TABLE refresh_tokens")
        signing_in = asyncio.create_task(sign_in(client, "ada"))
        first = await waiting_backend(superuser)
        changing = asyncio.create_task(change(client, admin, ada, **changes))
        waiting = asyncio.create_task(waiting_backend(superuser, without=first))
        await asyncio.wait({changing, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
    session, _ = await asyncio.gather(signing_in, changing)
    await superuser.execute("UPDATE users SET is_active = true")
    assert not await is_accepted(client, session["accessToken"])
    assert await refresh(client, session["refreshToken"]) == INVALID_REFRESH_TOKEN


# ---------------------------------------------------------------- secrets


async def test_tokens_and_passwords_are_stored_only_as_hashes_and_never_logged(
    client: Client, ada: Person, superuser: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    session = await sign_in(client, "ada")
    refreshed = await refresh(client, session["refreshToken"])
    await sign_in(client, PASSWORD, "ada")  # typed into the wrong fields
    kept = str(await dump(superuser))
    secrets = [PASSWORD, *(one[name] for one in (session, refreshed) for name in ("accessToken", "refreshToken"))]
    spellings = [*secrets, *(secret.encode().hex() for secret in secrets)]
    assert [spelling for spelling in spellings if spelling in kept + caplog.text] == []
    for one in (session, refreshed):
        assert hashlib.sha256(one["refreshToken"].encode()).hexdigest() in kept
    assert "operation" in caplog.text
    assert "$argon2id$" in kept
    assert "argon2" not in caplog.text


async def test_event_loop_is_not_blocked_while_a_password_is_hashed(settings: Settings) -> None:
    # Hashing as in production, but for many times as long as the rest of a sign-in.
    slow = settings.model_copy(update={"password_hash_memory_kib": 19_456, "password_hash_iterations": 30})
    app = create_app(slow)
    async with serving(app) as address, http_client(address) as http:
        client = Client(http, app.state.services)
        signing_in = asyncio.create_task(sign_in(client, "nobody"))
        answered = 0
        while not signing_in.done():
            assert await client.run("{ __typename }") == {"data": {"__typename": "Query"}}
            answered += 1
        assert await signing_in == INVALID_CREDENTIALS
    assert answered > 20
