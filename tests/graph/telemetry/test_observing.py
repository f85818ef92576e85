"""The log: one line for each operation, its contents, and what it never contains."""

import asyncio
import hashlib
import logging
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from db.connections.leases import Driver
from graph.telemetry.logs import LineFormatter, log_config
from graph.telemetry.traces import trace_of
from tests.graph.support.callers import PASSWORD, Client, Person, SignUp
from tests.graph.support.recorded_log import Log, recorded_log

POSTS = "query Feed { posts(first: 10) { nodes { title author { username profile { bio } } } } }"
CREATE_POST = (
    'mutation { createPost(input: {title: "T", content: "C", published: true}) { post { id } userErrors { code } } }'
)
TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def log() -> Iterator[Log]:
    with recorded_log() as recorded:
        yield recorded


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def line(**differing: object) -> dict[str, object]:
    """Return the steady part of the log line of a successful anonymous query."""
    return {
        "level": "info",
        "logger": "folio.operation",
        "message": "operation",
        "operation": None,
        "kind": "query",
        "document": None,
        "user_id": None,
        "status": 200,
        "errors": [],
        "cost": 0,
        "statements": 0,
        "rows": 0,
    } | differing


REFUSED = {"level": "info", "message": "refused", "kind": None, "cost": None}


async def two_posts(client: Client, sign_up: SignUp) -> Person:
    ada = await sign_up("ada")
    for _ in range(2):
        assert (await client.data(CREATE_POST, by=ada))["createPost"]["userErrors"] == []
    return ada


# ---------------------------------------------------------------- one line


async def test_query_has_one_line_with_the_statements_of_its_loaders(client: Client, sign_up: SignUp, log: Log) -> None:
    ada = await two_posts(client, sign_up)
    log.stream.truncate(log.stream.seek(0))
    assert await client.statements(POSTS, by=ada) == 3  # with the session, which is not the operation's
    expected = line(operation="Feed", document=digest(POSTS), user_id=ada.number, cost=31, statements=2, rows=2)
    assert log.steady == [expected]


async def test_mutation_has_one_line(client: Client, sign_up: SignUp, log: Log) -> None:
    ada = await sign_up("ada")
    await client.data(CREATE_POST, by=ada)
    expected = line(kind="mutation", document=digest(CREATE_POST), user_id=ada.number, cost=11, statements=1, rows=1)
    assert log.steady == [expected]


async def test_line_has_the_ids_that_the_client_gets_and_the_time_it_took(client: Client, log: Log) -> None:
    response = await client.post(POSTS)
    (found,) = log.operations
    assert response.headers["x-request-id"] == found["request_id"]
    assert response.headers["traceresponse"] == f"00-{found['trace_id']}-{found['span_id']}-00"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["time"])
    assert 0 < found["database_us"] < found["total_us"]


async def test_operation_without_statement_spends_no_time_in_the_database(client: Client, log: Log) -> None:
    await client.data("{ __typename }")
    assert (log.steady, log.operations[0]["database_us"]) == ([line(document=digest("{ __typename }"))], 0)


async def test_each_of_simultaneous_operations_counts_its_own(client: Client, sign_up: SignUp, log: Log) -> None:
    await two_posts(client, sign_up)
    log.stream.truncate(log.stream.seek(0))
    await asyncio.gather(*(client.data(query) for query in [POSTS, "{ __typename }"] * 10))
    assert sorted((one["statements"], one["rows"]) for one in log.operations) == [(0, 0)] * 10 + [(2, 2)] * 10


# ---------------------------------------------------------------- refusals and failures


async def test_invalid_document_has_a_line_without_a_name(client: Client, log: Log) -> None:
    text = "query Wrong { nothing }"
    await client.run(text)
    assert log.steady == [line(**REFUSED, document=digest(text), errors=["GRAPHQL_VALIDATION_FAILED"])]


