"""Requests that start without a task: in every case they have the response of a request in a task."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from db.connections.leases import Driver
from db.connections.statistics import QueryStatistics, query_statistics
from db.repositories.sessions import live_sessions
from db.settings import Settings
from graph.http.direct import RequestCycle
from graph.http.pipeline import Pipeline
from graph.http.steps import Read, Work
from tests.graph.support.callers import Client, Person, SignUp
from tests.graph.support.garbage import collected_types
from tests.graph.support.raw import answered, query_body, request, via_asgi
from tests.graph.support.recorded_log import recorded_log
from tests.graph.support.recording import recorded
from tests.graph.support.served_app import locked, sent, served, served_with_documents, until, waiting

POST = "query ($id: ID!) { post(id: $id) { id title author { username } } }"
SOME_POSTS = "query ($n: Int) { posts(first: $n) { nodes { id } } }"
CREATE = "mutation ($title: String!, $content: String!) { createPost(input: {title: $title, content: $content}) %s"
CREATE %= "{ post { id } }}"
PUBLISH = "mutation ($id: ID!) { updatePost(input: {id: $id, published: true}) { post { id } } }"


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A list that records for each request whether it was started without a task."""
    ways: list[bool] = []
    advance, on_work = RequestCycle.advance, RequestCycle.on_work
    with_task: list[RequestCycle] = []

    def advance_noted(cycle: RequestCycle, step: Callable[[Any], Read | Work], value: Any = None) -> None:
        is_start = "steps_before" not in vars(cycle)
        vars(cycle)["steps_before"] = True
        advance(cycle, step, value)
        if is_start:
            ways.append(cycle not in with_task)
            with_task.clear()

    def on_work_noted(cycle: RequestCycle, work: Work) -> None:
        with_task.append(cycle)
        on_work(cycle, work)

    monkeypatch.setattr(RequestCycle, "advance", advance_noted)
    monkeypatch.setattr(RequestCycle, "on_work", on_work_noted)
    return ways


async def written(client: Client, by: Person, title: str, *, published: bool = True, content: str = "C") -> str:
    """Create a post, and return its id."""
    post: str = (await client.data(CREATE, by=by, title=title, content=content))["createPost"]["post"]["id"]
    if published:
        await client.data(PUBLISH, by=by, id=post)
    return post


def token(person: Person) -> str:
    """Return the Authorization header line of a user."""
    return f"authorization: Bearer {person.token}"


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "a post": (POST, {"id": "post_1"}),
    "one that is not there": (POST, {"id": "post_99"}),
    "a draft": (POST, {"id": "post_2"}),
    "another name": ("query ($id: ID!) { it: post(id: $id) { t: title __typename author { id } } }", {"id": "post_1"}),
    "a key in the text": ('{ post(id: "post_1") { title } }', {}),
    "a condition": (
        "query ($id: ID!, $c: Boolean!) { post(id: $id) { id title @skip(if: $c) } }",
        {"id": "post_1", "c": True},
    ),
    "a user": ("query ($id: ID!) { user(id: $id) { username profile { bio } } }", {"id": "user_1"}),
    "a private field of another user": ("query ($id: ID!) { user(id: $id) { username email } }", {"id": "user_1"}),
    "an account": ("query ($id: ID!) { account(id: $id) { currency } }", {"id": "account_1"}),
    "another kind of id": (POST, {"id": "user_1"}),
    "no id": (POST, {"id": "post_01"}),
    "a wrong variable": (POST, {"id": {"a": 1}}),
    "no variable": (POST, {}),
    "what the schema alone answers": ('{ __typename __type(name: "Post") { fields { name } } }', {}),
}


@pytest.mark.parametrize("what", CASES)
@pytest.mark.parametrize("extensions", [{}, {"cost": True}])
async def test_requests_without_a_task_have_the_response_of_the_asgi_endpoint(
    client: Client, ida: Person, eve: Person, what: str, extensions: dict[str, Any]
) -> None:
    await written(client, ida, "One")
    await written(client, ida, "Two", published=False)
    query, variables = CASES[what]
    body = query_body(query, variables=variables, extensions=extensions)
    for lines in ([], [token(ida)], [token(eve)]):
        raw = request(body, *lines)
        asgi = await answered(client, via_asgi(raw))
        for _ in range(3):
            assert await answered(client, raw) == asgi


