"""`folio user`: listing, promoting and deactivating users and setting passwords; which sessions each of these ends."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from db.connections.leases import Driver
from tests.graph.cli.test_serving import ROOT
from tests.graph.support.callers import Client, Person, SignUp
from tests.graph.support.commands import LIMIT_S, PASSWORD, Ended, start
from tests.graph.support.rights_data import dump

Folio = Callable[..., Awaitable[Ended]]
VIEWER = "{ viewer { username } }"
SIGN_IN = """mutation($password: String!) {
  signIn(input: {login: "ida", password: $password}) { viewer { username } userErrors { code } }
}"""


@pytest.fixture
def folio(database_url: str, files: Path) -> Folio:
    """Run `folio user …` on this test's database."""

    async def run(*arguments: str, stdin: str | None = None) -> Ended:
        given = files / "stdin"
        given.write_text(stdin or "")
        password = PASSWORD if stdin is None else ""
        running = start(
            ["user", *arguments],
            files / "work",
            stdin=given,
            FOLIO_DATABASE_URL=database_url,
            NEW_USER_PASSWORD=password,
        )
        return await asyncio.to_thread(running.ended)

    return run


async def may_sign_in(client: Client, password: str) -> bool:
    answer = await client.data(SIGN_IN, password=password)
    return bool(answer["signIn"]["viewer"])


async def is_signed_in(client: Client, person: Person) -> bool:
    return (await client.post(VIEWER, by=person)).status_code == 200


# ---------------------------------------------------------------- list


async def test_list_has_all_users_but_the_system_user(folio: Folio, sign_up: SignUp) -> None:
    await sign_up("ida")
    await sign_up("anna", admin=True)
    await folio("deactivate", "ida")
    listed = await folio("list")
    assert (listed.code, listed.err) == (0, "")
    assert [line.split() for line in listed.out.splitlines()] == [
        ["user_2", "ida", "member", "inactive", "ida@example.com"],
        ["user_3", "anna", "admin", "active", "anna@example.com"],
    ]
    admins = await folio("list", "--admins")
    assert [line.split()[1] for line in admins.out.splitlines()] == ["anna"]


async def test_list_is_read_some_users_at_a_time(folio: Folio, superuser: Driver) -> None:
    await superuser.execute(
        "INSERT INTO users (email, username, hashed_password) "
        "SELECT 'u' || n || '@example.com', 'user' || n, 'none' FROM generate_series(1, 1201) AS n"
    )
    listed = await folio("list")
    assert [line.split()[1] for line in listed.out.splitlines()] == [f"user{number}" for number in range(1, 1202)]


# ---------------------------------------------------------------- roles


async def test_promoted_user_is_an_administrator_until_demoted(folio: Folio, client: Client, ida: Person) -> None:
    draft = "{ users(first: 1) { nodes { email } } }"
    assert (await folio("promote", "IDA")).out == "ida is an administrator\n"
    assert await client.data(draft, by=ida) == {"users": {"nodes": [{"email": "ida@example.com"}]}}
    await folio("create", "zoe", "zoe@example.com")
    other = '{ userByUsername(username: "zoe") { email } }'
    assert await client.data(other, by=ida) == {"userByUsername": {"email": "zoe@example.com"}}
    assert (await folio("demote", "ida@example.com")).out == "ida is a member\n"
    assert await client.data(other, by=ida) == {"userByUsername": {"email": None}}


@pytest.mark.parametrize(
    ("command", "message"), [("demote", "ida is a member already\n"), ("activate", "ida may sign in already\n")]
)
async def test_change_that_changes_nothing_reports_it_and_makes_no_version(
    command: str, message: str, folio: Folio, ida: Person, superuser: Driver
) -> None:
    before = await dump(superuser)
    ended = await folio(command, "ida")
    assert (ended.code, ended.out) == (0, message)
    assert await dump(superuser) == before


# ---------------------------------------------------------------- sessions