async def test_request_that_never_reaches_an_operation_has_a_line(client: Client, log: Log) -> None:
    response = await client.http.post("/graphql", content=b"5", headers={"content-type": "text/plain"})
    assert log.steady == [line(**REFUSED, status=415, errors=["UNSUPPORTED_MEDIA_TYPE"])]
    assert log.operations[0]["request_id"] == response.headers["x-request-id"]


async def test_bad_token_has_a_line(client: Client, log: Log) -> None:
    await client.http.post("/graphql", json={"query": POSTS}, headers={"authorization": "Bearer nonsense"})
    assert log.steady == [line(**REFUSED, status=401, errors=["UNAUTHENTICATED"])]


async def test_mutation_by_get_is_refused_in_one_line(client: Client, log: Log) -> None:
    await client.http.get("/graphql", params={"query": CREATE_POST}, headers={"accept": "application/json"})
    found = line(kind="mutation", document=digest(CREATE_POST), status=405, cost=None, errors=["METHOD_NOT_ALLOWED"])
    assert log.steady == [found]


async def test_masked_error_is_a_code_in_its_line_and_a_traceback_in_another(
    client: Client, superuser: Driver, log: Log
) -> None:
    await superuser.execute("REVOKE SELECT ON posts FROM folio")
    body = await client.run(POSTS)
    error_id = body["errors"][0]["extensions"]["errorId"]
    # The statement failed, but it was sent.
    expected = line(operation="Feed", document=digest(POSTS), cost=31, statements=1, errors=["INTERNAL_SERVER_ERROR"])
    assert log.steady == [expected]
    (logged,) = [one for one in log.lines if one["logger"] == "graph.errors"]
    (operation,) = log.operations
    assert error_id in logged["message"]
    assert (logged["request_id"], logged["trace_id"]) == (operation["request_id"], operation["trace_id"])
    assert "InsufficientPrivilegeError: permission denied for table posts" in logged["exception"]


async def test_request_that_fails_outside_of_its_operation_is_a_warning(
    client: Client, sign_up: SignUp, superuser: Driver, log: Log
) -> None:
    ada = await sign_up("ada")
    await superuser.execute("REVOKE SELECT ON sessions FROM folio")
    await client.run(POSTS, by=ada)
    assert log.steady == [line(**REFUSED | {"level": "warning"}, status=500, errors=["INTERNAL_SERVER_ERROR"])]


# ---------------------------------------------------------------- secrets


async def test_no_password_token_or_hash_is_logged_at_any_level(client: Client, superuser: Driver) -> None:
    with recorded_log(level=logging.DEBUG) as log:
        text = (
            'mutation { createUser(input: {email: "a@example.org", username: "ada", password: "%s"}) { user { id } } }'
        )
        assert "errors" not in await client.run(text % PASSWORD)
        sign_in = """mutation($login: String!, $password: String!) {
            signIn(input: {login: $login, password: $password}) { accessToken refreshToken }
        }"""
        tokens = (await client.data(sign_in, login="ada", password=PASSWORD))["signIn"]
        await client.data(sign_in, login="ada", password="another wrong one")
        refresh = "mutation($token: String!) { refreshSession(input: {refreshToken: $token}) { accessToken } }"
        fresh = (await client.data(refresh, token=tokens["refreshToken"]))["refreshSession"]["accessToken"]
        await client.data("{ viewer { email } }", by=Person(2, "ada", fresh))
        # PostgreSQL's message quotes the whole refused row, including the hash.
        await superuser.execute("ALTER TABLE users ADD CONSTRAINT strange CHECK (username <> 'eve') NOT VALID")
        failed = await client.run(text.replace("ada", "eve").replace("a@", "e@") % PASSWORD)
        assert failed["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    hashed = await superuser.fetchval("SELECT hashed_password FROM users WHERE username = 'ada'")
    secrets = [PASSWORD, "another wrong one", "$argon2id", hashed, fresh, *tokens.values(), "a@example.org"]
    assert len(log.operations) == 6
    assert [secret for secret in secrets if secret in log.text] == []


# ---------------------------------------------------------------- trace context


async def test_trace_of_the_caller_is_the_trace_of_the_line(client: Client, log: Log) -> None:
    headers = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}
    response = await client.http.post("/graphql", json={"query": "{ __typename }"}, headers=headers)
    (found,) = log.operations
    assert found["trace_id"] == TRACE_ID
    assert found["span_id"] != PARENT_ID
    assert response.headers["traceresponse"] == f"00-{TRACE_ID}-{found['span_id']}-01"


