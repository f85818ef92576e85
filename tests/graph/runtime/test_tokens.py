"""Access tokens: any token that this server did not issue for an open session is refused."""

import asyncio
import base64
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from db.settings import Settings
from graph.runtime.tokens import TokenSigner
from tests.conftest import SECRET_KEY
from tests.graph.support.callers import Client, Person, SignUp

WHO = "{ viewer { username } }"
REFUSED = {
    "errors": [
        {
            "message": "the access token is not valid, has expired or its session has ended; "
            "refresh the session or sign in again",
            "extensions": {"code": "UNAUTHENTICATED"},
        }
    ]
}
OTHER_KEY = "another secret, long enough to sign with: 9876543210"
# The claims of the valid token with which each case begins, and the token that the case makes of them.
Forgery = Callable[[dict[str, Any]], str]


def signed(claims: dict[str, Any], key: str = SECRET_KEY, algorithm: str = "HS256") -> str:
    return jwt.encode(claims, key, algorithm=algorithm)


def without(claims: dict[str, Any], name: str) -> dict[str, Any]:
    return {one: value for one, value in claims.items() if one != name}


def unsigned(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, None, algorithm="none")


def raised(claims: dict[str, Any]) -> str:
    """Return a valid token whose claims were changed after signing."""
    header, _, signature = signed(claims).split(".")
    _, other, _ = signed(claims | {"sub": "1"}).split(".")
    return f"{header}.{other}.{signature}"


def resigned(claims: dict[str, Any]) -> str:
    """Return a valid token with one bit of its signature flipped."""
    head, _, signature = signed(claims).rpartition(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "="))
    raw[0] ^= 1
    return f"{head}.{base64.urlsafe_b64encode(raw).decode().rstrip('=')}"


FORGERIES: dict[str, Forgery] = {
    "signed with another secret": lambda claims: signed(claims, OTHER_KEY),
    "signed by another algorithm": lambda claims: signed(claims, algorithm="HS384"),
    "of the algorithm none": unsigned,
    "with the signature cut off": lambda claims: signed(claims).rpartition(".")[0] + ".",
    "with other claims under the signature": raised,
    "with another signature": resigned,
    "expired": lambda claims: signed(claims | {"exp": int(time.time())}),
    "issued by another server": lambda claims: signed(claims | {"iss": "somebody"}),
    "issued in the future": lambda claims: signed(claims | {"iat": int(time.time()) + 600}),
    "that never expires": lambda claims: signed(without(claims, "exp")),
    "of no session": lambda claims: signed(without(claims, "sid")),
    "of no user": lambda claims: signed(without(claims, "sub")),
    "of a session that is not": lambda claims: signed(claims | {"sid": 999}),
    "of a session that is no number": lambda claims: signed(claims | {"sid": "first"}),
    "of another user": lambda claims: signed(claims | {"sub": "3"}),
    "of the treasury": lambda claims: signed(claims | {"sub": "1"}),
    "that is no token": lambda _: "user_2",
    "that is a refresh token": lambda _: "vS5bqG0mJb4cNnZ0V0QnZ8nq5nE0n0l3oWw6Xb0n0aE",
}


@pytest.fixture
async def claims(sign_up: SignUp) -> dict[str, Any]:
    """The claims of a valid token of user 2; there is also a user 3."""
    ada: Person = await sign_up("ada")
    await sign_up("eve")
    found: dict[str, Any] = jwt.decode(ada.token, SECRET_KEY, algorithms=["HS256"], issuer="folio")
    assert found["sub"] == "2"
    return found


async def refused(client: Client, *authorizations: str) -> bool:
    """Return whether a request with these headers is refused, and check the refusal."""
    headers = [("authorization", one) for one in authorizations]
    response = await client.http.post("/graphql", json={"query": WHO}, headers=headers)
    if response.status_code == 200:
        assert response.json() == {"data": {"viewer": {"username": "ada"}}}
        return False
    assert (response.status_code, response.json()) == (401, REFUSED)
    assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    return True


async def test_only_a_token_of_this_server_for_an_open_session_is_accepted(
    client: Client, claims: dict[str, Any]
) -> None:
    assert not await refused(client, f"Bearer {signed(claims)}")
    assert [name for name, forge in FORGERIES.items() if not await refused(client, f"Bearer {forge(claims)}")] == []


async def test_scheme_is_bearer_in_any_case_and_no_other(client: Client, claims: dict[str, Any]) -> None:
    token = signed(claims)
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert not await refused(client, f"{scheme} {token}")
    for header in (token, f"Basic {token}", f"Bearer{token}", "Bearer", "", f"Bearer {token} {token}"):
        assert await refused(client, header)


async def test_two_tokens_are_refused_even_if_both_are_valid(client: Client, claims: dict[str, Any]) -> None:
    token = signed(claims)
    assert await refused(client, f"Bearer {token}", f"Bearer {token}")


async def test_valid_token_expires(settings: Settings) -> None:
    signer = TokenSigner(settings.model_copy(update={"access_token_ttl_s": 1}))
    token = signer.sign(7, 8).text
    assert signer.read(token) == signer.read(token) == (7, 8)
    await asyncio.sleep(1.1)
    assert signer.read(token) is None


def test_tokens_of_another_secret_stay_refused(settings: Settings) -> None:
    signer = TokenSigner(settings)
    forged = signed({"iss": "folio", "sub": "7", "sid": 8, "iat": 0, "exp": int(time.time()) + 60}, OTHER_KEY)
    assert signer.read(signer.sign(7, 8).text) == (7, 8)
    assert signer.read(forged) is signer.read(forged) is None
