"""Changing and deleting users: absent fields stay, null clears a value, and one of two concurrent changes succeeds."""

import asyncio
import datetime
from typing import Any

import pytest

from db.connections.leases import Driver
from tests.graph.support.callers import PASSWORD, Client, Person, SignUp
from tests.graph.support.rights_data import dump

UPDATE_USER = """
mutation ($input: UpdateUserInput!) {
  updateUser(input: $input) {
    user { id username email isActive version profile { displayName bio websiteUrl } }
    userErrors { field code message }
  }
}
"""
DELETE_USER = """
mutation ($input: DeleteUserInput!) {
  deleteUser(input: $input) { deletedUserId userErrors { field code message } }
}
"""
SIGN_IN = "mutation ($input: SignInInput!) { signIn(input: $input) { accessToken userErrors { code } } }"
MOMENTS = "query ($id: ID!) { user(id: $id) { version createdAt updatedAt } }"

PROFILE: dict[str, str | None] = {"displayName": "Ada L.", "bio": "Counts.", "websiteUrl": "https://ada.example"}
NO_SUCH_USER = {"field": ["input", "id"], "code": "NOT_FOUND", "message": "no such user"}
OWNS_ACCOUNTS = {
    "field": ["input", "id"],
    "code": "USER_OWNS_ACCOUNTS",
    "message": "the user owns accounts, which are never deleted; deactivate the user instead",
}


def changed(version: int = 2, **fields: Any) -> dict[str, Any]:
    """Return the response that shows ada with these fields changed."""
    user = {
        "id": "user_2",
        "username": "ada",
        "email": "ada@example.com",
        "isActive": True,
        "version": version,
        "profile": PROFILE,
    }
    return {"data": {"updateUser": {"user": user | fields, "userErrors": []}}}


def refused(*errors: dict[str, Any]) -> dict[str, Any]:
    return {"data": {"updateUser": {"user": None, "userErrors": list(errors)}}}


def conflict(version: int, expected: int) -> dict[str, Any]:
    message = f"the user has changed since: its version is {version}, not {expected}"
    return refused({"field": ["input", "expectedVersion"], "code": "VERSION_CONFLICT", "message": message})


@pytest.fixture
async def ada(sign_up: SignUp, superuser: Driver) -> Person:
    """The user_2, who has a profile."""
    ada = await sign_up("ada")
    await superuser.execute("INSERT INTO profiles VALUES ($1, $2, $3, $4)", ada.number, *PROFILE.values())
    return ada


async def update(client: Client, by: Person, user_id: str = "user_2", **fields: Any) -> dict[str, Any]:
    return await client.run(UPDATE_USER, by=by, input={"id": user_id, **fields})


# ---------------------------------------------------------------- absent, null, a value


async def test_absent_fields_do_not_change(client: Client, ada: Person) -> None:
    assert await update(client, ada) == changed(1)


async def test_only_the_given_fields_change(client: Client, ada: Person) -> None:
    assert await update(client, ada, username="Lovelace") == changed(username="Lovelace")
    body = await update(client, ada, email="Ada@BÜCHER.example", currentPassword=PASSWORD)
    assert body == changed(3, username="Lovelace", email="Ada@xn--bcher-kva.example")
    names = {"username": "ada", "email": "ada@example.com"}
    assert await update(client, ada, **names, currentPassword=PASSWORD) == changed(4)


async def test_names_can_change_their_case(client: Client, ada: Person) -> None:
    body = await update(client, ada, username="ADA", email="ADA@example.com", currentPassword=PASSWORD)
    assert body == changed(username="ADA", email="ADA@example.com")


async def test_null_clears_no_name_and_no_password(client: Client, ada: Person, superuser: Driver) -> None:
    before = await dump(superuser)
    assert await update(client, ada, email=None, username=None, password=None, profile=None) == refused(
        {
            "field": ["input", "email"],
            "code": "INVALID_EMAIL",
            "message": "email cannot be null; leave it out to keep it",
        },
        {
            "field": ["input", "username"],
            "code": "INVALID_USERNAME",
            "message": "username cannot be null; leave it out to keep it",
        },
        {
            "field": ["input", "password"],
            "code": "INVALID_PASSWORD",
            "message": "password cannot be null; leave it out to keep it",
        },
    )
    assert await dump(superuser) == before