@pytest.mark.parametrize(
    "traceparents",
    [
        (),
        ("",),
        ("nonsense",),
        (f"00-{TRACE_ID}-{PARENT_ID}-01", f"00-{TRACE_ID}-{PARENT_ID}-01"),
        (f"00-{TRACE_ID.upper()}-{PARENT_ID}-01",),
        (f"00-{'0' * 32}-{PARENT_ID}-01",),
        (f"00-{TRACE_ID}-{'0' * 16}-01",),
        (f"ff-{TRACE_ID}-{PARENT_ID}-01",),
        (f"00-{TRACE_ID}-{PARENT_ID}-01-more",),
        (f"01-{TRACE_ID}-{PARENT_ID}-01more",),
        (f"00-{TRACE_ID}-{PARENT_ID}",),
        (f"00-{TRACE_ID}-{PARENT_ID}-01\n",),
    ],
)
def test_missing_doubled_or_malformed_traceparent_begins_a_new_trace(traceparents: tuple[str, ...]) -> None:
    one, other = trace_of(traceparents), trace_of(traceparents)
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", one.told)
    assert len({one.trace_id, other.trace_id, TRACE_ID, "0" * 32}) == 4
    assert (one.parent_id, one.sampled) == (None, False)


def test_known_part_of_a_traceparent_of_a_later_version_is_read() -> None:
    found = trace_of([f"01-{TRACE_ID}-{PARENT_ID}-03-more"])
    assert (found.trace_id, found.parent_id, found.sampled) == (TRACE_ID, PARENT_ID, True)


# ---------------------------------------------------------------- formats


async def test_text_format_omits_null_fields(client: Client) -> None:
    with recorded_log(LineFormatter()) as log:
        response = await client.post("{ __typename }")
    found = re.sub(r"_us=\d+", "_us=0", log.text.split(" ", 1)[1])
    _, trace_id, span_id, _ = response.headers["traceresponse"].split("-")
    assert found == (
        f"info folio.operation operation request_id={response.headers['x-request-id']} trace_id={trace_id} "
        f"span_id={span_id} kind=query document={digest('{ __typename }')} status=200 cost=0 statements=0 rows=0 "
        "database_us=0 total_us=0\n"
    )


def test_line_break_in_a_message_stays_on_its_line() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "a\nb \x1b[31m é", (), None)
    assert LineFormatter().format(record).split(" ", 1)[1] == "info x a\\nb \\x1b[31m é"


async def test_log_level_above_info_writes_no_line_of_successful_operations(client: Client) -> None:
    with recorded_log(level=logging.WARNING) as log:
        await client.data("{ __typename }")
    assert log.text == ""


@pytest.mark.parametrize(("json", "starts"), [(True, '{"time":"2'), (False, "2")])
def test_messages_of_uvicorn_have_the_same_form(json: bool, starts: str) -> None:
    program = f"""import logging, uvicorn
from graph.telemetry.logs import log_config
uvicorn.Config(None, log_config=log_config("INFO", json={json}))
logging.getLogger("uvicorn.error").info("Uvicorn running on %s", "a", extra={{"color_message": "red"}})"""
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)  # noqa: S603
    assert ran.stderr.startswith(starts)
    assert ran.stderr.count("\n") == 1
    assert "Uvicorn running on a" in ran.stderr
    assert "red" not in ran.stderr


def test_log_is_written_to_stderr_at_the_given_level() -> None:
    assert log_config("WARNING", json=True)["root"] == {"level": "WARNING", "handlers": ["stderr"]}
