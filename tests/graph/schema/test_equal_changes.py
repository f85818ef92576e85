"""An update to the current values changes nothing, neither version nor time of change, and so causes no conflict."""

import asyncio
from typing import Any

import pytest

from db.connections.leases import Driver
from tests.graph.support.callers import PASSWORD, Client, Person, SignUp
from tests.graph.support.rights_data import dump

UPDATE_POST = """
mutation ($input: UpdatePostInput!) {
  updatePost(input: $input) { post { title content published version } userErrors { field code } }
}
"""
UPDATE_USER = """
mutation ($input: UpdateUserInput!) {
  updateUser(input: $input) {
    user { username email isActive version profile { displayName bio websiteUrl } }
    userErrors { field code }
  }
}
"""
VIEWER = "{ viewer { username } }"
POST = {"title": "One", "content": "First.", "published": False}
PROFILE: dict[str, str | None] = {"displayName": "Ada L.", "bio": "Counts.", "websiteUrl": None}
USER = {"username": "ada", "email": "ada@example.com", "isActive": True, "profile": PROFILE}
NOT_FOUND = {"field": ["input", "id"], "code": "NOT_FOUND"}
CONFLICT = {"field": ["input", "expectedVersion"], "code": "VERSION_CONFLICT"}

EQUAL_POSTS: list[dict[str, Any]] = [{}, *({name: value} for name, value in POST.items()), POST]
EQUAL_USERS: list[dict[str, Any]] = [
    {},
    {"username": "ada"},
    {"email": "ada@example.com"},
    {"profile": {}},
    {"profile": {"bio": "Counts."}},
    {"profile": {"websiteUrl": None}},
    {"username": "ada", "email": "ada@example.com", "profile": PROFILE},
]


@pytest.fixture
async def ada(sign_up: SignUp, superuser: Driver) -> Person:
    """The author of post_1, who has a profile."""
    ada = await sign_up("ada")
    await superuser.execute("INSERT INTO profiles VALUES ($1, $2, $3, $4)", ada.number, *PROFILE.values())
    await superuser.execute("INSERT INTO posts (title, content, author_id) VALUES ('One', 'First.', $1)", ada.number)
    return ada


async def update_post(client: Client, by: Person, post_id: str = "post_1", **given: Any) -> Any:
    return (await client.data(UPDATE_POST, by=by, input={"id": post_id, **given}))["updatePost"]


async def update_user(client: Client, by: Person, user_id: str = "user_2", **given: Any) -> Any:
    return (await client.data(UPDATE_USER, by=by, input={"id": user_id, **given}))["updateUser"]


def post(version: int, **fields: Any) -> dict[str, Any]:
    return {"post": {**POST, **fields, "version": version}, "userErrors": []}


def user(version: int, **fields: Any) -> dict[str, Any]:
    return {"user": {**USER, **fields, "version": version}, "userErrors": []}


# ---------------------------------------------------------------- posts


@pytest.mark.parametrize("given", EQUAL_POSTS, ids=str)
async def test_an_update_to_the_current_values_of_a_post_changes_nothing(
    client: Client, ada: Person, superuser: Driver, given: dict[str, Any]
) -> None:
    before = await dump(superuser)
    assert await update_post(client, ada, **given) == post(1)
    assert await update_post(client, ada, **given, expectedVersion=1) == post(1)
    assert await dump(superuser) == before
    assert await update_post(client, ada, title="Uno", expectedVersion=1) == post(2, title="Uno")


async def test_an_update_that_changes_nothing_of_a_post_is_refused_like_any_other(
    client: Client, ada: Person, sign_up: SignUp, superuser: Driver
) -> None:
    bob = await sign_up("bob")
    before = await dump(superuser)
    for given in EQUAL_POSTS:
        refused = [
            await update_post(client, ada, **given, expectedVersion=2),
            await update_post(client, bob, **given),
            await update_post(client, ada, "post_999", **given),
        ]
        assert refused == [{"post": None, "userErrors": [error]} for error in (CONFLICT, NOT_FOUND, NOT_FOUND)]
    assert await dump(superuser) == before


async def test_an_update_of_a_post_is_one_statement_whether_a_value_differs_or_not(client: Client, ada: Person) -> None:
    changes: list[dict[str, Any]] = [{}, {"title": "One"}, {"title": "Uno"}]
    counts = [await client.statements(UPDATE_POST, by=ada, input={"id": "post_1", **one}) for one in changes]
    assert counts == [2, 2, 2]  # the other one reads the session