async def test_only_single_reads_and_introspections_start_without_a_task(
    client: Client, ida: Person, begun: list[bool]
) -> None:
    post = await written(client, ida, "One")
    cases: list[tuple[str, dict[str, Any], bool]] = [
        (POST, {"id": post}, True),
        ("{ __typename }", {}, True),
        ('{ __type(name: "Post") { name } }', {}, True),
        ("query ($n: String!) { __type(name: $n) { name } }", {"n": "Post"}, False),
        ("{ posts { nodes { id } } }", {}, True),
        ("{ posts { totalCount edges { cursor node { author { username } } } pageInfo { hasNextPage } } }", {}, True),
        (SOME_POSTS, {"n": 3}, True),
        (SOME_POSTS, {"n": 101}, False),
        ("{ posts { nodes { id } } users { nodes { id } } }", {}, False),
        ("query ($id: ID!) { post(id: $id) { author { profile { bio } } } }", {"id": post}, False),
        ("query ($id: ID!) { a: post(id: $id) { id } b: post(id: $id) { id } }", {"id": post}, False),
        ("query ($id: ID!) { post(id: $id) { author { posts { nodes { id } } } } }", {"id": post}, True),
        (PUBLISH, {"id": post}, False),
        (POST, {"id": "post_x"}, False),
        (POST, {}, False),
    ]
    for query, variables, is_lookup in cases:
        for _ in range(2):  # the second attempt finds out whether one read answers it
            await client.run(query, by=ida, **variables)
        begun.clear()
        await client.run(query, by=ida, **variables)
        assert begun == [True], query  # it waits for the session first
        begun.clear()
        await client.run(query, **variables)
        assert begun == [is_lookup], query


async def test_only_authors_see_their_drafts_however_many_requests_run_at_once(
    client: Client, ida: Person, eve: Person, begun: list[bool]
) -> None:
    drafts = {who: await written(client, who, f"of {who.username}", published=False) for who in (ida, eve)}
    wanted = [(by, of) for by in (ida, eve, None) for of in (ida, eve)] * 8
    for _ in range(2):
        begun.clear()
        answers = await asyncio.gather(*(client.data(POST, by=by, id=drafts[of]) for by, of in wanted))
        for (by, of), answer in zip(wanted, answers, strict=True):
            assert (answer["post"] and answer["post"]["title"]) == (f"of {of.username}" if by is of else None)
    assert begun == [True] * len(wanted)


async def test_later_requests_see_a_change(client: Client, ida: Person, begun: list[bool]) -> None:
    post = await written(client, ida, "0")
    rename = "mutation ($id: ID!, $t: String!) { updatePost(input: {id: $id, title: $t}) { post { id } } }"

    async def others() -> None:
        while True:
            await client.data(POST, id=post)

    asking = [asyncio.create_task(others()) for _ in range(4)]
    for number in range(30):
        await client.data(rename, by=ida, id=post, t=str(number))
        assert (await client.data(POST, id=post))["post"]["title"] == str(number)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    assert any(begun)


async def test_concurrent_requests_share_a_statement_and_each_gets_its_own_row(client: Client, ida: Person) -> None:
    posts = [await written(client, ida, str(number)) for number in range(5)]
    await client.data(POST, id=posts[0])
    raw = [request(query_body(POST, variables={"id": post})) for post in posts]
    async with asyncio.timeout(10):
        with recorded() as queries, recorded_log() as log:
            answers = await asyncio.gather(*(answered(client, one) for one in raw))
    assert [orjson.loads(body)["data"]["post"]["id"] for _, body, _ in answers] == posts
    ours = [query for query in queries if query.args and isinstance(query.args[-1], list)]
    assert len(ours) < len(posts)
    assert [(line["statements"], line["rows"], line["errors"]) for line in log.operations] == [(1, 1, [])] * len(posts)


async def test_session_that_has_ended_is_refused(client: Client, ida: Person, eve: Person, begun: list[bool]) -> None:
    post = await written(client, ida, "One", published=False)
    for _ in range(3):
        assert (await client.data(POST, by=ida, id=post))["post"]["title"] == "One"
    assert begun[-1]
    for other in (ida, eve):
        lines, _, _ = await answered(
            client, request(query_body(POST, variables={"id": post}), token(ida), token(other))
        )
        assert "HTTP/1.1 401 Unauthorized" in lines
    await client.data("mutation { signOut { __typename } }", by=ida)
    answer = await client.post(POST, by=ida, id=post)
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (401, "UNAUTHENTICATED")


