"""The scalars: they accept what their standard allows and write one form; variables and literals are read alike.

The operations that use them are chosen so that nothing happens: a filter, a lookup, and two mutations by an anonymous
caller, who is refused as not signed in once the arguments are valid.
"""

import datetime
import json
import re
import string
import time
import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from graphql import GraphQLError
from hypothesis import given
from hypothesis import strategies as st

from db.connections.leases import Driver
from graph.schema.scalars import (
    DATE_TIME_OUTPUT,
    parse_currency_code,
    parse_date_time,
    parse_decimal,
    parse_uuid,
    serialize_date_time,
    serialize_decimal,
)
from tests.graph.support.bank import Bank
from tests.graph.support.callers import Client, Person, SignUp
from tests.graph.support.refusals import unlocated
from tests.instants import (
    ARABIC_1,
    FULL_WIDTH_1,
    INSTANTS,
    NO_INSTANTS,
    NO_SUCH_INSTANT,
    NO_SUCH_INSTANTS,
    WANTED_INSTANT,
)

NO_TEXTS: list[Any] = [True, False, 0, 1, -1, 12.5, 2**63, [], {}, ["1"], {"value": "1"}]

# ---------------------------------------------------------------- valid values and their meaning

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

UUIDS = {
    text: uuid.UUID(text)
    for text in (
        "0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e",
        "0190A0B4-7D3C-7C1E-9F43-2F6B8A1C5D7E",
        "0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7E",
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "FFFFFFFF-ffff-FFFF-ffff-FFFFFFFFFFFF",
    )
}
NO_UUIDS = [
    "",
    "{0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e}",
    "urn:uuid:0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e",
    "URN:UUID:0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e",
    "0190a0b47d3c7c1e9f432f6b8a1c5d7e",
    "0190a0b4-7d3c7c1e-9f43-2f6b8a1c5d7e",
    "0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7",
    "0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e0",
    "g190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e",
    " 0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e",
    "0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e\n",
    f"{FULL_WIDTH_1}190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e",
    "0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7\uff25",
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
        (parse_date_time, INSTANTS, NO_INSTANTS + NO_SUCH_INSTANTS),
        (parse_uuid, UUIDS, NO_UUIDS),
        (parse_currency_code, CURRENCY_CODES, NO_CURRENCY_CODES),
    ],
    ids=["Decimal", "DateTime", "UUID", "CurrencyCode"],
)
def test_a_scalar_accepts_what_its_standard_allows_and_nothing_else(
    parse: Any, good: Mapping[str, object], bad: Sequence[str]
) -> None:
    # By their representations, because 12.5 and 12.50 are equal, and so are 0 and -0.
    assert {text: repr(parse(text)) for text in good} == {text: repr(value) for text, value in good.items()}
    taken = []
    for value in [*bad, *NO_TEXTS, *(text + "\x00" for text in good), *(text.encode() for text in good), None]:
        try:
            taken.append((value, parse(value)))
        except GraphQLError:
            continue
    assert taken == []


@given(st.text() | st.text(string.digits + "+-.eE_ \n\uff11naif"))
def test_an_accepted_decimal_is_written_as_it_was_read(text: str) -> None:
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
def test_an_accepted_instant_is_the_one_that_is_written(text: str) -> None:
    try:
        value = parse_date_time(text)
    except GraphQLError:
        return
    assert value.tzinfo is datetime.UTC
    assert parse_date_time(serialize_date_time(value)) == value


@given(st.datetimes(timezones=st.timezones() | st.none()))
def test_every_instant_is_written_with_six_digits_in_utc_and_read_again(value: datetime.datetime) -> None:
    aware = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
    try:
        instant = aware.astimezone(datetime.UTC)
    except OverflowError:
        return  # out of the range of years
    text = serialize_date_time(aware)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text, re.ASCII)
    assert parse_date_time(text) == instant


@given(st.datetimes(timezones=st.just(datetime.UTC) | st.timezones() | st.none()))
def test_generated_code_writes_an_instant_alike_or_leaves_it_to_the_scalar(value: datetime.datetime) -> None:
    test, text = (compile(one.replace("{v}", "v"), "<test>", "eval") for one in DATE_TIME_OUTPUT[:2])
    names = {**DATE_TIME_OUTPUT.names, "v": value}
    passes = eval(test, names)  # noqa: S307 - the expression of the scalar
    assert passes == (value.tzinfo is datetime.UTC)
    assert not passes or eval(text, names) == serialize_date_time(value)  # noqa: S307 - as above


@given(st.lists(st.datetimes(timezones=st.just(datetime.UTC)), min_size=2))
def test_the_order_of_written_instants_is_the_order_of_time(values: list[datetime.datetime]) -> None:
    assert sorted(map(serialize_date_time, values)) == list(map(serialize_date_time, sorted(values)))


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Pacific/Kiritimati"])
def test_an_infinity_of_postgresql_is_written_alike_in_every_zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # asyncpg returns both without a time zone.
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        earliest, latest = datetime.datetime.min, datetime.datetime.max  # noqa: DTZ901 - as asyncpg returns them
        written = [serialize_date_time(earliest), serialize_date_time(latest)]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert written == ["0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"]


