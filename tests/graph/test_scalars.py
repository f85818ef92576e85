"""The custom scalars: one spelling in, the same spelling out, and the same answer for a variable as for a literal.

The operations that take them are chosen so that nothing happens: a filter, a look-up, and two mutations by an anonymous
caller, who is told to sign in once the arguments are good.
"""

import datetime
import json
import string
import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from graphql import GraphQLError
from hypothesis import given
from hypothesis import strategies as st

from graph.scalars import (
    parse_currency_code,
    parse_date_time,
    parse_decimal,
    parse_uuid,
    serialize_date_time,
    serialize_decimal,
)
from tests.graph.callers import Client
from tests.graph.refusals import unlocated

FULL_WIDTH_1 = "\uff11"
ARABIC_1 = "\u0661"
NO_TEXTS: list[Any] = [True, False, 0, 1, -1, 12.5, 2**63, [], {}, ["1"], {"value": "1"}]

# ---------------------------------------------------------------- what is good, and what it means

DECIMALS = {
    "0": Decimal(0),
    "-0": Decimal("-0"),
    "1": Decimal(1),
    "-1": Decimal(-1),
    "10": Decimal(10),
    "12.50": Decimal("12.50"),
    "0.5": Decimal("0.5"),
    "-0.00": Decimal("-0.00"),
    "0." + "0" * 37 + "1": Decimal("1E-38"),
    "9" * 40: Decimal("9" * 40),
}
NO_DECIMALS = [
    "",
    " ",
    "NaN",
    "nan",
    "sNaN",
    "Infinity",
    "-Infinity",
    "inf",
    "1e3",
    "1E3",
    "1e-3",
    "+1",
    "++1",
    "--1",
    "-",
    "01",
    "00",
    "-01",
    "1.",
    ".5",
    "-.5",
    ".",
    "1.2.3",
    "1,5",
    "1_000",
    "1 000",
    "1,000",
    " 1",
    "1 ",
    "1\n",
    "\t1",
    "0x10",
    "1/2",
    "½",
    "²",
    "−1",  # noqa: RUF001 - the minus sign of typography
    FULL_WIDTH_1,
    ARABIC_1,
    "1" + FULL_WIDTH_1,
    "1.5EUR",
    "€5",
    "9" * 41,
    "0." + "0" * 39,
    "null",
    "true",
]

INSTANTS = {
    "2026-11-22T09:30:00Z": datetime.datetime(2026, 11, 22, 9, 30, tzinfo=datetime.UTC),
    "2026-11-22T09:30:00.5Z": datetime.datetime(2026, 11, 22, 9, 30, 0, 500_000, tzinfo=datetime.UTC),
    "2026-11-22T09:30:00.123456Z": datetime.datetime(2026, 11, 22, 9, 30, 0, 123_456, tzinfo=datetime.UTC),
    "2026-11-22T09:30:00+00:00": datetime.datetime(2026, 11, 22, 9, 30, tzinfo=datetime.UTC),
    "2026-11-22T09:30:00-00:00": datetime.datetime(2026, 11, 22, 9, 30, tzinfo=datetime.UTC),
    "2026-11-22T09:30:00+05:45": datetime.datetime(2026, 11, 22, 3, 45, tzinfo=datetime.UTC),
    "2026-11-22T23:30:00-23:59": datetime.datetime(2026, 11, 23, 23, 29, tzinfo=datetime.UTC),
    "2024-02-29T00:00:00Z": datetime.datetime(2024, 2, 29, tzinfo=datetime.UTC),
    "0001-01-01T00:00:00Z": datetime.datetime(1, 1, 1, tzinfo=datetime.UTC),
    "9999-12-31T23:59:59.999999Z": datetime.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=datetime.UTC),
}
NO_INSTANTS = [
    "",
    "now",
    "2026-11-22",
    "2026-11-22T09:30:00",
    "2026-11-22T09:30Z",
    "2026-11-22T09Z",
    "2026-11-22 09:30:00Z",
    "2026-11-22t09:30:00Z",
    "2026-11-22T09:30:00z",
    "2026-11-22T09:30:00ZZ",
    "2026-11-22T09:30:00 Z",
    " 2026-11-22T09:30:00Z",
    "2026-11-22T09:30:00Z\n",
    "20261122T093000Z",
    "2026-W47-7T09:30:00Z",
    "2026-326T09:30:00Z",
    "2026-11-22T09:30:60Z",
    "2016-12-31T23:59:60Z",
    "2026-11-22T24:00:00Z",
    "2026-11-22T09:60:00Z",
    "2026-02-29T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-00-01T00:00:00Z",
    "2026-01-00T00:00:00Z",
    "0000-01-01T00:00:00Z",
    "10000-01-01T00:00:00Z",
    "-2026-01-01T00:00:00Z",
    "+2026-01-01T00:00:00Z",
    "2026-11-22T09:30:00+24:00",
    "2026-11-22T09:30:00+00:60",
    "2026-11-22T09:30:00+01",
    "2026-11-22T09:30:00+0100",
    "2026-11-22T09:30:00+01:00:00",
    "2026-11-22T09:30:00[UTC]",
    "2026-11-22T09:30:00.Z",
    "2026-11-22T09:30:00,5Z",
    "2026-11-22T09:30:00.1234567Z",
    "0001-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59-00:01",
    f"202{FULL_WIDTH_1}-11-22T09:30:00Z",
    "1795339800",
]

