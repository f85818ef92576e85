"""Errors as clients see them: always with a code, with an id if unexpected, and without private data.

Every failure is a real one: renamed columns, constraints that the code does not expect, a closed database.
"""

import asyncio
import gc
import logging
import re
from collections.abc import Mapping
from typing import Any

import asyncpg
import pytest
from graphql import GraphQLError
from sqlalchemy import text

from db.connections.database import Database
from db.connections.leases import Driver
from db.connections.statements import Statement
from db.embedded.server import EmbeddedServer
from db.settings import Settings
from graph.errors import presented
from tests.conftest import superuser_execute
from tests.db.support.backends import connected_superuser, terminate_all, waiting_backend
from tests.graph.support.callers import PASSWORD, Client, SignUp
from tests.graph.support.served_app import served

CREATE_USER = """mutation($username: String!) {
    createUser(input: {email: "private@example.com", username: $username, password: "correct horse battery"}) {
        user { id } userErrors { code }
    }
}"""
UPDATE_USER = """mutation($id: ID!) {
    updateUser(input: {id: $id, profile: {bio: "secret bio"}}) { user { id } userErrors { code } }
}"""
OPEN_ACCOUNT = 'mutation { openAccount(input: {currencyCode: "EUR"}) { account { id } userErrors { code } } }'
USER = "query($name: String!) { userByUsername(username: $name) { username } }"
POSTS = "{ posts(first: 1) { nodes { id } } }"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """All log records, of every level."""
    caplog.set_level(logging.DEBUG)
    return caplog


def masked(body: Mapping[str, Any], log: pytest.LogCaptureFixture) -> str:
    """Return the log record of the only error of `body`, which shows an id and nothing else."""
    [error] = body["errors"]
    error_id = error["extensions"]["errorId"]
    assert re.fullmatch("[0-9a-f]{16}", error_id)
    assert error["extensions"] == {"code": "INTERNAL_SERVER_ERROR", "errorId": error_id}
    assert error["message"] == f"an unexpected error; it is logged under the id {error_id}"
    [record] = [record for record in log.records if error_id in record.getMessage()]
    assert (record.name, record.levelname) == ("graph.errors", "ERROR")
    assert record.exc_info is not None
    return log.text


def coded(body: Mapping[str, Any]) -> list[Any]:
    return [error["extensions"] for error in body["errors"]]


# ---------------------------------------------------------------- unexpected errors


async def test_unexpected_error_is_masked_and_logged_under_its_id_without_arguments(
    client: Client, superuser: Driver, log: pytest.LogCaptureFixture
) -> None:
    await superuser.execute("REVOKE SELECT ON users FROM folio")
    response = await client.post(USER, name="private_name")
    body = response.json()
    assert (response.status_code, body["data"]) == (200, {"userByUsername": None})
    assert (body["errors"][0]["path"], body["errors"][0]["locations"]) == (
        ["userByUsername"],
        [{"line": 1, "column": 25}],
    )
    logged = masked(body, log)
    assert "InsufficientPrivilegeError" in logged
    assert response.headers["x-request-id"] in logged
    assert "private_name" not in logged
    await superuser.execute("GRANT SELECT ON users TO folio")
    assert await client.data(USER, name="treasury") == {"userByUsername": {"username": "treasury"}}


async def test_fields_that_did_not_fail_are_answered(client: Client, superuser: Driver) -> None:
    await superuser.execute("REVOKE SELECT ON posts FROM folio")
    both = '{ user(id: "user_1") { username } one: post(id: "post_1") { id } other: post(id: "post_2") { id } }'
    body = await client.run(both)
    assert body["data"] == {"user": {"username": "treasury"}, "one": None, "other": None}
    assert [error["path"] for error in body["errors"]] == [["one"], ["other"]]
    ids = {error["extensions"]["errorId"] for error in body["errors"]}
    assert len(ids) == 2
    assert (await client.run(POSTS))["data"] is None


async def test_error_outside_of_any_operation_is_masked_too(
    client: Client, sign_up: SignUp, superuser: Driver, log: pytest.LogCaptureFixture
) -> None:
    ada = await sign_up("ada")
    await superuser.execute("REVOKE SELECT ON sessions FROM folio")
    response = await client.post("{ __typename }", by=ada)
    assert response.status_code == 500
    assert list(response.json()) == ["errors"]
    assert ada.token not in masked(response.json(), log)