# ---------------------------------------------------------------- users


@pytest.mark.parametrize("given", EQUAL_USERS, ids=str)
async def test_an_update_to_the_current_values_of_a_user_changes_nothing(
    client: Client, ada: Person, superuser: Driver, given: dict[str, Any]
) -> None:
    before = await dump(superuser)
    assert await update_user(client, ada, **given) == user(1)
    assert await update_user(client, ada, **given, expectedVersion=1) == user(1)
    assert await dump(superuser) == before
    assert await update_user(client, ada, username="ada1", expectedVersion=1) == user(2, username="ada1")


async def test_an_update_that_changes_nothing_of_a_user_is_refused_like_any_other(
    client: Client, ada: Person, sign_up: SignUp, superuser: Driver
) -> None:
    bob = await sign_up("bob")
    before = await dump(superuser)
    for given in EQUAL_USERS:
        refused = [
            await update_user(client, ada, **given, expectedVersion=2),
            await update_user(client, bob, **given),
            await update_user(client, ada, "user_999", **given),
        ]
        assert refused == [{"user": None, "userErrors": [error]} for error in (CONFLICT, NOT_FOUND, NOT_FOUND)]
    assert await update_user(client, ada, isActive=True) == {
        "user": None,
        "userErrors": [{"field": ["input", "isActive"], "code": "NOT_FOUND"}],
    }
    assert await dump(superuser) == before


async def test_removing_a_missing_profile_is_no_change_and_creating_one_is(client: Client, ada: Person) -> None:
    nothing = dict.fromkeys(PROFILE)
    assert await update_user(client, ada, profile=None) == user(2, profile=None)
    assert await update_user(client, ada, profile=None) == user(2, profile=None)
    assert await update_user(client, ada, profile={}) == user(3, profile=nothing)
    assert await update_user(client, ada, profile=nothing) == user(3, profile=nothing)


async def test_an_update_of_a_user_takes_the_same_statements_whether_a_value_differs_or_not(
    client: Client, ada: Person
) -> None:
    changes: list[dict[str, Any]] = [{}, {"username": "ada"}, {"username": "ada1"}]
    profiles: list[dict[str, Any]] = [{"profile": PROFILE}, {"profile": {"bio": "New."}}, {"profile": None}]
    mutation = "mutation ($input: UpdateUserInput!) { updateUser(input: $input) { user { version } } }"
    counts = [await client.statements(mutation, by=ada, input={"id": "user_2", **one}) for one in [*changes, *profiles]]
    assert counts == [3, 3, 3, 4, 4, 4]  # the session, the lock, the profile if one is given, and the user


async def test_concurrent_updates_to_the_same_values_make_one_version(client: Client, ada: Person) -> None:
    for version in range(2, 6):
        given: dict[str, Any] = {"username": f"ada{version}", "profile": {**PROFILE, "bio": f"{version}"}}
        ends = await asyncio.gather(*(update_user(client, ada, **given) for _ in range(8)))
        assert ends == [user(version, **given)] * 8
        title = f"Title {version}"
        ends = await asyncio.gather(*(update_post(client, ada, title=title) for _ in range(8)))
        assert ends == [post(version, title=title)] * 8


# ---------------------------------------------------------------- sessions


async def test_sessions_stay_open_if_nothing_changes(client: Client, ada: Person, sign_up: SignUp) -> None:
    anna = await sign_up("anna", admin=True)
    assert await update_user(client, anna, isActive=True, username="ada") == user(1)
    assert await client.data(VIEWER, by=ada) == {"viewer": {"username": "ada"}}
    assert await update_user(client, anna, isActive=False) == user(2, isActive=False)
    assert await update_user(client, anna, isActive=False) == user(2, isActive=False)


async def test_the_same_password_again_is_a_change_and_ends_the_other_sessions(client: Client, ada: Person) -> None:
    sign_in = "mutation ($input: SignInInput!) { signIn(input: $input) { accessToken } }"
    data = await client.data(sign_in, input={"login": "ada", "password": PASSWORD})
    other = Person(ada.number, "ada", data["signIn"]["accessToken"])
    assert (await client.post(VIEWER, by=other)).status_code == 200
    assert await update_user(client, ada, password=PASSWORD, currentPassword=PASSWORD) == user(2)
    assert (await client.post(VIEWER, by=other)).status_code == 401
    assert await client.data(VIEWER, by=ada) == {"viewer": {"username": "ada"}}