async def test_whether_a_user_is_active_cannot_be_null(client: Client, ada: Person, superuser: Driver) -> None:
    before = await dump(superuser)
    assert await update(client, ada, isActive=None) == {
        "data": None,
        "errors": [
            {
                "message": "input.isActive cannot be null; leave it out to keep it",
                "locations": [{"line": 3, "column": 3}],
                "path": ["updateUser"],
                "extensions": {"code": "BAD_USER_INPUT"},
            }
        ],
    }
    assert await dump(superuser) == before


async def test_only_the_given_parts_of_the_profile_change(client: Client, ada: Person) -> None:
    assert await update(client, ada, profile={"bio": "Computes."}) == changed(profile={**PROFILE, "bio": "Computes."})
    assert await update(client, ada, profile={"bio": None}) == changed(3, profile={**PROFILE, "bio": None})
    assert await update(client, ada, profile=PROFILE) == changed(4)
    assert await update(client, ada, profile={}) == changed(4)


async def test_null_removes_the_profile(client: Client, ada: Person) -> None:
    assert await update(client, ada, profile=None) == changed(profile=None)
    assert await update(client, ada, profile=None) == changed(2, profile=None)


async def test_missing_profile_is_created(client: Client, ada: Person) -> None:
    nothing = dict.fromkeys(PROFILE)
    await update(client, ada, profile=None)
    assert await update(client, ada, profile={"bio": "Back."}) == changed(3, profile={**nothing, "bio": "Back."})
    await update(client, ada, profile=None)
    assert await update(client, ada, profile={}) == changed(5, profile=nothing)


async def test_all_errors_of_a_change_are_reported_at_once_and_nothing_changes(
    client: Client, ada: Person, superuser: Driver
) -> None:
    before = await dump(superuser)
    body = await update(
        client, ada, email="ada", username="a", password="short", profile={"websiteUrl": "javascript:1", "bio": "New."}
    )
    assert body == refused(
        {"field": ["input", "email"], "code": "INVALID_EMAIL", "message": "An email address must have an @-sign."},
        {
            "field": ["input", "username"],
            "code": "INVALID_USERNAME",
            "message": "a username has 3 to 32 characters: letters a to z, digits and _, beginning with a letter",
        },
        {"field": ["input", "password"], "code": "INVALID_PASSWORD", "message": "a password has 8 to 128 characters"},
        {
            "field": ["input", "profile", "websiteUrl"],
            "code": "INVALID_PROFILE",
            "message": "a website URL begins with http:// or https://, for example https://example.org",
        },
    )
    assert await dump(superuser) == before


async def test_name_of_another_user_is_refused_and_nothing_changes(
    client: Client, ada: Person, sign_up: SignUp, superuser: Driver
) -> None:
    await sign_up("bob")
    before = await dump(superuser)
    assert await update(client, ada, username="BOB", profile={"bio": "New."}) == refused(
        {"field": ["input", "username"], "code": "USERNAME_TAKEN", "message": "another user has this username"}
    )
    assert await update(client, ada, email="Bob@Example.com", profile=None, currentPassword=PASSWORD) == refused(
        {"field": ["input", "email"], "code": "EMAIL_TAKEN", "message": "another user has this email address"}
    )
    assert await dump(superuser) == before


async def test_new_password_signs_in_and_ends_the_other_sessions(client: Client, ada: Person) -> None:
    login = {"login": "ada", "password": PASSWORD}
    other = (await client.data(SIGN_IN, input=login))["signIn"]["accessToken"]
    assert await update(client, ada, password="a new and better one", currentPassword=PASSWORD) == changed()

    old = await client.data(SIGN_IN, input=login)
    assert old == {"signIn": {"accessToken": None, "userErrors": [{"code": "INVALID_CREDENTIALS"}]}}
    new = await client.data(SIGN_IN, input={**login, "password": "a new and better one"})
    assert new["signIn"]["userErrors"] == []

    response = await client.post("{ viewer { username } }", by=Person(ada.number, "ada", other))
    assert response.status_code == 401
    assert await client.data("{ viewer { username } }", by=ada) == {"viewer": {"username": "ada"}}