@pytest.mark.parametrize(
    ("check", "named"),
    [
        ("username <> 'mallory'", "ck_unheard_of"),  # PostgreSQL quotes the row in the detail
        ("hashed_password::int > 0", "InvalidTextRepresentationError"),  # and here the value in the message
        ("substr(email, 1, 20)::date > now()", "InvalidDatetimeFormatError"),
    ],
)
async def test_row_that_an_unknown_constraint_refuses_is_neither_shown_nor_logged(
    client: Client, superuser: Driver, log: pytest.LogCaptureFixture, check: str, named: str
) -> None:
    await superuser.execute(f"ALTER TABLE users ADD CONSTRAINT ck_unheard_of CHECK ({check}) NOT VALID")
    response = await client.post(CREATE_USER, username="mallory")
    assert response.json()["data"] is None
    logged = masked(response.json(), log)
    assert named in logged
    for private in ("Failing row", "argon2id", "private@example.com", "mallory", PASSWORD):
        assert private not in response.text + logged
    assert await superuser.fetchval("SELECT count(*) FROM users") == 1


async def test_argument_that_the_driver_refuses_is_not_logged(
    database: Database, log: pytest.LogCaptureFixture
) -> None:
    value = "hunter2"
    with pytest.raises(asyncpg.DataError, match=value) as caught:
        await database.fetch(Statement(text("SELECT CAST(:n AS uuid)")), {"n": value})
    shown = presented(GraphQLError(str(caught.value), original_error=caught.value), "a request")
    logged = masked({"errors": [shown.formatted]}, log)
    assert "DataError" in logged
    assert value not in logged


async def test_value_that_no_scalar_can_represent_is_an_internal_error(
    client: Client, superuser: Driver, log: pytest.LogCaptureFixture
) -> None:
    await superuser.execute("UPDATE users SET version = 3000000000")
    body = await client.run('{ user(id: "user_1") { username version } }')
    assert body["data"] == {"user": None}
    assert "3000000000" not in masked(body, log)


# ---------------------------------------------------------------- a database that does not answer

UNREACHABLE = {"message": "the database cannot be reached", "extensions": {"code": "DATABASE_UNAVAILABLE"}}