async def test_deactivated_user_is_signed_out_and_stays_out_until_activated(
    folio: Folio, client: Client, ida: Person, superuser: Driver
) -> None:
    ended = await folio("deactivate", "ida")
    assert (ended.code, ended.out) == (0, "ida may no longer sign in, and is signed out everywhere\n")
    assert not await is_signed_in(client, ida)
    assert not await may_sign_in(client, PASSWORD)
    assert (await folio("activate", "ida")).out == "ida may sign in\n"
    assert await may_sign_in(client, PASSWORD)
    assert not await is_signed_in(client, ida)  # the session has ended, as with updateUser


@pytest.mark.parametrize("ending", ["\n", ""])
async def test_password_from_standard_input_ends_every_session(
    ending: str, folio: Folio, client: Client, ida: Person
) -> None:
    ended = await folio("set-password", "ida", stdin="another horse" + ending)
    assert (ended.code, ended.out, ended.err) == (0, "ida has a new password, and is signed out everywhere\n", "")
    assert not await is_signed_in(client, ida)
    assert await may_sign_in(client, "another horse")
    assert not await may_sign_in(client, PASSWORD)


@pytest.mark.parametrize(
    ("again", "code", "message"),
    [("another horse", 0, "ida has a new password"), ("another house", 1, "the two passwords differ")],
)
async def test_password_is_prompted_for_twice_at_a_terminal(
    again: str, code: int, message: str, database_url: str, client: Client, ida: Person
) -> None:
    keyboard, terminal = os.openpty()
    script = "from graph.cli import main; main()"
    with subprocess.Popen(  # noqa: ASYNC220, S603 - constants
        [sys.executable, "-c", script, "user", "set-password", "ida"],
        cwd=ROOT,
        env={"FOLIO_DATABASE_URL": database_url, "FOLIO_PASSWORD_HASH_MEMORY_KIB": "8", "PATH": os.environ["PATH"]},
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        bufsize=0,  # unbuffered: nothing is read ahead
    ) as process:
        assert process.stderr is not None
        for prompt, typed in (("Password: ", "another horse"), ("The same password again: ", again)):
            # Turning the echo off discards what is typed before the prompt.
            assert await asyncio.to_thread(process.stderr.read, len(prompt)) == prompt.encode()
            os.write(keyboard, f"{typed}\n".encode())
            assert await asyncio.to_thread(process.stderr.read, 1) == b"\n"
        out, err = await asyncio.to_thread(process.communicate, timeout=LIMIT_S)
    os.close(keyboard)
    os.close(terminal)
    assert process.returncode == code
    assert message in (out + err).decode()
    assert b"horse" not in out + err
    assert await may_sign_in(client, "another horse") is (code == 0)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("command", ["promote", "demote", "activate", "deactivate", "set-password"])
@pytest.mark.parametrize(
    ("login", "message"),
    [
        ("nemo", "no user has the username or email address 'nemo'; `folio user list` shows them"),
        ("treasury", "treasury is the system user, which is not a person and cannot be changed"),
    ],
)
async def test_unknown_user_and_system_user_are_refused(
    command: str, login: str, message: str, folio: Folio, superuser: Driver
) -> None:
    before = await dump(superuser)
    ended = await folio(command, login)
    assert (ended.code, ended.err, ended.out) == (1, f"folio: {message}\n", "")
    assert await dump(superuser) == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("short", "password: a password has 8 to 128 characters"),
        ("password1", "password: this password is well known, and therefore guessed first; choose another one"),
        ("", "no password was given: set NEW_USER_PASSWORD, type it at a terminal, or send it on standard input"),
    ],
)
async def test_invalid_password_is_refused(
    given: str, message: str, folio: Folio, ida: Person, superuser: Driver
) -> None:
    before = await dump(superuser)
    ended = await folio("set-password", "ida", stdin=given)
    assert (ended.code, ended.err) == (1, f"folio: {message}\n")
    assert await dump(superuser) == before


async def test_operator_may_create_a_user_with_a_reserved_name(folio: Folio) -> None:
    ended = await folio("create", "support", "support@example.com")
    assert (ended.code, ended.out, ended.err) == (0, "member support is created, with the id user_2\n", "")
