"""A session does not replace the password: with a stolen session alone, neither password nor email can change."""

import asyncio
from typing import Any

import pytest

from db.connections.leases import Driver
from tests.db.support.backends import connected_superuser, waiting_backend
from tests.graph.support.callers import PASSWORD, Client, Person, SignUp
from tests.graph.support.rights_data import dump

UPDATE_USER = "mutation ($input: UpdateUserInput!) { updateUser(input: $input) { userErrors { field code message } } }"
SIGN_IN = (
    """mutation { signIn(input: {login: "ida", password: "%s"}) { accessToken refreshToken userErrors { code } } }"""
)
REFRESH = "mutation ($token: String!) { refreshSession(input: {refreshToken: $token}) { userErrors { code } } }"
NEW = "a new and better one"
REFUSED = {
    "field": ["input", "currentPassword"],
    "code": "INVALID_CURRENT_PASSWORD",
    "message": "to change your password or email, send your current password as currentPassword",
}
CHANGES: list[dict[str, Any]] = [{"password": NEW}, {"email": "new@example.com"}]


async def update(client: Client, by: Person, whose: Person, **fields: Any) -> list[dict[str, Any]]:
    data = await client.data(UPDATE_USER, by=by, input={"id": whose.id, **fields})
    errors: list[dict[str, Any]] = data["updateUser"]["userErrors"]
    return errors


@pytest.mark.parametrize("change", CHANGES)
async def test_own_password_and_email_change_only_with_the_current_password(
    client: Client, ida: Person, eve: Person, superuser: Driver, change: dict[str, Any]
) -> None:
    before = await dump(superuser)
    wrong: list[dict[str, Any]] = [
        {},
        *({"currentPassword": one} for one in (None, "", NEW, PASSWORD + " ", "x" * 9999)),
    ]
    for current in wrong:
        assert await update(client, ida, ida, username="mine", **change, **current) == [REFUSED]
    after = await dump(superuser)
    assert {table for table in before if before[table] != after[table]} == {"sign_in_attempts"}
    assert await client.data("{ viewer { username } }", by=eve) == {"viewer": {"username": "eve"}}
    assert await update(client, ida, ida, **change, currentPassword=PASSWORD) == []


async def test_other_updates_need_no_password(client: Client, ida: Person) -> None:
    assert await update(client, ida, ida, username="ida2", profile={"bio": "New."}) == []
    assert await update(client, ida, ida, username="ida", email="ida@example.com") == []


async def test_administrator_changes_them_without_the_password(client: Client, ida: Person, sign_up: SignUp) -> None:
    anna = await sign_up("anna", admin=True)
    for change in CHANGES:
        assert await update(client, anna, ida, **change) == []


async def test_stolen_session_does_not_help_to_guess_the_password(client: Client, ida: Person, eve: Person) -> None:
    codes = []
    for _ in range(12):
        [error] = await update(client, ida, ida, password=NEW, currentPassword="a wrong one")
        codes.append(error["code"])
    assert codes == ["INVALID_CURRENT_PASSWORD"] * 10 + ["TOO_MANY_ATTEMPTS"] * 2
    [error] = await update(client, ida, ida, password=NEW, currentPassword=PASSWORD)
    assert error == {
        "field": ["input", "currentPassword"],
        "code": "TOO_MANY_ATTEMPTS",
        "message": "too many attempts; try again in 30 seconds",
    }
    # It affects neither others nor a sign-in.
    assert await update(client, eve, eve, password=NEW, currentPassword=PASSWORD) == []
    assert (await client.data(SIGN_IN % PASSWORD))["signIn"]["userErrors"] == []


@pytest.mark.parametrize("change", CHANGES)
async def test_change_ends_the_other_sessions_and_their_refresh_tokens(
    client: Client, ida: Person, change: dict[str, Any]
) -> None:
    other = (await client.data(SIGN_IN % PASSWORD))["signIn"]
    assert await update(client, ida, ida, **change, currentPassword=PASSWORD) == []
    refreshed = await client.data(REFRESH, token=other["refreshToken"])
    assert refreshed["refreshSession"]["userErrors"] == [{"code": "INVALID_REFRESH_TOKEN"}]
    response = await client.post("{ __typename }", by=Person(ida.number, "ida", other["accessToken"]))
    assert response.status_code == 401
    assert await client.data("{ viewer { username } }", by=ida) == {"viewer": {"username": "ida"}}


async def test_email_of_another_user_is_not_revealed_next_to_a_taken_username(
    client: Client, ida: Person, eve: Person, superuser: Driver
) -> None:
    before = await dump(superuser)
    given = {"currentPassword": PASSWORD, "username": "treasury"}
    answers = [
        await update(client, ida, ida, email=email, **given) for email in ("eve@example.com", "free@example.com")
    ]
    assert [[error["code"] for error in answer] for answer in answers] == [["USERNAME_TAKEN"]] * 2
    assert await dump(superuser) == before
    # With the user's own username, which is not taken, it is revealed, as the README documents.
    given = {"currentPassword": PASSWORD, "username": "IDA"}
    [error] = await update(client, ida, ida, email="eve@example.com", **given)
    assert error["code"] == "EMAIL_TAKEN"


async def test_password_that_is_changed_during_its_check_is_refused(
    client: Client, ida: Person, superuser: Driver, database_url: str
) -> None:
    async with connected_superuser(database_url) as changing, changing.transaction():
        await changing.execute("UPDATE users SET hashed_password = 'another' WHERE id = $1", ida.number)
        updating = asyncio.create_task(update(client, ida, ida, password=NEW, currentPassword=PASSWORD))
        await waiting_backend(superuser)
    assert await updating == [REFUSED]
    assert await superuser.fetchval("SELECT hashed_password FROM users WHERE id = $1", ida.number) == "another"