async def test_closed_database_is_unavailable_until_it_opens_again(
    client: Client, sign_up: SignUp, superuser: Driver, server: EmbeddedServer, log: pytest.LogCaptureFixture
) -> None:
    ada = await sign_up("ada")
    name = await superuser.fetchval("SELECT current_database()")
    await superuser_execute(server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await terminate_all(superuser)
    for _ in range(2):
        signed_in = await client.post(POSTS, by=ada)
        assert (signed_in.status_code, signed_in.json()) == (503, {"errors": [UNREACHABLE]})
        assert signed_in.headers["retry-after"] == "1"
        anonymous = await client.post(POSTS)
        place = {"path": ["posts"], "locations": [{"line": 1, "column": 3}]}
        assert (anonymous.status_code, anonymous.json()) == (200, {"data": None, "errors": [UNREACHABLE | place]})
        assert coded(await client.run(CREATE_USER, username="eve")) == [UNREACHABLE["extensions"]]
        assert await client.run("{ __typename }") == {"data": {"__typename": "Query"}}
        assert (await client.http.get("/livez")).status_code == 200
        assert (await client.http.get("/readyz")).status_code == 503
    assert "errorId" not in log.text
    assert ada.token not in log.text
    await superuser_execute(server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    assert await client.data("{ viewer { username } }", by=ada) == {"viewer": {"username": "ada"}}
    assert await client.data(POSTS) == {"posts": {"nodes": []}}
    assert (await client.http.get("/readyz")).status_code == 200


async def test_connection_that_breaks_during_commit_leaves_the_outcome_unknown(
    client: Client, superuser: Driver
) -> None:
    await superuser.execute("""
        CREATE FUNCTION vanish() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
        $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER vanish AFTER INSERT ON users
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION vanish()
    """)
    body = await client.run(CREATE_USER, username="eve")
    message = "the connection broke while the write was being committed: check before you send it again"
    assert [error["message"] for error in body["errors"]] == [message]
    assert coded(body) == [{"code": "DATABASE_UNAVAILABLE", "outcomeUnknown": True}]


async def test_row_that_is_locked_for_too_long_is_busy(
    settings: Settings, client: Client, sign_up: SignUp, superuser: Driver
) -> None:
    ada = await sign_up("ada")
    async with served(settings, lock_timeout_ms=50) as impatient:
        async with superuser.transaction():
            await superuser.execute("SELECT FROM users FOR UPDATE")
            body = await impatient.run(UPDATE_USER, by=ada, id=ada.id)
        assert body["errors"][0]["message"] == "another client holds a lock on the same rows; try again shortly"
        assert coded(body) == [{"code": "DATABASE_BUSY"}]
        assert (await impatient.data(UPDATE_USER, by=ada, id=ada.id))["updateUser"]["userErrors"] == []


async def test_statement_that_takes_too_long_is_a_timeout(settings: Settings, superuser: Driver) -> None:
    async with served(settings, statement_timeout_ms=50) as impatient:
        async with superuser.transaction():
            await superuser.execute("LOCK TABLE posts")
            assert coded(await impatient.run(POSTS)) == [{"code": "DATABASE_TIMEOUT"}]
        assert await impatient.data(POSTS) == {"posts": {"nodes": []}}


async def test_count_that_a_failed_page_includes_fails_for_all_its_fields(
    settings: Settings, superuser: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    query = "{ a: posts { totalCount } b: posts(last: 1) { totalCount nodes { id } } postsPage { total } }"
    async with served(settings, statement_timeout_ms=50) as impatient:
        async with superuser.transaction():
            await superuser.execute("LOCK TABLE posts")
            body = await impatient.run(query)
            assert {one["code"] for one in coded(body)} == {"DATABASE_TIMEOUT"}
        data = await impatient.data(query)
    gc.collect()
    assert data == {"a": {"totalCount": 0}, "b": {"totalCount": 0, "nodes": []}, "postsPage": {"total": 0}}
    assert [record for record in caplog.records if record.name == "asyncio"] == []


async def test_pool_without_a_free_connection_is_busy(settings: Settings, superuser: Driver) -> None:
    async with served(settings, pool_size=1, pool_max_overflow=0, pool_timeout_s=0.05) as narrow:
        while "errors" in await narrow.run(POSTS):  # on a busy machine a connection takes longer to open
            pass
        async with superuser.transaction():
            await superuser.execute("LOCK TABLE posts")
            holding = asyncio.create_task(narrow.data(POSTS))
            while not await superuser.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                assert not holding.done()
                await asyncio.sleep(0.005)
            body = await narrow.run(USER, name="treasury")
        assert coded(body) == [{"code": "DATABASE_BUSY"}]
        assert await holding == {"posts": {"nodes": []}}
        assert await narrow.data(USER, name="treasury") == {"userByUsername": {"username": "treasury"}}


# ---------------------------------------------------------------- codes

BAD_INPUT, INVALID = "BAD_USER_INPUT", "GRAPHQL_VALIDATION_FAILED"
PAGE = "query($page: Int = 1) { postsPage(page: $page) { page } }"
MISTAKES: dict[str, tuple[str, dict[str, Any], str]] = {
    "no GraphQL": ("{", {}, "GRAPHQL_PARSE_FAILED"),
    "an unknown field": ("{ nothing }", {}, INVALID),
    "an unknown argument": ('{ user(id: "user_1", name: "x") { id } }', {}, INVALID),
    "an unknown fragment": ("{ ...nothing }", {}, INVALID),
    "no selection": ('{ user(id: "user_1") }', {}, INVALID),
    "a number for a text": ("{ userByUsername(username: 1) { id } }", {}, INVALID),
    "a NUL": ('{ userByUsername(username: "\\u0000") { id } }', {}, INVALID),
    "no operation": ("fragment f on User { id }", {}, INVALID),
    "two operations": ("query a { __typename } query b { __typename }", {}, "OPERATION_RESOLUTION_FAILURE"),
    "a missing variable": (USER, {}, BAD_INPUT),
    "a variable of another type": (USER, {"name": 1}, BAD_INPUT),
    "null for a variable that is needed": (PAGE, {"page": None}, BAD_INPUT),
    "no id": ('{ user(id: "1") { id } }', {}, BAD_INPUT),
    "the id of another kind": ('{ user(id: "post_1") { id } }', {}, BAD_INPUT),
    "the id of another kind in a list": ('{ nodes(ids: ["user_1", "x"]) { id } }', {}, BAD_INPUT),
    "a page of nothing": ("{ users(first: 0) { totalCount } }", {}, BAD_INPUT),
    "no cursor": ('{ users(first: 1, after: "x") { totalCount } }', {}, BAD_INPUT),
    "page zero": (PAGE, {"page": 0}, BAD_INPUT),
    "too large": (
        "{ users(first: 100) { nodes { posts(first: 100) { nodes { author { profile { bio } } } } } } }",
        {},
        "OPERATION_TOO_LARGE",
    ),
    "a mutation without sign-in": (OPEN_ACCOUNT, {}, "UNAUTHENTICATED"),
}


async def test_every_bad_request_has_its_code_and_is_no_internal_error(
    client: Client, log: pytest.LogCaptureFixture
) -> None:
    answered = {}
    for mistake, (query, variables, _) in MISTAKES.items():
        body = await client.run(query, **variables)
        answered[mistake] = [extensions["code"] for extensions in coded(body)]
        assert all(error["message"] for error in body["errors"])
    assert answered == {mistake: [code] for mistake, (_, _, code) in MISTAKES.items()}
    assert [record for record in log.records if record.levelno >= logging.WARNING] == []


async def test_caller_who_is_deactivated_during_a_request_is_signed_out(
    client: Client, sign_up: SignUp, superuser: Driver, database_url: str
) -> None:
    ada = await sign_up("ada")
    async with connected_superuser(database_url) as changing:
        change = changing.transaction()
        await change.start()
        await changing.execute("UPDATE users SET is_active = false WHERE username = 'ada'")
        opening = asyncio.create_task(client.run(OPEN_ACCOUNT, by=ada))
        await waiting_backend(superuser)
        await change.commit()
    body = await opening
    assert (body["data"], body["errors"][0]["message"]) == (None, "the session has ended; sign in again")
    assert coded(body) == [{"code": "UNAUTHENTICATED"}]
    assert await superuser.fetchval("SELECT count(*) FROM accounts") == 0


@pytest.mark.parametrize("value", ["97531864", "9753.1864", "x97531864", "[97531864]", "{a: 97531864}"])
@pytest.mark.parametrize(
    "document",
    [
        'mutation { signIn(input: {login: "a", password: %s}) { accessToken } }',
        'mutation($password: String! = %s) { signIn(input: {login: "a", password: $password}) { accessToken } }',
        "mutation { refreshSession(input: {refreshToken: %s}) { accessToken } }",
    ],
)
async def test_secret_that_is_no_string_in_the_document_is_not_repeated(
    client: Client, document: str, value: str
) -> None:
    body = await client.run(document % value)
    assert [error["message"] for error in body["errors"]] == ["String cannot represent a non string value."]


async def test_other_value_of_the_wrong_type_is_quoted(client: Client) -> None:
    body = await client.run("{ userByUsername(username: 97531864) { id } }")
    assert [error["message"] for error in body["errors"]] == ["String cannot represent a non string value: 97531864"]


def test_exception_that_is_its_own_cause_is_masked_like_any_other() -> None:
    first, second = ValueError("one"), ValueError("two")
    first.__cause__, second.__cause__ = second, first
    shown = presented(GraphQLError("unexpected", original_error=first), "1")
    assert (shown.extensions or {})["code"] == "INTERNAL_SERVER_ERROR"


def test_unexpected_error_is_logged_with_its_traceback_and_kept_without(log: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        try:
            int("the first")
        except ValueError as error:
            raise LookupError("the second") from error

    with pytest.raises(LookupError) as caught:
        fail()
    error = GraphQLError("unexpected", path=["a"], original_error=caught.value)
    presented(error, "1")
    assert ("in fail" in log.text, "the first" in log.text, "the second" in log.text) == (True, True, True)
    cause = caught.value.__cause__
    assert cause is not None
    assert [one.__traceback__ for one in (error, caught.value, cause)] == [None] * 3
