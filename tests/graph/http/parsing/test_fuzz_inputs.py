"""Requests, scalars, ids and cursors made by Hypothesis: refused with a documented error, or accepted as spelled."""

import datetime
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx
import orjson
import pytest
from graphql import GraphQLError
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.errors import BadInput
from graph.schema.ids import NodeKind, global_id, parse, parse_any
from graph.schema.scalars import (
    parse_currency_code,
    parse_date_time,
    parse_decimal,
    parse_uuid,
    serialize_date_time,
    serialize_decimal,
)
from tests.graph.support.callers import Client
from tests.running.amounts import examples

ALIVE = {"data": {"__typename": "Query"}}
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[]))
    | st.binary()
    | st.decimals()
    | st.datetimes()
    | st.uuids(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)

# ---------------------------------------------------------------- bodies

GOOD = b'{"query":"query A($x:Int){__typename}","operationName":"A","variables":{"x":1},"extensions":{"cost":true}}'


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return a valid request with a few of its bytes removed, repeated or replaced."""
    body = GOOD
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, min(start + 4, len(body))))
        body = body[:start] + draw(st.binary(max_size=3) | st.just(body[start:end] * 2)) + body[end:]
    return body


def answered(response: httpx.Response) -> list[str]:
    """Return the codes of a response's errors, and assert that it is a well-formed response."""
    body = response.json()
    assert response.status_code in {200, 400}
    assert body.keys() <= {"data", "errors", "extensions"}
    return [error["extensions"]["code"] for error in body.get("errors", [])]


@settings(max_examples=examples(200))
@given(body=damaged())
async def test_damaged_request_is_run_or_refused_with_a_code(client: Client, body: bytes) -> None:
    response = await client.http.post("/graphql", content=body, headers={"content-type": "application/json"})
    codes = answered(response)
    assert set(codes) <= {"BAD_REQUEST", "GRAPHQL_VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED", "BAD_USER_INPUT"}
    assert (response.status_code == 400) == ("BAD_REQUEST" in codes)
    assert await client.run("{ __typename }") == ALIVE


@settings(max_examples=examples(100))
@given(value=VALUES.filter(lambda value: not isinstance(value, bytes)))
async def test_any_value_of_a_variable_is_taken_or_the_clients_fault(client: Client, value: object) -> None:
    try:
        body = orjson.dumps({"query": "query($id: ID!) { node(id: $id) { id } }", "variables": {"id": value}})
    except orjson.JSONEncodeError:
        return
    response = await client.http.post("/graphql", content=body, headers={"content-type": "application/json"})
    assert set(answered(response)) <= {"BAD_REQUEST", "BAD_USER_INPUT"}


# ---------------------------------------------------------------- scalars


def same(text: str) -> str:
    return text


SCALARS: list[tuple[Callable[[object], Any], Callable[[Any], str], st.SearchStrategy[str]]] = [
    (parse_decimal, serialize_decimal, st.from_regex(r"\A-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,18})?\Z")),
    (parse_date_time, serialize_date_time, st.datetimes().map(lambda value: f"{value.isoformat()}Z")),
    (parse_uuid, str, st.uuids().map(str)),
    (parse_currency_code, same, st.text("ABCXYZ", min_size=3, max_size=3)),
]
NAMES = ["Decimal", "DateTime", "UUID", "CurrencyCode"]
TAKEN = (Decimal, datetime.datetime, uuid.UUID, str)


@pytest.mark.parametrize(("parsed", "written", "canonical"), SCALARS, ids=NAMES)
@given(data=st.data())
def test_canonical_text_with_one_change_is_refused_or_another_canonical_text(
    data: st.DataObject, parsed: Callable[[object], Any], written: Callable[[Any], str], canonical: Any
) -> None:
    text = data.draw(canonical)
    assert parsed(written(parsed(text))) == parsed(text)
    start = data.draw(st.integers(0, len(text)))
    put_in = data.draw(
        st.text(st.characters(exclude_categories=[]), max_size=2) | st.text("0129Zz-+:.eE \n", max_size=2)
    )
    changed = text[:start] + put_in + text[start + data.draw(st.integers(0, 1)) :]
    try:
        value = parsed(changed)
    except GraphQLError:
        return
    assert changed.isascii()
    assert parsed(written(value)) == value
    if parsed is not parse_date_time:  # an instant may have any offset
        assert written(value) == (changed.lower() if parsed is parse_uuid else changed)  # upper case is accepted, too


@pytest.mark.parametrize(("parsed", "written", "canonical"), SCALARS, ids=NAMES)
@given(value=VALUES)
def test_any_value_is_refused_only_with_an_error_of_graphql(
    value: object, parsed: Callable[[object], Any], written: Callable[[Any], str], canonical: object
) -> None:
    try:
        taken = parsed(value)
    except GraphQLError:
        return
    assert isinstance(value, str)
    assert isinstance(taken, TAKEN)


# ---------------------------------------------------------------- ids


@st.composite
def changed_ids(draw: st.DrawFn) -> str:
    """Return an id with one change, by any Unicode character."""
    id_ = str(global_id(draw(st.sampled_from(NodeKind)), draw(st.integers(1, 2**63 - 1))))
    start = draw(st.integers(0, len(id_)))
    return id_[:start] + draw(st.text(max_size=2)) + id_[start + draw(st.integers(0, 2)) :]


@given(id_=changed_ids() | st.text(st.characters(exclude_categories=[])), kind=st.sampled_from(NodeKind))
def test_near_id_raises_nothing_but_bad_input(id_: str, kind: NodeKind) -> None:
    try:
        found, number = parse_any(id_, "id")
    except BadInput as refused:
        message = refused.message
        assert message == "id is not an id; send an `id` that the API has returned"
        with pytest.raises(BadInput):
            parse(id_, kind, "id")
        return
    assert global_id(found, number) == id_
    if found is kind:
        assert parse(id_, kind, "id") == number
    else:
        with pytest.raises(BadInput):
            parse(id_, kind, "id")


# ---------------------------------------------------------------- cursors

PAGE = "query($cursor: String) { posts(first: 1, after: $cursor) { nodes { id } } }"


@settings(max_examples=examples(100))
@given(cursor=st.text() | st.from_regex(r"\A[A-Za-z0-9_-]{1,60}\Z") | st.binary(max_size=60).map(lambda one: one.hex()))
async def test_text_that_is_no_issued_cursor_is_refused_by_the_api(client: Client, cursor: str) -> None:
    if "\0" in cursor:
        return  # the body is refused before the cursor is read
    body = await client.run(PAGE, cursor=cursor)
    assert [error["extensions"]["code"] for error in body["errors"]] == ["BAD_USER_INPUT"]
    assert body["errors"][0]["message"].startswith("after is not a cursor of this list in this order")