UUIDS = {
    text: uuid.UUID(text)
    for text in (
        "0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e",
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
    )
}
NO_UUIDS = [
    "",
    "0190A0B4-7D3C-7C1E-9F43-2F6B8A1C5D7E",
    "0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7E",
    "{0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e}",
    "urn:uuid:0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e",
    "0190a0b47d3c7c1e9f432f6b8a1c5d7e",
    "0190a0b4-7d3c7c1e-9f43-2f6b8a1c5d7e",
    "0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7",
    "0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e0",
    "g190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e",
    " 0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e",
    "0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e\n",
    f"{FULL_WIDTH_1}190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e",
]

CURRENCY_CODES = {code: code for code in ("EUR", "JPY", "XXX", "ZZZ")}
NO_CURRENCY_CODES = [
    "",
    "eur",
    "Eur",
    "EU",
    "EURO",
    "E1R",
    "978",
    " EUR",
    "EUR ",
    "EUR\n",
    "E R",
    "€",
    "ÉUR",
    "\uff25\uff35\uff32",
]


# ---------------------------------------------------------------- parsing


@pytest.mark.parametrize(
    ("parse", "good", "bad"),
    [
        (parse_decimal, DECIMALS, NO_DECIMALS),
        (parse_date_time, INSTANTS, NO_INSTANTS),
        (parse_uuid, UUIDS, NO_UUIDS),
        (parse_currency_code, CURRENCY_CODES, NO_CURRENCY_CODES),
    ],
    ids=["Decimal", "DateTime", "UUID", "CurrencyCode"],
)
def test_a_scalar_has_one_spelling(parse: Any, good: Mapping[str, object], bad: Sequence[str]) -> None:
    # By their representations, for 12.5 and 12.50 are equal, and so are 0 and -0.
    assert {text: repr(parse(text)) for text in good} == {text: repr(value) for text, value in good.items()}
    taken = []
    for value in [*bad, *NO_TEXTS, *(text + "\x00" for text in good), *(text.encode() for text in good), None]:
        try:
            taken.append((value, parse(value)))
        except GraphQLError:
            continue
    assert taken == []


@given(st.text() | st.text(string.digits + "+-.eE_ \n\uff11naif"))
def test_a_decimal_that_is_taken_is_written_as_it_was_read(text: str) -> None:
    try:
        value = parse_decimal(text)
    except GraphQLError:
        return
    assert value.is_finite()
    assert serialize_decimal(value) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**30), max_value=10**30))
def test_every_number_that_is_written_is_read_again(value: Decimal) -> None:
    assert repr(parse_decimal(serialize_decimal(value))) == repr(value)


@given(st.text() | st.text(string.digits + "+-:.TZtz \n", min_size=15, max_size=40))
def test_an_instant_that_is_taken_is_the_one_that_is_written(text: str) -> None:
    try:
        value = parse_date_time(text)
    except GraphQLError:
        return
    assert value.tzinfo is datetime.UTC
    assert parse_date_time(serialize_date_time(value)) == value


