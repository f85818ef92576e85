"""Limits on concurrency, duration and cost per caller, each reached with real locks, sockets and clocks."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from db.connections.leases import Driver
from db.settings import Settings
from graph.analysis.limits import REFUSED_COST
from tests.graph.support.callers import Client, SignUp
from tests.graph.support.raw import query_body, request, via_asgi
from tests.graph.support.recorded_log import recorded_log
from tests.graph.support.served_app import is_alive, locked, posted, sent, served, served_with_documents, until, waiting

POSTS = "{ posts { nodes { id } } }"
USERS = "{ users(first: 20) { nodes { username } } }"
CREATE_POST = 'mutation { createPost(input: {title: "T", content: "C"}) { post { id } } }'
UPDATE_POST = 'mutation { updatePost(input: {id: "post_1", title: "U"}) { post { %s }}}'
NOBODY: dict[str, object] = {"data": {"users": {"nodes": []}}}


async def idle(client: Client, superuser: Driver) -> bool:
    """Return whether no statement waits any more and every connection is free again."""
    return await waiting(superuser) == 0 and client.database.leases.in_use == 0


# ---------------------------------------------------------------- the deadline


async def test_operation_that_takes_too_long_is_cancelled_down_to_its_statement(
    settings: Settings, database_url: str, superuser: Driver
) -> None:
    async with served(settings, operation_deadline_ms=400) as client:
        async with locked(database_url, "posts"):
            answer = await client.post(POSTS)
            await until(lambda: idle(client, superuser), "the cancelling of the statement")
        assert (answer.status_code, answer.headers["retry-after"], answer.json()) == (
            503,
            "1",
            {
                "errors": [
                    {
                        "message": "the operation took longer than 0.4 s; request less",
                        "extensions": {"code": "DEADLINE_EXCEEDED"},
                    }
                ]
            },
        )
        assert await client.run(POSTS) == {"data": {"posts": {"nodes": []}}}


async def test_mutation_that_takes_too_long_is_rolled_back(
    settings: Settings, database_url: str, superuser: Driver, sign_up: SignUp
) -> None:
    ada = await sign_up("ada")
    async with served(settings, operation_deadline_ms=300) as client:
        async with locked(database_url, "posts"):
            answer = await client.post(CREATE_POST, by=ada)
            await until(lambda: idle(client, superuser), "the cancelling of the statement")
        assert answer.status_code == 503
        assert await superuser.fetchval("SELECT count(*) FROM posts") == 0
        assert await client.run(CREATE_POST, by=ada) == {"data": {"createPost": {"post": {"id": "post_1"}}}}


async def test_all_operations_that_take_too_long_return_their_connections(
    settings: Settings, database_url: str, superuser: Driver
) -> None:
    async with served(settings, operation_deadline_ms=1000, pool_size=3, pool_max_overflow=0) as client:
        async with locked(database_url, "posts"):
            answers = await asyncio.gather(*(client.post(POSTS) for _ in range(12)))
            await until(lambda: idle(client, superuser), "the cancelling of the statements")
        assert [answer.status_code for answer in answers] == [503] * 12
        assert await asyncio.gather(*(is_alive(client) for _ in range(12))) == [True] * 12
        assert (await client.post(POSTS)).status_code == 200


async def test_mutation_whose_commit_takes_too_long_reports_that_it_may_have_happened(
    settings: Settings, superuser: Driver, sign_up: SignUp
) -> None:
    ada = await sign_up("ada")
    # A deferred constraint, which is checked at COMMIT and waits there.
    await superuser.execute(
        "CREATE FUNCTION wait_long() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(5); RETURN NEW; END $$"
    )
    await superuser.execute(
        "CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON posts DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION wait_long()"
    )
    async with served(settings, operation_deadline_ms=500) as client:
        answer = await client.post(CREATE_POST, by=ada)
        await until(lambda: idle(client, superuser), "the end of the COMMIT")
    message = "the operation took longer than 0.5 s, and its write may have happened: check before you send it again"
    extensions = {"code": "DEADLINE_EXCEEDED", "outcomeUnknown": True}
    assert (answer.status_code, answer.headers.get("retry-after"), answer.json()) == (
        503,
        None,
        {"errors": [{"message": message, "extensions": extensions}]},
    )


async def test_mutation_that_takes_too_long_after_its_commit_reports_that_it_may_have_happened(
    settings: Settings, database_url: str, superuser: Driver, sign_up: SignUp
) -> None:
    ada = await sign_up("ada")
    document = CREATE_POST.replace("{ id }", "{ id author { profile { bio } } }")
    async with served(settings, operation_deadline_ms=500) as client, locked(database_url, "profiles"):
        answer = await client.post(document, by=ada)
        await until(lambda: idle(client, superuser), "the cancelling of the statement")
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]) == (
        503,
        {"code": "DEADLINE_EXCEEDED", "outcomeUnknown": True},
    )
    assert await superuser.fetchval("SELECT count(*) FROM posts") == 1


async def test_autocommit_write_that_takes_too_long_reports_that_it_may_have_happened(
    settings: Settings, database_url: str, superuser: Driver, client: Client, sign_up: SignUp
) -> None:
    ada = await sign_up("ada")
    await client.data(CREATE_POST, by=ada)
    async with served(settings, operation_deadline_ms=500) as impatient, locked(database_url, "posts"):
        answer = await impatient.post(UPDATE_POST % "id", by=ada)
        await until(lambda: idle(impatient, superuser), "the cancelling of the statement")
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]) == (
        503,
        {"code": "DEADLINE_EXCEEDED", "outcomeUnknown": True},
    )
    assert await superuser.fetchval("SELECT version FROM posts") == 1


async def test_autocommit_write_before_a_field_that_takes_too_long_reports_that_it_may_have_happened(
    settings: Settings, database_url: str, superuser: Driver, client: Client, sign_up: SignUp
) -> None:
    ada = await sign_up("ada")
    await client.data(CREATE_POST, by=ada)
    async with served(settings, operation_deadline_ms=500) as impatient, locked(database_url, "profiles"):
        answer = await impatient.post(UPDATE_POST % "author { profile { bio } }", by=ada)
        await until(lambda: idle(impatient, superuser), "the cancelling of the statement")
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]) == (
        503,
        {"code": "DEADLINE_EXCEEDED", "outcomeUnknown": True},
    )
    assert await superuser.fetchval("SELECT version FROM posts") == 2


async def test_refused_write_before_a_field_that_takes_too_long_is_not_reported_as_possible(
    settings: Settings, database_url: str, superuser: Driver, client: Client, sign_up: SignUp
) -> None:
    ada, eve = await sign_up("ada"), await sign_up("eve")
    await client.data(CREATE_POST, by=ada)
    second = f'waits: updateUser(input: {{id: "{eve.id}", profile: {{bio: ""}}}}) {{ user {{ id }} }}'
    both = (UPDATE_POST % "id").removesuffix("}") + second + "}"
    async with served(settings, operation_deadline_ms=500) as impatient, locked(database_url, "profiles"):
        answer = await impatient.post(both, by=eve)
        await until(lambda: idle(impatient, superuser), "the cancelling of the statement")
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]) == (503, {"code": "DEADLINE_EXCEEDED"})


async def test_operation_that_is_cancelled_at_shutdown_is_logged(
    settings: Settings, database_url: str, superuser: Driver
) -> None:
    with recorded_log() as log:
        async with served(settings) as client, locked(database_url, "posts"):
            request = asyncio.create_task(client.post(POSTS))
            await until(lambda: _waits(superuser), "the wait of the query")
            for task in asyncio.all_tasks():
                if "RequestCycle.run" in repr(task.get_coro()):  # like a server after its shutdown timeout
                    task.cancel()
            with pytest.raises(httpx.RemoteProtocolError):
                await request
    assert [(line["message"], line["kind"], line["status"], line["errors"]) for line in log.operations] == [
        ("operation", "query", 503, ["CANCELLED"])
    ]


# ---------------------------------------------------------------- clients that disconnect


@pytest.mark.parametrize("endpoint", ["closed", "reset"])
async def test_query_of_a_client_that_left_is_cancelled(
    settings: Settings, database_url: str, superuser: Driver, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    # A closed connection looks like a half-closed one, and its query continues for as long as one.
    monkeypatch.setattr("graph.http.admission.time_limits.HALF_CLOSED_S", 0.3 if endpoint == "closed" else 3600)
    limits = {"lock_timeout_ms": 60_000, "statement_timeout_ms": 60_000, "operation_deadline_ms": 60_000}
    async with served(settings, **limits) as client, locked(database_url, "posts"):
        async with sent(client, posted(POSTS), resets=endpoint == "reset"):
            await until(lambda: _waits(superuser), "the wait of the query")
        await until(lambda: idle(client, superuser), "the cancelling of the query")
        assert await is_alive(client)


async def test_mutation_of_a_client_that_left_still_happens(
    client: Client, database_url: str, superuser: Driver, sign_up: SignUp
) -> None:
    ada = await sign_up("ada")
    async with locked(database_url, "posts"):
        async with sent(client, posted(CREATE_POST, by=ada), resets=True):
            await until(lambda: _waits(superuser), "the wait of the mutation")
        await asyncio.sleep(0.6)  # longer than a query survives the end of its connection
        assert await waiting(superuser) == 1

    async def is_created() -> bool:
        return bool(await superuser.fetchval("SELECT count(*) = 1 FROM posts"))

    await until(is_created, "the mutation")
    await until(lambda: idle(client, superuser), "the end of the mutation")


async def _waits(superuser: Driver) -> bool:
    return await waiting(superuser) == 1


# ---------------------------------------------------------------- how many at once


async def test_one_request_too_many_is_refused_while_the_others_finish(
    settings: Settings, database_url: str, superuser: Driver
) -> None:
    async def both_wait() -> bool:
        return await waiting(superuser) == 2

    async with served(settings, operations_in_flight_max=2) as client:
        async with locked(database_url, "posts"):
            # Two different pages: requests for the same page would share a statement.
            pages = (f"{{ posts(first: {size}) {{ nodes {{ id }} }} }}" for size in (1, 2))
            others = [asyncio.create_task(client.post(page)) for page in pages]
            await until(both_wait, "the wait of both")
            answer = await client.post("{ __typename }")
        assert (answer.status_code, answer.headers["retry-after"], answer.json()) == (
            503,
            "1",
            {
                "errors": [
                    {
                        "message": "the server already processes 2 requests; try again shortly",
                        "extensions": {"code": "OVERLOADED"},
                    }
                ]
            },
        )
        assert [(await other).status_code for other in others] == [200, 200]
        assert await is_alive(client)


async def test_requests_that_fail_do_not_stay_in_flight(settings: Settings) -> None:
    async with served(settings, operations_in_flight_max=1) as client:
        statuses = [(await client.http.post("/graphql", content=body)).status_code for body in (b"", b"{", b"5")]
        statuses += [(await client.post(query)).status_code for query in ("{", "{ nothing }")]
        assert statuses == [415, 415, 415, 200, 200]
        assert await is_alive(client)


# ---------------------------------------------------------------- budgets


async def test_spent_budget_is_refused_until_it_is_refilled(settings: Settings) -> None:
    async with served_with_documents([USERS], settings, cost_per_minute_max=50) as client:
        assert [await client.run(USERS), await client.run(USERS)] == [NOBODY, NOBODY]
        answer = await client.post(USERS)
        seconds = int(answer.headers["retry-after"])
        left = int(answer.headers["ratelimit"].split(";")[1].removeprefix("r="))
        # The clock may enter the next minute during the test, which refills a part of the budget. 13 of the 42 units
        # would have to be refilled, which takes 18.6 seconds of the next minute.
        assert (answer.status_code, 8 <= left < 21, 1 <= seconds <= 79) == (429, True, True)
        assert answer.headers["ratelimit"] == f'"cost";r={left};t={seconds}'
        assert answer.headers["ratelimit-policy"] == '"cost";q=50;w=60'
        assert answer.json() == {
            "errors": [
                {
                    "message": f"this costs 21, and {left} of 50 a minute are left; wait {seconds} s",
                    "extensions": {"code": "RATE_LIMITED"},
                }
            ]
        }
        # A request that is cheap enough still passes.
        assert await is_alive(client)


async def test_every_caller_has_a_separate_budget(settings: Settings, sign_up: SignUp) -> None:
    ada, eve = await sign_up("ada"), await sign_up("eve")
    async with served_with_documents([USERS], settings, cost_per_minute_max=30) as client:
        async with httpx.AsyncClient(
            base_url=client.http.base_url, transport=httpx.AsyncHTTPTransport(local_address="127.0.0.2")
        ) as http:
            elsewhere = Client(http, client.services)
            callers = [(client, None), (elsewhere, None), (client, ada), (client, eve)]
            first = [(await caller.post(USERS, by=by)).status_code for caller, by in callers]
            second = [(await caller.post(USERS, by=by)).status_code for caller, by in callers]
            # A user has one budget, whatever address the requests come from.
            moved = (await elsewhere.post(USERS, by=ada)).status_code
        assert (first, second, moved) == ([200] * 4, [429] * 4, 429)


async def test_all_callers_of_an_address_share_its_budget(settings: Settings, sign_up: SignUp) -> None:
    ada, eve = await sign_up("ada"), await sign_up("eve")
    async with served_with_documents(
        [USERS], settings, cost_per_minute_max=50, cost_per_minute_per_address_max=70
    ) as client:
        statuses = [(await client.post(USERS, by=by)).status_code for by in (ada, eve, None)]
        refused = await client.post(USERS, by=eve)
        transport = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
        async with httpx.AsyncClient(base_url=client.http.base_url, transport=transport) as http:
            # The refused request did not charge the user's budget either.
            moved = [(await Client(http, client.services).post(USERS, by=eve)).status_code for _ in range(2)]
    left = refused.headers["ratelimit"].split(";")[1].removeprefix("r=")
    seconds = refused.headers["retry-after"]
    message = f"this costs 21, and {left} of 70 a minute for all of this address are left; wait {seconds} s"
    assert (statuses, refused.status_code, moved) == ([200] * 3, 429, [200, 429])
    assert refused.headers["ratelimit-policy"] == '"cost";q=70;w=60'
    assert refused.json() == {"errors": [{"message": message, "extensions": {"code": "RATE_LIMITED"}}]}


@pytest.mark.parametrize("document", ["{", "{ nope }", "{ " + " ".join(f"a{n}: __typename" for n in range(51)) + " }"])
async def test_refused_documents_are_charged_until_nothing_is_left_for_new_ones(
    settings: Settings, document: str
) -> None:
    async with served_with_documents([document], settings, cost_per_minute_max=2 * REFUSED_COST + 5) as client:
        first = [(await client.post(document)).json()["errors"][0]["extensions"]["code"] for _ in range(3)]
        last = await client.post("{ users { totalCount } }")
        seconds = last.headers["retry-after"]
    assert "RATE_LIMITED" not in first
    assert last.json() == {
        "errors": [
            {
                "message": f"this is a new document, and 0 of 25 a minute are left; wait {seconds} s",
                "extensions": {"code": "RATE_LIMITED"},
            }
        ]
    }


async def test_operation_without_cost_is_charged_one_unit(settings: Settings) -> None:
    async with served_with_documents(["{ __typename }"], settings, cost_per_minute_max=3) as client:
        statuses = [(await client.post("{ __typename }")).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]


async def test_budget_of_0_means_no_limit(settings: Settings) -> None:
    # 41 times 25,000 is more than the default of a million.
    dearest = """{ nodes(ids: []) { ... on User {
        posts(first: 100) { nodes { author { id } } } accounts(first: 47) { nodes { id } } } } }"""
    async with served(settings, cost_per_minute_max=0) as client:
        statuses = [(await client.post(dearest)).status_code for _ in range(41)]
    async with served_with_documents([dearest], settings) as client:
        bounded = [(await client.post(dearest)).status_code for _ in range(41)]
    assert (statuses, bounded) == ([200] * 41, [200] * 40 + [429])


# ---------------------------------------------------------------- bodies that do not arrive


async def test_incomplete_body_is_refused_at_the_deadline(settings: Settings) -> None:
    async with served(settings, operation_deadline_ms=200, operations_in_flight_max=3) as client:
        async with (
            sent(client, posted("{ __typename }", length=1000)) as one,
            sent(client, posted("{ __typename }", length=1000)) as two,
        ):
            # Two hanging requests do not block others.
            assert await is_alive(client)
            async with asyncio.timeout(10):
                answers = await asyncio.gather(one.read(), two.read())
        for answer in answers:
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
            assert body == (
                b'{"errors":[{"message":"the body took longer than 0.2 s to arrive",'
                b'"extensions":{"code":"REQUEST_TIMEOUT"}}]}'
            )


@pytest.mark.parametrize("size", [16_384, 1_000_000])
async def test_headers_larger_than_any_honest_clients_are_refused(client: Client, size: int) -> None:
    answer = await client.http.post("/graphql", json={"query": "{ __typename }"}, headers={"x-large": "x" * size})
    body = answer.json()
    assert (answer.status_code, body["errors"][0]["extensions"]) == (431, {"code": "HEADERS_TOO_LARGE"})
    assert await is_alive(client)


@pytest.mark.parametrize("changed", [bytes, via_asgi], ids=["direct", "asgi"])
async def test_time_that_the_request_takes_to_arrive_counts(
    settings: Settings, changed: Callable[[bytes], bytes]
) -> None:
    async with served(settings, operation_deadline_ms=2_000) as client:
        raw = changed(request(query_body("{ posts { totalCount } }")))
        cut, url = raw.index(b"content-length"), client.http.base_url
        for pause_s, status in ((0.0, b"200"), (2.5, b"503")):
            reader, writer = await asyncio.open_connection(url.host, url.port)
            writer.write(raw[:cut])
            await asyncio.sleep(pause_s)
            writer.write(raw[cut:])
            async with asyncio.timeout(10):
                assert (await reader.readline()).startswith(b"HTTP/1.1 " + status)
            writer.close()