async def test_deactivated_user_is_signed_out_at_once(client: Client, ada: Person, sign_up: SignUp) -> None:
    anna = await sign_up("anna", admin=True)
    assert await update(client, anna, isActive=False) == changed(isActive=False)
    assert (await client.post("{ viewer { username } }", by=ada)).status_code == 401
    login = {"login": "ada", "password": PASSWORD}
    refusal = {"signIn": {"accessToken": None, "userErrors": [{"code": "INVALID_CREDENTIALS"}]}}
    assert await client.data(SIGN_IN, input=login) == refusal
    assert await update(client, anna, isActive=True) == changed(3)
    assert (await client.data(SIGN_IN, input=login))["signIn"]["userErrors"] == []


async def test_only_administrators_change_whether_a_user_is_active(
    client: Client, ada: Person, superuser: Driver
) -> None:
    before = await dump(superuser)
    message = "only an administrator changes whether a user is active"
    body = await update(client, ada, isActive=True, username="Lovelace")
    assert body == refused({"field": ["input", "isActive"], "code": "NOT_FOUND", "message": message})
    assert await dump(superuser) == before


# ---------------------------------------------------------------- versions


async def test_update_with_the_right_or_without_an_expected_version_succeeds(client: Client, ada: Person) -> None:
    assert await update(client, ada, username="ada1", expectedVersion=1) == changed(2, username="ada1")
    assert await update(client, ada, username="ada2", expectedVersion=2) == changed(3, username="ada2")
    assert await update(client, ada, username="ada3", expectedVersion=None) == changed(4, username="ada3")
    assert await update(client, ada, username="ada4") == changed(5, username="ada4")


async def test_wrong_expected_version_is_refused_and_nothing_changes(
    client: Client, ada: Person, superuser: Driver
) -> None:
    await update(client, ada, username="ADA")
    before = await dump(superuser)
    for version in (-1, 0, 1, 3, 2**31 - 1):
        body = await update(client, ada, expectedVersion=version, username="Lovelace", profile=None)
        assert body == conflict(2, version)
    assert await dump(superuser) == before


async def test_one_of_several_concurrent_changes_with_the_same_expected_version_succeeds(
    client: Client, ada: Person
) -> None:
    async def concurrent_change(number: int, version: int) -> dict[str, Any]:
        changes: dict[str, Any] = {"username": f"rival{version}x{number}", "profile": {"bio": f"{number}"}}
        return await update(client, ada, expectedVersion=version, **changes)

    for version in range(1, 6):
        bodies = await asyncio.gather(*(concurrent_change(number, version) for number in range(10)))
        [winner] = [number for number, body in enumerate(bodies) if body != conflict(version + 1, version)]
        won = changed(version + 1, username=f"rival{version}x{winner}", profile={**PROFILE, "bio": f"{winner}"})
        assert bodies[winner] == won
        found = await client.data('{ user(id: "user_2") { username version profile { bio } } }')
        assert found["user"] == {
            "username": f"rival{version}x{winner}",
            "version": version + 1,
            "profile": {"bio": f"{winner}"},
        }


async def test_every_change_updates_version_and_time_of_change(client: Client, ada: Person) -> None:
    seen = [(await client.data(MOMENTS, id=ada.id))["user"]]
    changes: list[dict[str, Any]] = [
        {"username": "Lovelace"},
        {"profile": {"bio": "New."}},
        {"profile": None},
        {"profile": {}},
    ]
    for fields in changes:
        await update(client, ada, **fields)
        seen.append((await client.data(MOMENTS, id=ada.id))["user"])
    moments = [datetime.datetime.fromisoformat(one["updatedAt"]) for one in seen]
    assert [one["version"] for one in seen] == [1, 2, 3, 4, 5]
    assert moments == sorted(set(moments))
    assert {one["createdAt"] for one in seen} == {seen[0]["createdAt"]}


# ---------------------------------------------------------------- deletion


async def test_user_is_deleted_with_profile_posts_and_sessions(client: Client, ada: Person, sign_up: SignUp) -> None:
    create = 'mutation { createPosts(input: {posts: [{title: "One", content: "", published: true}]}) { posts { id } } }'
    for author in (ada, await sign_up("bob")):
        await client.data(create, by=author)
    body = await client.run(DELETE_USER, by=ada, input={"id": ada.id})
    assert body == {"data": {"deleteUser": {"deletedUserId": "user_2", "userErrors": []}}}
    left = await client.data('{ user(id: "user_2") { id } posts { nodes { id author { username } } } }')
    assert left == {"user": None, "posts": {"nodes": [{"id": "post_2", "author": {"username": "bob"}}]}}
    assert (await client.post("{ __typename }", by=ada)).status_code == 401
    await sign_up("ada")  # both names are free again


