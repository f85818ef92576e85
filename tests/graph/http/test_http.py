"""GraphQL over HTTP: an invalid request has its status and its message, and never causes a 500."""

import re
from collections.abc import AsyncIterator

import orjson
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from db.connections.leases import Driver
from db.settings import Settings
from graph.http.parsing.requests import JSON_DEPTH_MAX
from tests.graph.support.bodies import ANSWER, CREATE_USER, JSON, NEWER, TYPENAME, bad_request, refusal, send
from tests.graph.support.callers import Client, serving_with
from tests.graph.support.rights_data import dump
from tests.running.amounts import examples

BODY_BYTES_MAX = 2048


async def assert_answers(client: Client) -> None:
    assert (await send(client.http, TYPENAME)).json() == ANSWER


# ---------------------------------------------------------------- method and headers


async def test_refusal_of_other_methods_names_the_allowed_ones(client: Client) -> None:
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
        response = await client.http.request(method, "/graphql", json=TYPENAME)
        assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")
        assert response.json() == refusal("METHOD_NOT_ALLOWED", "use POST, or GET for a query")


async def test_refusal_of_get_without_an_operation_describes_how_to_send_one(client: Client) -> None:
    message = "send the operation by POST, as a JSON object with the key query"
    response = await client.http.get("/graphql")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")
    assert response.json() == refusal("METHOD_NOT_ALLOWED", message)
    response = await client.http.head("/graphql")
    assert (response.status_code, response.content) == (405, b"")


async def test_mutation_by_get_is_refused_and_writes_nothing(client: Client, superuser: Driver) -> None:
    before = await dump(superuser)
    response = await client.http.get("/graphql", params={"query": CREATE_USER}, headers={"accept": JSON})
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json() == refusal("METHOD_NOT_ALLOWED", "GET runs queries only; use POST")
    assert await dump(superuser) == before


async def test_every_answer_has_a_unique_id_and_is_not_cached(client: Client) -> None:
    responses = [
        await send(client.http, TYPENAME),
        await send(client.http, TYPENAME),
        await send(client.http, {"query": "{"}),
        await send(client.http, b""),
        await client.http.get("/graphql"),
        await client.http.patch("/graphql"),
        await client.post("{ __typename }", by=None),
        await send(client.http, TYPENAME, {"authorization": "Bearer nonsense"}),
    ]
    ids = [response.headers["x-request-id"] for response in responses]
    assert [response.status_code for response in responses] == [200, 200, 200, 400, 405, 405, 200, 401]
    assert [one for one in ids if not re.fullmatch(r"[0-9a-f]{16}", one)] == []
    assert len(set(ids)) == len(ids)
    kept = {(response.headers["cache-control"], response.headers["x-content-type-options"]) for response in responses}
    assert kept == {("no-store", "nosniff")}


# ---------------------------------------------------------------- size


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 100):
        yield body[start : start + 100]


async def test_body_may_be_as_large_as_the_limit_and_no_larger(settings: Settings) -> None:
    message = f"the body has more than the {BODY_BYTES_MAX} bytes that are allowed; send less at once"
    async with serving_with(settings, body_bytes_max=BODY_BYTES_MAX) as http:
        for spare, status, body in ((0, 200, ANSWER), (-1, 413, refusal("BODY_TOO_LARGE", message))):
            content = orjson.dumps(TYPENAME)
            content += b" " * (BODY_BYTES_MAX - len(content) - spare)
            declared = await send(http, content)
            chunked = await http.post("/graphql", content=chunks(content), headers={"content-type": JSON})
            assert (declared.status_code, declared.json()) == (status, body)
            assert (chunked.status_code, chunked.json()) == (status, body)
            assert "content-length" not in chunked.request.headers
        assert (await send(http, TYPENAME)).json() == ANSWER


async def test_body_far_beyond_the_limit_is_refused_by_its_declared_length(client: Client) -> None:
    response = await send(client.http, b" " * 8_000_000)
    message = "the body has more than the 1572864 bytes that are allowed; send less at once"
    assert (response.status_code, response.json()) == (413, refusal("BODY_TOO_LARGE", message))
    await assert_answers(client)


# ---------------------------------------------------------------- bytes that are no JSON

NO_JSON = (
    b"",
    b" \r\n",
    b"{",
    b"nope",
    b"NaN",
    b'{"query": NaN}',
    b'{"query": "{ __typename }", "variables": {"x": Infinity}}',
    b'{"query": "{ __typename }", "variables": {"x": 1e400}}',
    b'{"query": "{ __typename }",}',
    b"{'query': '{ __typename }'}",
    b'{"query": "{ __typename }"} {}',
    b'{"query": "{\n__typename }"}',
    b"query={ __typename }",
    b"\xff\xfe\x00",
    b'{"query": "{ __typename }", "variables": {"x": "\xe9"}}',
    b'{"query": "\xc0\xaf"}',
    b'{"query": "\xed\xa0\x80"}',
    b'{"query": "\\ud800"}',
    b'{"query": "{ __typename }", "variables": {"x": "\\udc00\\ud800"}}',
    b'\xef\xbb\xbf{"query": "{ __typename }"}',
    '{"query": "{ __typename }"}'.encode("utf-16"),
    b"[" * 100_000,
    b'{"variables":' * 5_000,
)


