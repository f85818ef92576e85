"""The size limit of responses, and that large requests and responses are processed outside the event loop's thread."""

import asyncio
import gzip
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from fastapi import FastAPI

from db.connections.leases import Driver
from db.settings import Settings
from graph.analysis.limits import COST_PER_MS, REFUSED_COST, WRITTEN_VALUES_MAX
from graph.execution.output import results
from graph.http import pipeline
from graph.http.parsing.requests import JSON_VALUES_MAX
from graph.http.pipeline import SMALL_BODY_BYTES_MAX, SMALL_DOCUMENT_LENGTH_MAX, Pipeline
from graph.http.responses import response
from graph.http.responses.writing import AnswerTooLargeError, encode_bounded
from graph.operations import dispatch as engines
from graph.operations.cache import Operations
from tests.graph.support.callers import Client, Person
from tests.graph.support.garbage import collected_types
from tests.graph.support.served_app import served, served_with_documents

# JSON writes a control character as six bytes.
CONTENT = "\x01" * 100_000
MAXIMUM = 16_777_216
ALIASES = " ".join(f"a{number}: content" for number in range(20))
OF_USERS = "{ users(first: 100) { nodes { username posts(first: 100) { nodes { %s } } } } }"
FIELDS = "id title published views createdAt updatedAt version"
# 480 fields with one response name: validation compares each pair of them.
LONG = "{{ posts(first: 1) {{ nodes {{ {} }} }} }}".format(" ".join(["title"] * 480))


@pytest.fixture
async def long_posts(superuser: Driver, ida: Person) -> None:
    """A hundred posts of the maximum length, all control characters."""
    await superuser.execute(
        "INSERT INTO posts (title, content, published, author_id) "
        "SELECT 'Long', $1, true, $2 FROM generate_series(1, 100)",
        CONTENT,
        ida.number,
    )


@pytest.fixture
async def many_posts(superuser: Driver, ida: Person) -> None:
    await superuser.execute(
        "INSERT INTO posts (title, content, published, author_id) "
        "SELECT 'Post ' || n, '', true, $1 FROM generate_series(1, 100) AS n",
        ida.number,
    )


def too_large(answer: dict[str, Any]) -> tuple[Any, str, int, int]:
    """Return the parts of a response that is too large: its data, code, measured and allowed size."""
    (error,) = answer["errors"]
    extensions = error["extensions"]
    assert (
        f"the response has {extensions['measured']} bytes or more, and at most {extensions['maximum']}"
        in error["message"]
    )
    return answer["data"], extensions["code"], extensions["measured"], extensions["maximum"]


# ---------------------------------------------------------------- bytes


@pytest.mark.usefixtures("long_posts")
async def test_answer_of_more_bytes_than_allowed_is_an_error_with_their_number(app: FastAPI, client: Client) -> None:
    vars(app.state.operations.engines).pop("run")  # comparing the engines would write 1.2 GB
    for _ in range(2):  # first uncompiled, then compiled
        answer = await client.post(f"{{ posts(first: 100) {{ nodes {{ {ALIASES} }} }} }}")
        data, code, measured, maximum = too_large(answer.json())
        assert (answer.status_code, data, code, maximum) == (200, None, "ANSWER_TOO_LARGE", MAXIMUM)
        # Only the measured bytes were written, not the full 1.2 GB.
        assert MAXIMUM < measured < MAXIMUM + 6 * len(CONTENT) + 100
    assert (await client.run("{ __typename }")) == {"data": {"__typename": "Query"}}