@given(st.datetimes(timezones=st.timezones() | st.none()))
def test_every_instant_that_is_written_is_read_again_in_utc(value: datetime.datetime) -> None:
    aware = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
    try:
        instant = aware.astimezone(datetime.UTC)
    except OverflowError:
        return  # beyond the years that there are
    text = serialize_date_time(aware)
    assert text.endswith("Z")
    assert parse_date_time(text) == instant


@given(st.uuids())
def test_every_uuid_is_read_in_its_canonical_form_alone(value: uuid.UUID) -> None:
    assert parse_uuid(str(value)) == value
    for other in (str(value).upper(), value.hex, value.urn, f"{{{value}}}"):
        if other != str(value):
            with pytest.raises(GraphQLError):
                parse_uuid(other)


# ---------------------------------------------------------------- over the API

INSTANT_OPERATION = "query {} {{ posts(filter: {{ createdAt: {{ gte: {} }} }}) {{ totalCount }} }}"
UUID_OPERATION = "query {} {{ transactionByIdempotencyKey(key: {}) {{ id }} }}"
CURRENCY_OPERATION = "mutation {} {{ openAccount(input: {{ currencyCode: {} }}) {{ account {{ id }} }} }}"
DECIMAL_OPERATION = (
    'mutation {} {{ deposit(input: {{ accountId: "account_1", amount: {}, '
    'idempotencyKey: "0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e" }}) {{ replayed }} }}'
)
SIGN_IN_FIRST = "sign in first: this needs an access token in the Authorization header"
WANTED = {
    "Decimal": 'should be a decimal number like "12.50": no exponent, no plus sign, no leading zero',
    "DateTime": "should be an RFC 3339 instant with an offset, for example 2026-11-22T09:30:00Z",
    "UUID": "should be a UUID in lower case, for example 0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e",
    "CurrencyCode": "should be an ISO 4217 code of three capital letters, for example EUR",
}


def literal(value: Any) -> str:
    """Write a JSON value as a GraphQL literal."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key}: {literal(one)}" for key, one in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


def to_sign_in(field: str) -> dict[str, Any]:
    error = {"message": SIGN_IN_FIRST, "path": [field], "extensions": {"code": "UNAUTHENTICATED"}}
    return {"data": None, "errors": [error]}


@pytest.mark.parametrize(
    ("scalar", "operation", "good", "bad", "answer"),
    [
        ("Decimal", DECIMAL_OPERATION, DECIMALS, NO_DECIMALS, to_sign_in("deposit")),
        ("DateTime", INSTANT_OPERATION, INSTANTS, NO_INSTANTS, {"data": {"posts": {"totalCount": 0}}}),
        ("UUID", UUID_OPERATION, UUIDS, NO_UUIDS, {"data": {"transactionByIdempotencyKey": None}}),
        ("CurrencyCode", CURRENCY_OPERATION, CURRENCY_CODES, NO_CURRENCY_CODES, to_sign_in("openAccount")),
    ],
    ids=["Decimal", "DateTime", "UUID", "CurrencyCode"],
)
async def test_a_variable_and_a_literal_get_the_same_answer(
    client: Client, scalar: str, operation: str, good: Mapping[str, object], bad: Sequence[str], answer: object
) -> None:
    by_variable = operation.format(f"($value: {scalar}!)", "$value")
    for value in good:
        answers = [await client.run(by_variable, value=value), await client.run(operation.format("", literal(value)))]
        assert [unlocated(body) for body in answers] == [answer] * 2, value
    for value in [*bad, *NO_TEXTS]:
        variable = await client.run(by_variable, value=value)
        written = await client.run(operation.format("", literal(value)))
        assert (list(variable), list(written)) == (["errors"], ["errors"]), value
        [wrong_variable], [wrong_literal] = variable["errors"], written["errors"]
        assert wrong_variable["message"] == f"Variable '$value' has invalid value: {wrong_literal['message']}"
        assert wrong_literal["message"].startswith(WANTED[scalar])
        assert wrong_literal["message"].endswith("as a string") == (not isinstance(value, str))
        assert wrong_variable["extensions"] == {"code": "BAD_USER_INPUT"}
        assert wrong_literal["extensions"] == {"code": "GRAPHQL_VALIDATION_FAILED"}
        assert wrong_literal["locations"] == [{"line": 1, "column": operation.format("", "\0").index("\0") + 1}]
