"""Forbidden values: known passwords and reserved names; and what is revealed about taken emails."""

from typing import Any

from db.connections.leases import Driver
from tests.graph.schema.users.test_user_mutations import CREATE_USER, new, refused
from tests.graph.support.callers import PASSWORD, Client, Person, SignUp
from tests.graph.support.rights_data import dump

UPDATE_USER = "mutation ($input: UpdateUserInput!) { updateUser(input: $input) { userErrors { field code } } }"


async def update(client: Client, by: Person, **fields: Any) -> list[dict[str, Any]]:
    """Update the caller; return the refusals."""
    errors: list[dict[str, Any]] = (await client.data(UPDATE_USER, by=by, input={"id": by.id, **fields}))["updateUser"][
        "userErrors"
    ]
    return errors


async def test_whether_an_email_is_taken_is_not_revealed_if_another_field_is_wrong(
    client: Client, superuser: Driver
) -> None:
    await client.run(CREATE_USER, input=new("ada"))
    before = await dump(superuser)
    wrong: list[dict[str, Any]] = [
        {"username": "ada"},
        {"username": "treasury"},
        {"username": "a"},
        {"username": "support"},
        {"password": "short"},
        {"password": "password"},
        {"profile": {"websiteUrl": "https:x"}},
    ]
    for fault in wrong:
        taken, free = [
            await client.run(CREATE_USER, input=new("bob", email) | fault) for email in ("ada@example.com", "b@b.com")
        ]
        assert (fault, taken) == (fault, free)
    assert await dump(superuser) == before


async def test_reserved_names_are_refused_in_any_case(client: Client) -> None:
    message = "this username is reserved; choose another one"
    invalid = {"field": ["input", "username"], "code": "INVALID_USERNAME", "message": message}
    for username in ("system", "Root", "ADMIN", "administrator", "Support", "sys_admin", "help_desk", "moderator_"):
        body = await client.run(CREATE_USER, input=new(username))
        assert (username, body) == (username, refused(invalid))
    for username in ("admina", "rooted", "supporter"):
        assert (await client.run(CREATE_USER, input=new(username)))["data"]["createUser"]["userErrors"] == []


async def test_well_known_passwords_are_refused(client: Client) -> None:
    known = "this password is well known, and therefore guessed first; choose another one"
    own = "the password must differ from the username and the email address; choose another one"
    messages = {
        **dict.fromkeys(("password", "Password1!", "1234567890", "qwertyuiop", "iloveyou", "sunshine2026"), known),
        **dict.fromkeys(("aaaaaaaaaaaa", "12341234", "abcdefgh", "PASSWORDpassword", "x" * 128), known),
        **dict.fromkeys((" " * 8, "\u3000" * 20, "\u200b \u00a0\u2800" * 5), "a password has a visible character"),
        **dict.fromkeys(("ada_lovelace", "ADA_lovelace@example.com", "Ada_Lovelace"), own),
    }
    for password, message in messages.items():
        body = await client.run(CREATE_USER, input=new("ada_lovelace", password=password))
        assert (password, body) == (
            password,
            refused({"field": ["input", "password"], "code": "INVALID_PASSWORD", "message": message}),
        )


async def test_reserved_name_is_kept_by_its_user_and_refused_to_others(client: Client, sign_up: SignUp) -> None:
    invalid = [{"field": ["input", "username"], "code": "INVALID_USERNAME"}]
    root, ada = await sign_up("root"), await sign_up("ada")
    assert await update(client, root, username="Root", profile={"bio": "Always was."}) == []
    assert await update(client, root, username="admin") == invalid
    assert await update(client, ada, username="support") == invalid


async def test_well_known_password_is_refused_in_an_update(client: Client, ida: Person) -> None:
    invalid = [{"field": ["input", "password"], "code": "INVALID_PASSWORD"}]
    for password in ("password1", "ida@example.com", " " * 9):
        assert await update(client, ida, password=password, currentPassword=PASSWORD) == invalid