async def test_administrator_deletes_any_user_but_the_treasury(client: Client, ada: Person, sign_up: SignUp) -> None:
    anna = await sign_up("anna", admin=True)
    body = await client.run(DELETE_USER, by=anna, input={"id": ada.id})
    assert body == {"data": {"deleteUser": {"deletedUserId": ada.id, "userErrors": []}}}
    body = await client.run(DELETE_USER, by=anna, input={"id": "user_1"})
    assert body == {"data": {"deleteUser": {"deletedUserId": None, "userErrors": [NO_SUCH_USER]}}}
    assert await client.data('{ user(id: "user_1") { username } }') == {"user": {"username": "treasury"}}


async def test_treasury_cannot_be_changed(client: Client, sign_up: SignUp, superuser: Driver) -> None:
    anna = await sign_up("anna", admin=True)
    before = await dump(superuser)
    changes: list[dict[str, Any]] = [
        {},
        {"username": "payer_account"},
        {"password": "a new and better one"},
        {"isActive": True},
        {"profile": {"bio": "Rich."}},
        {"profile": None},
    ]
    for change in changes:
        assert await update(client, anna, "user_1", **change) == refused(NO_SUCH_USER)
    assert await dump(superuser) == before


async def test_user_who_owns_an_account_is_not_deleted(
    client: Client, ada: Person, sign_up: SignUp, superuser: Driver
) -> None:
    anna = await sign_up("anna", admin=True)
    await client.data('mutation { openAccount(input: {currencyCode: "EUR"}) { account { id } } }', by=ada)
    before = await dump(superuser)
    for caller in (ada, anna):
        body = await client.run(DELETE_USER, by=caller, input={"id": ada.id})
        assert body == {"data": {"deleteUser": {"deletedUserId": None, "userErrors": [OWNS_ACCOUNTS]}}}
    assert await dump(superuser) == before


async def test_other_user_is_not_found_and_does_not_change(
    client: Client, ada: Person, sign_up: SignUp, superuser: Driver
) -> None:
    bob = await sign_up("bob")
    before = await dump(superuser)
    for user_id in (ada.id, "user_999"):
        assert await update(client, bob, user_id, username="mine") == refused(NO_SUCH_USER)
        body = await client.run(DELETE_USER, by=bob, input={"id": user_id})
        assert body == {"data": {"deleteUser": {"deletedUserId": None, "userErrors": [NO_SUCH_USER]}}}
    assert await dump(superuser) == before


async def test_deletion_or_opening_of_an_account_at_the_same_time_is_refused(
    client: Client, sign_up: SignUp, superuser: Driver
) -> None:
    people = [await sign_up(f"user{number}") for number in range(8)]
    outcomes = await asyncio.gather(*(_opening_and_deletion(client, one) for one in people))
    either = {("opened", "USER_OWNS_ACCOUNTS"), ("UNAUTHENTICATED", "deleted")}
    assert set(outcomes) <= either
    owners = await superuser.fetch("SELECT owner_id FROM accounts ORDER BY 1")
    users = await superuser.fetch("SELECT id FROM users WHERE role = 'member' ORDER BY 1")
    assert [row["owner_id"] for row in owners] == [row["id"] for row in users]


async def _opening_and_deletion(client: Client, by: Person) -> tuple[str, str]:
    opened, deleted = await asyncio.gather(_opening(client, by), _deletion(client, by))
    return opened, deleted


async def _opening(client: Client, by: Person) -> str:
    open_account = 'mutation { openAccount(input: {currencyCode: "EUR"}) { account { id } } }'
    body = await client.run(open_account, by=by)
    return str(body["errors"][0]["extensions"]["code"]) if "errors" in body else "opened"


async def _deletion(client: Client, by: Person) -> str:
    payload = (await client.data(DELETE_USER, by=by, input={"id": by.id}))["deleteUser"]
    return "".join(error["code"] for error in payload["userErrors"]) or "deleted"