async def test_query_that_takes_too_long_ends_and_so_does_its_statement(
    settings: Settings, database_url: str, superuser: Driver, begun: list[bool]
) -> None:
    async with served(settings, operation_deadline_ms=400, lock_timeout_ms=60_000) as client:
        raw = request(query_body(POST, variables={"id": "post_1"}))
        fast = await answered(client, raw)
        begun.clear()
        async with locked(database_url, "posts"):
            with recorded_log() as log:
                inline, other = await asyncio.gather(answered(client, raw), answered(client, raw))
            assert begun == [True, True]

            async def is_idle() -> bool:
                return await waiting(superuser) == 0 and client.database.leases.in_use == 0

            await until(is_idle, "the end of the statement")
            asgi = await answered(client, via_asgi(raw))
        assert inline == other == asgi
        assert "HTTP/1.1 503 Service Unavailable" in inline[0]
        assert b"the operation took longer than 0.4 s" in inline[1]
        assert [line["errors"] for line in log.operations] == [["DEADLINE_EXCEEDED"]] * 2
        assert await answered(client, raw) == fast
        assert vars(client.database)["_shared"].queues == {}


async def test_statement_of_a_client_that_disconnects_is_cancelled(
    settings: Settings, database_url: str, superuser: Driver, begun: list[bool]
) -> None:
    async with served(settings, lock_timeout_ms=60_000) as client:
        raw = request(query_body(POST, variables={"id": "post_1"}))
        fast = await answered(client, raw)
        begun.clear()
        with recorded_log() as log:
            async with locked(database_url, "posts"):

                async def waits() -> bool:
                    return await waiting(superuser) == 1

                async def is_idle() -> bool:
                    return await waiting(superuser) == 0 and client.database.leases.in_use == 0

                async with sent(client, raw, resets=True):
                    await until(waits, "the statement")
                await until(is_idle, "the end of the statement")
        assert begun == [True]
        assert [line["errors"] for line in log.operations] == [["CLIENT_CLOSED_REQUEST"]]
        assert await answered(client, raw) == fast


async def test_failed_statement_has_the_response_of_a_request_in_a_task(
    settings: Settings, database_url: str, begun: list[bool]
) -> None:
    async with served(settings, lock_timeout_ms=100) as client:
        raw = request(query_body(POST, variables={"id": "post_1"}))
        await answered(client, raw)
        begun.clear()
        async with locked(database_url, "posts"):
            inline = await answered(client, raw)
            assert begun == [True]
            assert inline == await answered(client, via_asgi(raw))
        assert b"DATABASE_BUSY" in inline[1]


async def test_requests_without_a_task_count_towards_budget_and_concurrency(
    settings: Settings, database_url: str, begun: list[bool]
) -> None:
    raw = request(query_body(POST, variables={"id": "post_1"}))
    async with served(settings, operations_in_flight_max=1) as client:
        await answered(client, raw)
        async with locked(database_url, "posts"), sent(client, raw):
            await asyncio.sleep(0.1)
            lines, body, _ = await answered(client, raw)
            assert ("HTTP/1.1 503 Service Unavailable" in lines, b"OVERLOADED" in body) == (True, True)
        for _ in range(3):
            assert "HTTP/1.1 200 OK" in (await answered(client, raw))[0]
        assert begun == [False, True, True, True, True, True]  # the refused one needs no task either
    async with served_with_documents([POST], settings, cost_per_minute_max=5) as client:
        ends = [(await answered(client, raw))[0] for _ in range(6)]
        refused = [any(line.startswith("retry-after") for line in lines) for lines in ends]
        assert refused == sorted(refused)
        assert (refused[0], refused[-1]) == (False, True)