@pytest.mark.usefixtures("long_posts")
async def test_no_larger_text_is_rendered_when_operations_share_their_rows(
    app: FastAPI, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, render = [0], engines._json  # noqa: SLF001 - renders the shared output

    def watched(answers: list[Any]) -> orjson.Fragment:
        text = render(answers)
        sizes.append(len(orjson.dumps(text)))
        return text

    monkeypatch.setattr(engines, "_json", watched)
    vars(app.state.operations.engines).pop("run")  # as above
    small = "{ posts(first: 2) { nodes { id content } } }"
    few = " ".join(f"a{number}: content" for number in range(2))
    for query in (small, f"{{ posts(first: 100) {{ nodes {{ {few} }} }} }}"):
        await client.post(query)
        answers = await asyncio.gather(*(client.post(query) for _ in range(8)))
        assert {answer.json()["data"] is None for answer in answers} == {query is not small}
        assert (max(sizes) > 0, max(sizes) <= MAXIMUM) == (True, True)


@pytest.mark.usefixtures("long_posts")
async def test_answers_up_to_the_maximum_are_complete(client: Client) -> None:
    answer = await client.post("{ posts(first: 27) { nodes { id content } } }")
    nodes = answer.json()["data"]["posts"]["nodes"]
    assert [node["content"] == CONTENT for node in nodes] == [True] * 27
    assert MAXIMUM > len(answer.content) > MAXIMUM - 7 * len(CONTENT)


@pytest.mark.usefixtures("long_posts")
@pytest.mark.parametrize("way", ["one row", "node", "GET"])
async def test_every_endpoint_has_the_limit_of_answers(client: Client, way: str) -> None:
    aliases = " ".join(f"a{number}: content" for number in range(40))
    query = f'{{ post(id: "post_1") {{ {aliases} }} }}'
    if way == "node":
        query = f'{{ node(id: "post_1") {{ ... on Post {{ {aliases} }} }} }}'
    for _ in range(3):  # the third request of a known operation needs no task
        if way == "GET":
            answer = await client.http.get("/graphql", params={"query": query}, headers={"accept": "application/json"})
        else:
            answer = await client.post(query)
        assert too_large(answer.json())[:2] == (None, "ANSWER_TOO_LARGE")


async def test_mutation_whose_answer_is_too_large_reports_that_it_has_run(
    client: Client, ida: Person, superuser: Driver
) -> None:
    aliases = " ".join(f"a{number}: content" for number in range(40))
    given = 'input: {title: "Long", content: $c}'
    document = f"mutation ($c: String!) {{ createPost({given}) {{ post {{ {aliases} }} }} }}"
    answer = (await client.post(document, by=ida, c=CONTENT)).json()
    assert too_large(answer)[:2] == (None, "ANSWER_TOO_LARGE")
    assert answer["errors"][0]["message"].endswith("the mutation has run: select less of its result")
    assert await superuser.fetchval("SELECT count(*) FROM posts") == 1


@pytest.mark.usefixtures("long_posts")
async def test_operations_of_a_batch_share_the_size_of_an_answer(settings: Settings) -> None:
    async with served(settings, batch_operations_max=4) as client:
        one = {"query": "{ posts(first: 20) { nodes { content } } }"}
        other = {"query": "{ posts(first: 1) { nodes { content } } }"}
        answer = (await client.http.post("/graphql", json=[one, other])).json()
        assert too_large(answer[0]) == (
            None,
            "ANSWER_TOO_LARGE",
            answer[0]["errors"][0]["extensions"]["measured"],
            MAXIMUM // 2,
        )
        assert answer[1]["data"]["posts"]["nodes"] == [{"content": CONTENT}]


PARTS: tuple[Any, ...] = (
    {},
    [],
    {"a": {}},
    {"a": []},
    {"a": [], "b": {"c": []}},
    {
        "data": {"n": None, "t": True, "f": 0.5, "i": 7, "s": '\x01"\\ü😀', 'k"': [1, "x", None]},
        "errors": [{"path": ["a", 0]}],
    },
    [[[]], [[{}]]],
    {"long": "x" * 70_000, "short": "y"},
    {"fragment": orjson.Fragment(b'[{"a":1}]'), "list": [orjson.Fragment(b"{}"), {"b": orjson.Fragment(b"1")}]},
)


@pytest.mark.parametrize("number", range(len(PARTS)))
def test_json_written_in_parts_is_the_same(number: int) -> None:
    expected = orjson.dumps(PARTS[number])
    assert encode_bounded(PARTS[number], len(expected)) == expected
    with pytest.raises(AnswerTooLargeError) as error:
        encode_bounded(PARTS[number], len(expected) - 1)
    assert error.value.measured == len(expected)


# ---------------------------------------------------------------- where the work is done


@pytest.fixture
def work_counts(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, bool]]:
    """Count the work by name, and by whether it runs outside the event loop's thread."""
    counts: Counter[tuple[str, bool]] = Counter()
    loop = threading.current_thread()

    def watch(owner: object, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def watched(*arguments: Any, **named: Any) -> Any:
            counts[name, threading.current_thread() is not loop] += 1
            return original(*arguments, **named)

        monkeypatch.setattr(owner, name, watched)

    watch(Operations, "_check")
    watch(Pipeline, "_parsed")
    watch(results, "_result")
    watch(pipeline, "encode_bounded")
    watch(response, "cacheable")
    return counts


async def test_long_documents_are_checked_in_another_thread(
    client: Client, work_counts: Counter[tuple[str, bool]]
) -> None:
    assert (await client.run("{ posts(first: 1) { nodes { title } } }"))["data"] is not None
    assert work_counts["_check", False] == 1
    assert len(LONG) > SMALL_DOCUMENT_LENGTH_MAX
    assert (await client.run(LONG))["data"] is not None
    refused = LONG.replace("first", "frist")
    for _ in range(2):
        assert "Unknown argument 'frist'" in (await client.run(refused))["errors"][0]["message"]
    # One valid and one refused document, each checked once however often it is sent.
    assert (work_counts["_check", True], work_counts["_check", False]) == (2, 1)


async def test_document_that_arrives_many_times_at_once_is_checked_once(
    client: Client, work_counts: Counter[tuple[str, bool]]
) -> None:
    found = await asyncio.gather(*(client.run(LONG) for _ in range(20)))
    assert [one["data"] for one in found] == [{"posts": {"nodes": []}}] * 20
    assert work_counts["_check", True] == 1


async def test_large_bodies_are_read_in_another_thread(client: Client, work_counts: Counter[tuple[str, bool]]) -> None:
    await client.post("{ __typename }")
    assert work_counts["_parsed", True] == 0
    for body in (
        b'{"query": "{ __typename }", "extensions": {"x": ["%s"]}}' % (b"x" * SMALL_BODY_BYTES_MAX),
        b"[" * 9_000,
    ):
        for headers in ({}, {"content-encoding": "gzip"}):
            sent = gzip.compress(body) if headers else body
            before = work_counts["_parsed", True]
            await client.http.post("/graphql", content=sent, headers={"content-type": "application/json", **headers})
            assert work_counts["_parsed", True] - before == (1 if len(sent) > SMALL_BODY_BYTES_MAX else 0)


@pytest.mark.usefixtures("many_posts")
async def test_large_answers_are_made_in_another_thread(
    app: FastAPI, client: Client, ida: Person, superuser: Driver, work_counts: Counter[tuple[str, bool]]
) -> None:
    await superuser.execute(
        "INSERT INTO users (email, username, hashed_password) "
        "SELECT n || '@x.org', 'someone' || n, '!' FROM generate_series(1, 99) n"
    )
    await superuser.execute(
        "INSERT INTO posts (title, content, published, author_id) "
        "SELECT 'Post', '', true, id FROM users, generate_series(1, 100) WHERE username LIKE 'someone%'"
    )
    vars(app.state.operations.engines).pop("run")  # the ordinary engine would take a minute
    answer = await client.post(OF_USERS % FIELDS)
    assert len(answer.json()["data"]["users"]["nodes"]) == 100
    assert (work_counts["_result", True], work_counts["_result", False], work_counts["encode_bounded", True]) == (
        1,
        0,
        1,
    )
    # With an error in it, so that the rest is completed a second time, with paths.
    bad = '{ bad: post(id: "x") { id }' + (OF_USERS % FIELDS)[1:]
    found = (await client.post(bad)).json()
    assert found["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert (work_counts["_result", True], work_counts["_result", False]) == (2, 0)


@pytest.mark.usefixtures("long_posts")
async def test_large_answers_to_get_have_their_etag_made_in_another_thread(
    client: Client, work_counts: Counter[tuple[str, bool]]
) -> None:
    for count, is_large in ((1, False), (3, True)):
        query = f"{{ posts(first: {count}) {{ nodes {{ content }} }} }}"
        answer = await client.http.get("/graphql", params={"query": query}, headers={"accept": "application/json"})
        assert answer.headers["etag"]
        assert work_counts["cacheable", is_large] == 1


async def test_small_answers_are_made_in_the_event_loop(client: Client, work_counts: Counter[tuple[str, bool]]) -> None:
    await client.data("{ posts(first: 20) { nodes { id title } } }")
    assert (work_counts["_result", True], work_counts["encode_bounded", True]) == (0, 0)


# ---------------------------------------------------------------- the cost of parsing


async def budget_after(settings: Settings, body: bytes, status: int, **headers: str) -> int:
    """Return what is left of a budget of 10,000 after a refused request."""
    dear = "{ users(first: 100) { nodes { posts(first: 100) { nodes { id } } } } }"
    async with served_with_documents([dear], settings, cost_per_minute_max=10_000) as client:
        headers["content-type"] = "application/json"
        answer = await client.http.post("/graphql", content=body, headers=headers)
        assert answer.status_code == status
        refused = await client.post(dear)
        assert refused.status_code == 429
        return int(refused.headers["ratelimit"].split(";")[1].removeprefix("r="))


async def test_parsing_of_a_refused_request_is_charged(settings: Settings) -> None:
    document = orjson.dumps({"query": LONG.replace("first", "frist")})
    assert await budget_after(settings, document, 200) <= 10_000 - 5 * COST_PER_MS
    assert await budget_after(settings, b"[" * 9_000, 400) <= 10_000 - REFUSED_COST
    body = orjson.dumps({"query": "{ __typename }", "extensions": {"x": "x" * 10_000}})
    assert await budget_after(settings, body, 401, authorization="Bearer nonsense") <= 10_000 - REFUSED_COST
    # A megabyte of nested brackets, unlike any real client's request, takes a good part of a second to parse.
    brackets = b'{"query": "{ __typename }", "extensions": {"x": [%s]}}' % b",".join([b"[]"] * 300_000)
    assert await budget_after(settings, brackets, 400) <= 10_000 - 20 * COST_PER_MS


async def test_user_with_a_budget_may_send_large_bodies_when_the_budget_of_the_address_is_spent(
    settings: Settings, ida: Person
) -> None:
    large = {"query": "{ __typename }", "extensions": {"x": "x" * SMALL_BODY_BYTES_MAX}}
    async with served_with_documents(["{ __typename }"], settings, cost_per_minute_max=3) as client:
        spent = [(await client.post("{ __typename }")).status_code for _ in range(4)]
        headers = {"authorization": f"Bearer {ida.token}"}
        answer = await client.http.post("/graphql", json=large, headers=headers)
    assert (spent, answer.json()) == ([200, 200, 200, 429], {"data": {"__typename": "Query"}})


async def test_number_of_values_in_a_document_is_limited(client: Client) -> None:
    def query(count: int) -> str:
        ids = ", ".join(['"user_1"'] * (count - 1))
        return f"{{ nodes(ids: [{ids}]) {{ id ... on User {{ posts {{ nodes {{ id }} }} }} }} }}"

    assert "at most 100" in (await client.run(query(WRITTEN_VALUES_MAX)))["errors"][0]["message"]
    (error,) = (await client.run(query(WRITTEN_VALUES_MAX + 1)))["errors"]
    assert error["extensions"]["code"] == "OPERATION_TOO_LARGE"
    assert error["message"] == (
        "the operation's written values: 2001, and at most 2000 allowed; send them in variables"
    )


@pytest.mark.parametrize(
    "document",
    [
        "query ($ids: [ID!]! = [VALUES]) { nodes(ids: $ids) { id } }",
        "{ viewer { ...Fields } } fragment Fields on User { posts(filter: {authorIds: [VALUES]}) { totalCount } }",
        "{ __typename @include(if: [VALUES]) }",
    ],
)
async def test_values_count_wherever_the_document_has_them(client: Client, document: str) -> None:
    values = " ".join(["1"] * WRITTEN_VALUES_MAX)
    (error,) = (await client.run(document.replace("VALUES", values)))["errors"]
    assert error["extensions"]["limit"] == "written values"


async def test_number_of_values_in_variables_is_limited(client: Client) -> None:
    query = "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }"
    found = await client.run(query, ids=["user_1"] * (JSON_VALUES_MAX + 1))
    assert found["errors"] == [
        {
            "message": f"variables contain more than {JSON_VALUES_MAX} values; send fewer at once",
            "extensions": {"code": "BAD_REQUEST"},
        }
    ]
    fewer = await client.run(query, ids=["user_1"] * 500)
    assert "at most 100" in fewer["errors"][0]["message"]


@pytest.mark.usefixtures("long_posts")
@pytest.mark.parametrize(
    "body",
    [
        b'{"query": "{ __typename }", "extensions": {"x": "' + b"x" * SMALL_BODY_BYTES_MAX + b'"',
        orjson.dumps({"query": LONG.replace("first", "frist")}),
        orjson.dumps({"query": f"{{ posts(first: 100) {{ nodes {{ {ALIASES} }} }} }}"}),
        orjson.dumps({"query": '{ bad: posts(after: "x") { nodes { id } } ' + OF_USERS.partition("{")[2] % FIELDS}),
    ],
    ids=["body", "document", "answer", "errors"],
)
async def test_the_other_thread_leaves_nothing_to_the_cycle_collector(
    app: FastAPI, client: Client, body: bytes
) -> None:
    vars(app.state.operations.engines).pop("run", None)  # the comparison with the other engine leaves garbage

    async def send() -> None:
        await client.http.post("/graphql", content=body, headers={"content-type": "application/json"})
        await asyncio.sleep(0.05)

    await send()
    with collected_types() as left:
        await send()
    assert left & {"HttpRefused", "AnswerTooLargeError", "Future", "Call", "frame", "traceback", "Frame"} == set()