@given(st.uuids())
def test_every_uuid_is_read_in_both_cases_and_written_in_lower_case(value: uuid.UUID) -> None:
    assert parse_uuid(str(value)) == parse_uuid(str(value).upper()) == value
    assert str(value) == str(value).lower()
    for other in (value.hex, value.urn, f"{{{value}}}"):
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
    "DateTime": WANTED_INSTANT,
    "UUID": "should be a UUID without braces or prefix, for example 0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e",
    "CurrencyCode": "should be an ISO 4217 code of three capital letters, for example EUR",
}


def message_for(scalar: str, value: object) -> str:
    """Return the message for a value that a scalar refuses."""
    if not isinstance(value, str):
        return f"{WANTED[scalar]}, as a string"
    return NO_SUCH_INSTANT if value in NO_SUCH_INSTANTS else WANTED[scalar]


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
        (
            "DateTime",
            INSTANT_OPERATION,
            INSTANTS,
            NO_INSTANTS + NO_SUCH_INSTANTS,
            {"data": {"posts": {"totalCount": 0}}},
        ),
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
        assert wrong_literal["message"] == message_for(scalar, value)
        assert wrong_variable["extensions"] == {"code": "BAD_USER_INPUT"}
        assert wrong_literal["extensions"] == {"code": "GRAPHQL_VALIDATION_FAILED"}
        assert wrong_literal["locations"] == [{"line": 1, "column": operation.format("", "\0").index("\0") + 1}]


# ---------------------------------------------------------------- output over HTTP

INSTANTS_WRITTEN = "query ($n: Int!) { users(first: $n, orderBy: [{field: CREATED_AT, direction: ASC}]) { nodes "
INSTANTS_WRITTEN += "{ username createdAt updatedAt } edges { node { createdAt } } } }"


async def test_instants_are_answered_with_six_digits_so_that_their_texts_are_in_order(
    client: Client, sign_up: SignUp, superuser: Driver
) -> None:
    instants = {
        "abe": ("2026-03-01T00:00:00.000000Z", "2026-03-01T00:00:00.000001Z"),
        "bea": ("2026-03-01T00:00:00.100000Z", "9999-12-31T23:59:59.999999Z"),
        "cid": ("2026-03-01T00:00:01.000000Z", "2026-03-01T00:00:01.000000Z"),
    }
    for username, set_to in instants.items():
        await sign_up(username)
        await superuser.execute(
            "UPDATE users SET created_at = $2, updated_at = $3 WHERE username = $1",
            username,
            *map(parse_date_time, set_to),
        )
    answer = (await client.data(INSTANTS_WRITTEN, n=3))["users"]
    assert {one["username"]: (one["createdAt"], one["updatedAt"]) for one in answer["nodes"]} == instants
    moments = [edge["node"]["createdAt"] for edge in answer["edges"]]
    assert moments == sorted(moments) == [created_at for created_at, _ in instants.values()]
    by_id = await client.data('{ userByUsername(username: "abe") { createdAt updatedAt } }')
    assert tuple(by_id["userByUsername"].values()) == instants["abe"]


async def test_an_idempotency_key_is_the_same_in_upper_case_and_returned_in_lower_case(bank: Bank, ida: Person) -> None:
    account = await bank.account(ida)
    key = "0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e"
    mutation = "mutation ($input: DepositInput!) { deposit(input: $input) { replayed transaction { id } } }"
    answers = [
        await bank.client.data(
            mutation, by=bank.admin, input={"accountId": account, "amount": "1.00", "idempotencyKey": sent}
        )
        for sent in (key.upper(), key)
    ]
    first, again = (answer["deposit"] for answer in answers)
    assert (first["replayed"], again["replayed"]) == (False, True)
    assert first["transaction"] == again["transaction"]
    found = "query ($key: UUID!) { transactionByIdempotencyKey(key: $key) { id } }"
    by_key = await bank.client.data(found, by=bank.admin, key=key.upper())
    assert by_key == {"transactionByIdempotencyKey": first["transaction"]}


# ---------------------------------------------------------------- the scalars of GraphQL itself

INT_QUERY = "query {} {{ posts(filter: {{ views: {{ gte: {} }} }}) {{ totalCount }} }}"
# The specification allows a variable to be an integer in any JSON notation, but not a literal (3.5.1).
INTS_AS_VARIABLES: list[Any] = [0, -1, 2**31 - 1, -(2**31), 1.0, -0.0]
NO_INTS: dict[Any, str] = {
    "1": "Int cannot represent non-integer value: ",
    1.5: "Int cannot represent non-integer value: ",
    True: "Int cannot represent non-integer value: ",
    2**31: "Int cannot represent non 32-bit signed integer value: ",
    -(2**31) - 1: "Int cannot represent non 32-bit signed integer value: ",
}


async def test_an_int_is_read_as_graphql_specifies_it(client: Client) -> None:
    by_variable = INT_QUERY.format("($value: Int!)", "$value")
    for value in INTS_AS_VARIABLES:
        assert await client.data(by_variable, value=value) == {"posts": {"totalCount": 0}}, value
    for value, message in NO_INTS.items():
        [variable] = (await client.run(by_variable, value=value))["errors"]
        [written] = (await client.run(INT_QUERY.format("", literal(value))))["errors"]
        assert variable["message"].startswith(f"Variable '$value' has invalid value: {message}")
        assert written["message"].startswith(message)
    [fraction] = (await client.run(INT_QUERY.format("", "1.0")))["errors"]
    assert fraction["message"] == "Int cannot represent non-integer value: 1.0"