async def test_pipelined_requests_are_answered_in_their_order(client: Client, ida: Person) -> None:
    posts = [await written(client, ida, str(number)) for number in range(3)]
    raw = [request(query_body(POST, variables={"id": post})) for post in posts]
    await answered(client, raw[0])
    async with sent(client, b"".join(raw)) as reader, asyncio.timeout(10):
        found = []
        for _ in raw:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            body = await reader.readexactly(int(head.split("content-length: ")[1].split("\r")[0]))
            found.append(orjson.loads(body)["data"]["post"]["id"])
    assert found == posts


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_large_answers_are_compressed(settings: Settings, sign_up: SignUp, encoding: str) -> None:
    ada = await sign_up("ada")
    query = "query ($id: ID!) { post(id: $id) { content } }"
    async with served(settings, compress_bytes_min=500) as client:
        post = await written(client, ada, "One", content="C" * 2000)
        raw = request(query_body(query, variables={"id": post}), f"accept-encoding: {encoding}")
        asgi = await answered(client, via_asgi(raw))
        for _ in range(3):
            assert await answered(client, raw) == asgi
    assert ("content-encoding: gzip" in asgi[0]) == (encoding == "gzip")


async def test_server_that_stops_answers_running_requests(
    settings: Settings, database_url: str, superuser: Driver, begun: list[bool]
) -> None:
    raw = request(query_body(POST, variables={"id": "post_1"}))
    async with locked(database_url, "posts"):
        async with served(settings, lock_timeout_ms=500) as client:
            async with sent(client, raw) as reader:
                await reader.readuntil(b"\r\n\r\n")  # the first waits for the lock, too, and is answered as busy
            url = client.http.base_url
            reader, writer = await asyncio.open_connection(url.host, url.port)
            writer.write(raw)

            async def waits() -> bool:
                return await waiting(superuser) == 1

            await until(waits, "the statement")
        # The server has stopped: it waited until the lock timed out.
        answer = await reader.read()
        writer.close()
    assert (b"DATABASE_BUSY" in answer, b"connection: close" in answer, begun) == (True, True, [False, True])


async def test_bug_is_an_internal_error_of_one_request_only(
    client: Client, ida: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    posts = [await written(client, ida, str(number)) for number in range(2)]
    await client.data(POST, id=posts[0])
    folded = "graph.execution.single_read.folded"

    def failing(*_: object) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(folded, failing)
    with recorded_log() as log:
        answers = await asyncio.gather(*(client.run(POST, id=post) for post in posts))
    monkeypatch.undo()
    assert [answer["errors"][0]["extensions"]["code"] for answer in answers] == ["INTERNAL_SERVER_ERROR"] * 2
    assert "ZeroDivisionError" in log.text
    assert (await client.data(POST, id=posts[1]))["post"]["id"] == posts[1]


async def test_task_of_a_request_does_not_inherit_the_context_of_the_request_that_read_its_session(
    client: Client, ida: Person, database_url: str, begun: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    post = await written(client, ida, "One")
    await client.data(POST, by=ida, id=post)
    found: list[QueryStatistics | None] = []
    executed = vars(Pipeline)["_executed"]

    async def noted(*arguments: Any, **named: Any) -> Any:
        found.append(query_statistics.get())
        return await executed(*arguments, **named)

    async def led() -> None:
        query_statistics.set(QueryStatistics())
        await live_sessions(client.database, 999)

    monkeypatch.setattr(Pipeline, "_executed", noted)
    monkeypatch.setattr("db.connections.coalescing.HELD_BACK_MAX_S", 60)
    before = len(begun)
    async with asyncio.TaskGroup() as group:
        async with locked(database_url, "sessions"):
            group.create_task(led())  # while it runs, the next statement waits for it
            await asyncio.sleep(0.05)
            group.create_task(led())  # runs the next statement
            await asyncio.sleep(0)
            request = group.create_task(
                client.post("{ posts { nodes { id author { posts { nodes { id } } } } } }", by=ida)
            )

            async def has_joined() -> bool:
                return len(begun) > before

            await until(has_joined, "the lookup")
        answer = await request
    assert (answer.status_code, begun[before:], found) == (200, [True], [None])


async def test_nothing_is_left_to_the_cycle_collector(client: Client, ida: Person, begun: list[bool]) -> None:
    post = await written(client, ida, "One")
    for _ in range(3):
        await client.data(POST, id=post)
        await client.data(POST, by=ida, id=post)
    with collected_types() as left:
        for _ in range(5):
            await client.data(POST, id=post)
            await client.data(POST, by=ida, id=post)
    assert begun[-10:] == [True] * 10
    assert left.isdisjoint(
        {"Record", "RequestCycle", "SingleRead", "generator", "Lookup", "Run", "Loaders", "Context", "Call", "_Batch"}
    )
