"""Creating users, one and many: all or nothing, and all errors of the input at once, each with its own field."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from db.connections.leases import Driver
from tests.db.support.backends import connected_superuser
from tests.graph.support.callers import PASSWORD, Client, Person, SignUp
from tests.graph.support.rights_data import dump
from tests.graph.support.served_app import until, waiting

CREATE_USER = """
mutation ($input: CreateUserInput!) {
  createUser(input: $input) {
    user { id username email isActive version profile { displayName bio websiteUrl } }
    userErrors { field code message }
  }
}
"""
CREATE_USERS = """
mutation ($input: CreateUsersInput!) {
  createUsers(input: $input) {
    users { username email profile { displayName } }
    userErrors { field code message }
  }
}
"""
FIND = "query ($username: String!) { userByUsername(username: $username) { username email } }"

EMAIL_TAKEN = {"field": ["input", "email"], "code": "EMAIL_TAKEN", "message": "another user has this email address"}
USERNAME_TAKEN = {"field": ["input", "username"], "code": "USERNAME_TAKEN", "message": "another user has this username"}
USERNAME_SHAPE = "a username has 3 to 32 characters: letters a to z, digits and _, beginning with a letter"
NO_HTTP_URLS = (
    "javascript:alert(1)",
    "JavaScript:alert(1)//https://ada.example",
    " https://ada.example",
    "java\nscript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "ftp://ada.example",
    "//ada.example",
    "ada.example",
    "https://",
    "https:x",
    "HTTPS:/x",
    "https:///x",
    "http:\\\\ada.example",
    "https://ada.example\\@evil.example",
    "https://@/",
    "https://?ada.example",
    "https://.",
    "",
)
HTTP_URL = "a website URL begins with http:// or https://, for example https://example.org"


def new(username: str, email: str | None = None, **others: Any) -> dict[str, Any]:
    return {"username": username, "email": email or f"{username}@example.com", "password": PASSWORD, **others}


def created(username: str, profile: Mapping[str, str | None] | None = None, *, number: int = 2) -> dict[str, Any]:
    """Return the response to an anonymous caller, who may not see any email, not even that of the new user."""
    user = {
        "id": f"user_{number}",
        "username": username,
        "email": None,
        "isActive": True,
        "version": 1,
        "profile": profile,
    }
    return {"data": {"createUser": {"user": user, "userErrors": []}}}


def refused(*errors: dict[str, Any]) -> dict[str, Any]:
    return {"data": {"createUser": {"user": None, "userErrors": list(errors)}}}


def all_refused(*errors: dict[str, Any]) -> dict[str, Any]:
    return {"data": {"createUsers": {"users": None, "userErrors": list(errors)}}}


def at_index(index: int, error: dict[str, Any], message: str | None = None) -> dict[str, Any]:
    """Return `error` as one of the user at `index` of a bulk input."""
    path = ["input", "users", str(index), *error["field"][1:]]
    return {**error, "field": path, "message": message or error["message"]}


def bad_input(field: str, message: str) -> dict[str, Any]:
    place = {"locations": [{"line": 3, "column": 3}], "path": [field]}
    return {"data": None, "errors": [{"message": message, **place, "extensions": {"code": "BAD_USER_INPUT"}}]}


@pytest.fixture
async def admin(sign_up: SignUp) -> Person:
    return await sign_up("anna", admin=True)


# ---------------------------------------------------------------- one user


async def test_user_is_created_with_the_profile(client: Client) -> None:
    profile = {"displayName": "Ada L.", "bio": "Counts.", "websiteUrl": "https://ada.example/notes"}
    body = await client.run(CREATE_USER, input=new("Ada", profile=profile))
    assert body == created("Ada", profile)


async def test_user_without_a_profile_has_none(client: Client) -> None:
    assert await client.run(CREATE_USER, input=new("ada")) == created("ada")
    assert await client.run(CREATE_USER, input=new("bob", profile=None)) == created("bob", number=3)


async def test_empty_profile_is_a_profile(client: Client) -> None:
    nothing = {"displayName": None, "bio": None, "websiteUrl": None}
    assert await client.run(CREATE_USER, input=new("ada", profile={})) == created("ada", nothing)


async def test_created_user_signs_in_with_the_password_and_sees_their_email(client: Client) -> None:
    await client.run(CREATE_USER, input=new("ada"))
    sign_in = "mutation ($input: SignInInput!) { signIn(input: $input) { viewer { email } userErrors { code } } }"
    data = await client.data(sign_in, input={"login": "ADA@example.com", "password": PASSWORD})
    assert data == {"signIn": {"viewer": {"email": "ada@example.com"}, "userErrors": []}}


async def test_neither_user_nor_profile_is_kept_if_the_database_refuses_the_profile(
    client: Client, superuser: Driver
) -> None:
    # Stricter than the check before the INSERT, so that the user already exists when the profile is refused.
    await superuser.execute(
        "ALTER TABLE profiles DROP CONSTRAINT ck_profiles_bio_length,"
        " ADD CONSTRAINT ck_profiles_bio_length CHECK (char_length(bio) < 5)"
    )
    before = await dump(superuser)
    body = await client.run(CREATE_USER, input=new("ada", profile={"bio": "Counts."}))
    message = "a bio has at most 5000 characters"
    assert body == refused({"field": ["input", "profile", "bio"], "code": "INVALID_PROFILE", "message": message})
    assert await dump(superuser) == before


async def test_all_errors_of_a_user_are_reported_at_once(client: Client, superuser: Driver) -> None:
    before = await dump(superuser)
    profile = {"displayName": "x" * 101, "bio": "x" * 5001, "websiteUrl": "javascript:alert(1)"}
    body = await client.run(CREATE_USER, input=new("1", "nobody", password="1234567", profile=profile))
    assert body == refused(
        {"field": ["input", "email"], "code": "INVALID_EMAIL", "message": "An email address must have an @-sign."},
        {"field": ["input", "username"], "code": "INVALID_USERNAME", "message": USERNAME_SHAPE},
        {"field": ["input", "password"], "code": "INVALID_PASSWORD", "message": "a password has 8 to 128 characters"},
        {
            "field": ["input", "profile", "displayName"],
            "code": "INVALID_PROFILE",
            "message": "a display name has at most 100 characters",
        },
        {
            "field": ["input", "profile", "bio"],
            "code": "INVALID_PROFILE",
            "message": "a bio has at most 5000 characters",
        },
        {"field": ["input", "profile", "websiteUrl"], "code": "INVALID_PROFILE", "message": HTTP_URL},
    )
    assert await dump(superuser) == before


async def test_longest_values_are_accepted(client: Client) -> None:
    url = "https://ada.example/"
    profile = {"displayName": "é" * 100, "bio": "é" * 5000, "websiteUrl": url + "x" * (2000 - len(url))}
    body = await client.run(
        CREATE_USER, input=new("a" * 32, "a@example.com", password="éàüß" * 31 + "1234", profile=profile)
    )
    assert body == created("a" * 32, profile)


async def test_malformed_names_are_refused(client: Client) -> None:
    invalid = {"field": ["input", "username"], "code": "INVALID_USERNAME", "message": USERNAME_SHAPE}
    for username in ("", "ab", "a" * 33, "1ada", "_ada", "ada-l", "ada l", "ada\n", "adä", "\u0430da"):
        body = await client.run(CREATE_USER, input=new(username, "ada@example.com"))
        assert (username, body) == (username, refused(invalid))


async def test_passwords_of_a_wrong_length_are_refused(client: Client) -> None:
    message = "a password has 8 to 128 characters"
    invalid = {"field": ["input", "password"], "code": "INVALID_PASSWORD", "message": message}
    for password in ("", "1234567", "x" * 129):
        body = await client.run(CREATE_USER, input=new("ada", password=password))
        assert (password, body) == (password, refused(invalid))


async def test_websites_that_are_no_http_url_are_refused(client: Client) -> None:
    invalid = {"field": ["input", "profile", "websiteUrl"], "code": "INVALID_PROFILE", "message": HTTP_URL}
    for url in NO_HTTP_URLS:
        body = await client.run(CREATE_USER, input=new("ada", profile={"websiteUrl": url}))
        assert (url, body) == (url, refused(invalid))


async def test_website_that_is_too_long_is_refused_once(client: Client) -> None:
    body = await client.run(CREATE_USER, input=new("ada", profile={"websiteUrl": "x" * 2001}))
    message = "a website URL has at most 2000 characters"
    path = ["input", "profile", "websiteUrl"]
    assert body == refused({"field": path, "code": "INVALID_PROFILE", "message": message})


# ---------------------------------------------------------------- names that are taken


async def test_names_taken_in_another_case_are_refused_and_both_shown_to_viewers_of_emails(
    client: Client, admin: Person, superuser: Driver
) -> None:
    await client.run(CREATE_USER, input=new("Ada", "Ada@Example.com"))
    before = await dump(superuser)
    body = await client.run(CREATE_USER, by=admin, input=new("aDA", "aDA@eXample.COM"))
    assert body == refused(EMAIL_TAKEN, USERNAME_TAKEN)
    assert await dump(superuser) == before


async def test_only_the_taken_name_is_refused(client: Client) -> None:
    await client.run(CREATE_USER, input=new("ada"))
    assert await client.run(CREATE_USER, input=new("bob", "ADA@example.com")) == refused(EMAIL_TAKEN)
    assert await client.run(CREATE_USER, input=new("ADA", "bob@example.com")) == refused(USERNAME_TAKEN)


async def test_name_of_the_treasury_is_taken(client: Client) -> None:
    assert await client.run(CREATE_USER, input=new("Treasury")) == refused(USERNAME_TAKEN)


async def test_email_is_stored_in_its_canonical_spelling(client: Client, admin: Person) -> None:
    spellings = {
        "Ada.L+notes@EXAMPLE.Com": "Ada.L+notes@example.com",
        "bob@Bücher.example": "bob@xn--bcher-kva.example",
        "cid@BU\u0308CHER.example": "cid@xn--bcher-kva.example",
        "dan@xn--bcher-kva.example": "dan@xn--bcher-kva.example",
    }
    for username, (given, kept) in zip(("ada", "bob", "cid", "dan"), spellings.items(), strict=True):
        await client.data(CREATE_USER, input=new(username, given))
        found = await client.data(FIND, by=admin, username=username)
        assert found == {"userByUsername": {"username": username, "email": kept}}


async def test_international_domain_is_a_conflict_in_either_spelling(client: Client) -> None:
    await client.run(CREATE_USER, input=new("ada", "ada@bücher.example"))
    body = await client.run(CREATE_USER, input=new("bob", "ada@xn--bcher-kva.example"))
    assert body == refused(EMAIL_TAKEN)


async def test_emails_that_cannot_be_used_are_refused(client: Client) -> None:
    too_long = "a" * 64 + "@" + ".".join(["b" * 63] * 3) + ".com"
    wrong = {
        "ada@localhost": "The part after the @-sign is not valid. It should have a period.",
        " ada@example.com": "The email address contains invalid characters before the @-sign: SPACE.",
        "ädä@example.com": "Internationalized characters before the @-sign are not supported: 'ä'.",
        too_long: "The email address is too long (6 characters too many).",
    }
    for email, message in wrong.items():
        body = await client.run(CREATE_USER, input=new("ada", email))
        assert body == refused({"field": ["input", "email"], "code": "INVALID_EMAIL", "message": message})


async def test_one_of_many_simultaneous_sign_ups_with_the_same_name_succeeds(client: Client, superuser: Driver) -> None:
    await client.data("{ __typename }")
    inputs = [new("ada" if index % 2 else "ADA") for index in range(8)]
    bodies = await asyncio.gather(*(client.run(CREATE_USER, input=one) for one in inputs))
    winners = [body["data"]["createUser"]["user"] for body in bodies if body["data"]["createUser"]["user"]]
    assert len(winners) == 1
    assert bodies.count(refused(USERNAME_TAKEN)) == 7
    assert await superuser.fetchval("SELECT count(*) FROM users WHERE lower(username) = 'ada'") == 1


# ---------------------------------------------------------------- many users


async def test_users_are_created_in_the_order_of_the_input(client: Client, admin: Person) -> None:
    inputs = [new("Zoe"), new("ada", profile={"displayName": "Ada L."}), new("Mia")]
    body = await client.run(CREATE_USERS, by=admin, input={"users": inputs})
    users = [
        {"username": "Zoe", "email": "Zoe@example.com", "profile": None},
        {"username": "ada", "email": "ada@example.com", "profile": {"displayName": "Ada L."}},
        {"username": "Mia", "email": "Mia@example.com", "profile": None},
    ]
    assert body == {"data": {"createUsers": {"users": users, "userErrors": []}}}


async def test_one_taken_name_refuses_all_users(client: Client, admin: Person, superuser: Driver) -> None:
    await client.run(CREATE_USER, input=new("ada"))
    before = await dump(superuser)
    inputs = [new("bob"), new("Cid", "ADA@example.com"), new("dan", profile={"bio": "Late."}), new("Ada", "e@e.com")]
    body = await client.run(CREATE_USERS, by=admin, input={"users": inputs})
    assert body == all_refused(at_index(1, EMAIL_TAKEN), at_index(3, USERNAME_TAKEN))
    assert await dump(superuser) == before


@pytest.mark.parametrize("names", [["bob", "ada", "cid"], ["ada"]])
async def test_taken_name_that_is_free_again_is_an_error_of_a_user_only_if_there_is_one(
    client: Client, admin: Person, superuser: Driver, database_url: str, names: list[str]
) -> None:
    """The name is taken when the constraint is checked, and free when the taken names are queried."""
    async with connected_superuser(database_url) as second:
        insertion, deletion = superuser.transaction(), second.transaction()
        await insertion.start()
        await superuser.execute("INSERT INTO users (email, username, hashed_password) VALUES ('a@e.org', 'Ada', 'x')")
        writing = asyncio.create_task(client.run(CREATE_USERS, by=admin, input={"users": [new(one) for one in names]}))
        await until(lambda: _one_waits(second), "a write that waits for the name")
        await deletion.start()
        locking = asyncio.create_task(second.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"))
        await until(lambda: _table_lock_waits(superuser), "a lock that waits for the write")
        await insertion.commit()
        await locking
        await second.execute("DELETE FROM users WHERE username = 'Ada'")
        await deletion.commit()
    place = ["input", "users", "0", "username"] if len(names) == 1 else ["input", "users"]
    assert await writing == all_refused({**USERNAME_TAKEN, "field": place})


async def _one_waits(superuser: Driver) -> bool:
    return await waiting(superuser) == 1


async def _table_lock_waits(superuser: Driver) -> bool:
    waits: bool = await superuser.fetchval(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted)"
    )
    return waits


async def test_errors_of_many_users_are_reported_with_their_indexes(client: Client, admin: Person) -> None:
    inputs = [new("ada"), new("b"), new("cid", profile={"websiteUrl": "javascript:alert(1)"}), new("dan", password="")]
    body = await client.run(CREATE_USERS, by=admin, input={"users": inputs})
    assert body == all_refused(
        {"field": ["input", "users", "1", "username"], "code": "INVALID_USERNAME", "message": USERNAME_SHAPE},
        {"field": ["input", "users", "2", "profile", "websiteUrl"], "code": "INVALID_PROFILE", "message": HTTP_URL},
        {
            "field": ["input", "users", "3", "password"],
            "code": "INVALID_PASSWORD",
            "message": "a password has 8 to 128 characters",
        },
    )


async def test_names_repeated_within_the_input_are_refused(client: Client, admin: Person, superuser: Driver) -> None:
    before = await dump(superuser)
    inputs = [new("ada"), new("bob", "ADA@EXAMPLE.COM"), new("ADA", "c@example.com"), new("dan"), new("Dan", "e@e.com")]
    body = await client.run(CREATE_USERS, by=admin, input={"users": inputs})
    assert body == all_refused(
        at_index(1, EMAIL_TAKEN, "the same email as that of user 0 of this input"),
        at_index(2, USERNAME_TAKEN, "the same username as that of user 0 of this input"),
        at_index(4, USERNAME_TAKEN, "the same username as that of user 3 of this input"),
    )
    assert await dump(superuser) == before


async def test_international_domain_repeated_in_its_other_spelling_is_refused(client: Client, admin: Person) -> None:
    inputs = [new("ada"), new("bob", "b@bücher.example"), new("cid", "B@xn--bcher-kva.example")]
    body = await client.run(CREATE_USERS, by=admin, input={"users": inputs})
    assert body == all_refused(at_index(2, EMAIL_TAKEN, "the same email as that of user 1 of this input"))


async def test_too_few_or_too_many_users_are_a_bad_request(client: Client, admin: Person, superuser: Driver) -> None:
    before = await dump(superuser)
    for size in (0, 101):
        inputs = [new(f"user{index}") for index in range(size)]
        body = await client.run(CREATE_USERS, by=admin, input={"users": inputs})
        assert body == bad_input("createUsers", f"input.users should have 1 to 100 items, not {size}")
    assert await dump(superuser) == before


async def test_statements_do_not_grow_with_the_number_of_users(client: Client, admin: Person) -> None:
    counts = {}
    for size in (1, 10, 100):
        inputs = [new(f"user{size}_{index}", profile={"bio": "One of many."}) for index in range(size)]
        counts[size] = await client.statements(CREATE_USERS, by=admin, input={"users": inputs})
    # The session, the users, their profiles, and the selected profiles.
    assert counts == {1: 4, 10: 4, 100: 4}