async def test_bytes_that_are_no_json_in_utf_8_are_refused(client: Client) -> None:
    for content in NO_JSON:
        response = await send(client.http, content)
        [error] = response.json()["errors"]
        assert (content, response.status_code) == (content, 400)
        assert (list(response.json()), error["extensions"]) == (["errors"], {"code": "BAD_REQUEST"})
        assert error["message"].startswith("the body is not JSON in UTF-8: ")
    await assert_answers(client)


# ---------------------------------------------------------------- JSON that is not a request


NO_OBJECTS: list[object] = [5, False, [], "{}", [{}]]
NO_REQUESTS: dict[str, list[object]] = {
    'the body should be an object, for example {"query": "{ __typename }"}': [
        5,
        1.5,
        None,
        [],
        True,
        "{ a }",
        [TYPENAME],
    ],
    "query should be a string, the GraphQL document": [
        *({}, {"query": None}, {"query": ""}, {"query": 5}, {"query": ["{ __typename }"]}, {"Query": "{ __typename }"})
    ],
    "operationName should be a string or null": [{**TYPENAME, "operationName": wrong} for wrong in [5, True, [], {}]],
    "variables should be an object or null": [{**TYPENAME, "variables": wrong} for wrong in NO_OBJECTS],
    "extensions should be an object or null": [{**TYPENAME, "extensions": wrong} for wrong in NO_OBJECTS],
    "variables contain the character U+0000, which is not allowed in text": [
        {**TYPENAME, "variables": {"x": "\0"}},
        {**TYPENAME, "variables": {"x": [{"y": "a\0b"}]}},
        {**TYPENAME, "variables": {"\0": 1}},
    ],
    "extensions contain the character U+0000, which is not allowed in text": [
        {**TYPENAME, "extensions": {"x": "a\0b"}}
    ],
}


async def test_json_that_is_no_request_is_refused(client: Client) -> None:
    for message, bodies in NO_REQUESTS.items():
        for body in bodies:
            response = await send(client.http, body)
            assert (body, response.status_code, response.json()) == (body, *bad_request(message))


async def test_null_and_unknown_keys_are_treated_as_absent(client: Client) -> None:
    body = {**TYPENAME, "operationName": None, "variables": None, "extensions": None, "id": [7]}
    response = await send(client.http, body)
    assert (response.status_code, response.json()) == (200, ANSWER)


async def test_variables_are_nested_as_deep_as_the_limit_and_no_deeper(client: Client) -> None:
    def nested(levels: int) -> object:
        value: object = 1
        for level in range(levels):
            value = [value] if level % 2 else {"x": value}
        return {"x": value}

    deep = await send(client.http, {**TYPENAME, "variables": nested(JSON_DEPTH_MAX - 2)})
    deeper = await send(client.http, {**TYPENAME, "variables": nested(JSON_DEPTH_MAX - 1)})
    assert (deep.status_code, deep.json()) == (200, ANSWER)
    message = f"variables are nested deeper than {JSON_DEPTH_MAX}"
    assert (deeper.status_code, deeper.json()) == bad_request(message)


# ---------------------------------------------------------------- anything at all

fuzzed = hypothesis_settings(
    max_examples=examples(150),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
requests = st.fixed_dictionaries(
    {},
    optional={
        "query": anything
        | st.sampled_from(["{ __typename }", "{", "{ user(id: 1) { id } }", "query A { __typename }"]),
        "operationName": anything | st.just("A"),
        "variables": anything,
        "extensions": anything | st.fixed_dictionaries({"persistedQuery": anything}),
        "documentId": anything,
    },
)


@fuzzed
@given(body=st.binary(max_size=200) | requests | anything)
async def test_no_body_causes_an_internal_error(client: Client, body: object) -> None:
    response = await send(client.http, body)
    assert response.status_code in {200, 400}
    assert response.json().keys() <= {"data", "errors"}
    await assert_answers(client)


@fuzzed
@given(document=st.text(alphabet='{}()[]:!$@"#.,| \nabfragmentonqueryuser_1\\u{0}0\0é\U0001f600', max_size=60))
async def test_no_document_causes_an_internal_error(client: Client, document: str) -> None:
    response = await send(client.http, {"query": document}, {"accept": NEWER})
    assert response.status_code in {200, 400}
    await assert_answers(client)
