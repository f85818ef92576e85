"""Ambiguous JSON is refused: duplicate keys at any place, and integers that would lose digits."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.http.parsing import strict_json
from graph.http.parsing.strict_json import NotStrictError
from tests.graph.support.callers import Client

DOUBLED = "an object in it names a key twice"
TOO_LONG = "an integer in it has more than 64 bits; send it as a string, or with an exponent, for example 1e20"
HEADERS = {"content-type": "application/json"}


async def post(client: Client, content: bytes) -> tuple[int, Any]:
    answer = await client.http.post("/graphql", content=content, headers=HEADERS)
    return answer.status_code, answer.json()


def refusal(message: str) -> tuple[int, Any]:
    return 400, {"errors": [{"message": message, "extensions": {"code": "BAD_REQUEST"}}]}


@pytest.mark.parametrize(
    "body",
    [
        b'{"query": "{ __typename }", "query": "{ users { totalCount } }"}',
        b'{"query": "{ __typename }", "qu\\u0065ry": "{ users { totalCount } }"}',
        b'{"query": "{ __typename }", "variables": {"a": 1, "a": 1}}',
        b'{"query": "{ __typename }", "variables": {"a": [{"b": {"c": "", "c": ""}}]}}',
        b'{"query": "{ __typename }", "variables": {"": 1, "":2}}',
        b'{"query": "{ __typename }", "variables": {"a" : 1, "a"\n\t:\r2}}',
        b'{"query": "{ __typename }", "unknown": {"a": {"a:": ":"}, "a": 1}}',
        # An escaped colon is in the value but not in the text, where it would hide the missing one from a count.
        b'{"query": "{ __typename }", "unknown": "\\u003a", "a": 1, "a": 2}',
        b'{"query": "{ __typename }", "unknown": "\\u003A", "a": 1, "a": 2}',
        b'{"query": "{ __typename }", "a": "\\u003a", "a": "\\u003a"}',
    ],
)
async def test_duplicate_key_in_one_object_is_refused(client: Client, body: bytes) -> None:
    assert await post(client, body) == refusal(f"the body is ambiguous JSON: {DOUBLED}")


async def test_duplicate_key_in_a_query_string_is_refused(client: Client) -> None:
    parameters = {"query": "{ __typename }", "variables": '{"a": 1, "a": 2}'}
    answer = await client.http.get("/graphql", params=parameters, headers={"accept": "application/json"})
    assert (answer.status_code, answer.json()) == refusal(f"variables is not JSON: {DOUBLED}")


@pytest.mark.parametrize(
    "body",
    [
        b'{"query": "{ a: __typename b: __typename }", "variables": {"a": {"a": "a:a"}, "b": [{"a": 1}, {"a": 1}]}}',
        b'{"query": "{ a: __typename b: __typename }", "x": "\\u003a \\\\u003a : \\":\\""}',
        b'{"query": "{ a: __typename b: __typename }", "a:": {"a": ":"}, "a": 1}',
    ],
)
async def test_same_key_in_different_objects_and_colons_in_strings_are_fine(client: Client, body: bytes) -> None:
    assert await post(client, body) == (200, {"data": {"a": "Query", "b": "Query"}})


@pytest.mark.parametrize(
    "digits", ["18446744073709551616", "-9223372036854775809", "100000000000000000001", "1" + "0" * 300]
)
async def test_integer_that_would_lose_digits_is_refused(client: Client, digits: str) -> None:
    body = b'{"query": "query ($id: ID!) { user(id: $id) { id } }", "variables": {"id": %s}}' % digits.encode()
    assert await post(client, body) == refusal(f"the body is ambiguous JSON: {TOO_LONG}")


@pytest.mark.parametrize("digits", ["2147483648", "-2147483649", "9223372036854775808", "18446744073709551615"])
async def test_integer_that_the_type_cannot_hold_is_refused_with_its_digits(client: Client, digits: str) -> None:
    body = b'{"query": "query ($n: Int) { posts(first: $n) { totalCount } }", "variables": {"n": %s}}' % digits.encode()
    message = f"Variable '$n' has invalid value: Int cannot represent non 32-bit signed integer value: {digits}"
    status, answer = await post(client, body)
    assert (status, answer) == (
        200,
        {
            "errors": [
                {
                    "message": message,
                    "locations": [{"line": 1, "column": 8}],
                    "extensions": {"code": "BAD_USER_INPUT"},
                }
            ]
        },
    )


def test_large_floats_are_floats() -> None:
    assert strict_json.loads(b'{"a": [1e20, -1.5E300, 1e19]}') == {"a": [1e20, -1.5e300, 1e19]}


names = st.text(alphabet='ab:\\"\u00e9\x01', max_size=2)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | names
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(names, inner), max_size=3).map(tuple)
)


def write_json(value: Any, *, spaced: bool, escaped: bool) -> str:
    """Write a value whose objects are tuples of members, so that a name may occur twice."""
    if isinstance(value, tuple):
        colon = " : " if spaced else ":"
        members = (colon.join(write_json(part, spaced=spaced, escaped=escaped) for part in member) for member in value)
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(write_json(one, spaced=spaced, escaped=escaped) for one in value) + "]"
    text = json.dumps(value, ensure_ascii=spaced)
    return text.replace(":", "\\u003a") if escaped and isinstance(value, str) else text


def is_doubled(value: Any) -> bool:
    if isinstance(value, tuple):
        return len({name for name, _ in value}) < len(value) or any(is_doubled(one) for _, one in value)
    return isinstance(value, list) and any(is_doubled(one) for one in value)


@given(values, st.booleans(), st.booleans())
def test_exactly_the_texts_with_a_duplicate_key_are_refused(value: Any, spaced: bool, escaped: bool) -> None:
    text = write_json(value, spaced=spaced, escaped=escaped).encode()
    if is_doubled(value):
        with pytest.raises(NotStrictError, match=DOUBLED):
            strict_json.loads(text)
    else:
        assert strict_json.loads(text) == orjson.loads(text)
