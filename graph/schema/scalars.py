"""The custom scalars of the contract. They read every form that their standard allows, and write one form.

DateTime accepts every form of RFC 3339, and UUID both cases of RFC 9562. ISO 4217 has only capital letters. Decimal has
no standard: the contract excludes exponents and plus signs, so that the form is the one that libraries for decimal
numbers write. Strawberry's scalars would accept NaN, Infinity, exponents and full-width digits for a Decimal, and
instants without a time zone for a DateTime.
"""

import datetime
import re
import uuid
from decimal import Decimal
from typing import Any, NewType

import strawberry
from graphql import GraphQLError, StringValueNode, ValueNode

from db.instants import INSTANT_WANTED, parse_instant, write_instant
from graph.execution import InlineOutput

DECIMAL_LENGTH_MAX = 40

CurrencyCode = NewType("CurrencyCode", str)

_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_CURRENCY_CODE = re.compile(r"[A-Z]{3}", re.ASCII)


def _malformed(value: object, wanted: str) -> GraphQLError:
    return GraphQLError(wanted if isinstance(value, str) else f"{wanted}, as a string")


def parse_date_time(value: object) -> datetime.datetime:
    """Parse an RFC 3339 instant with any offset, and return it in UTC."""
    if not isinstance(value, str):
        raise _malformed(value, INSTANT_WANTED)
    try:
        return parse_instant(value)
    except ValueError as error:
        raise GraphQLError(str(error)) from None


serialize_date_time = write_instant


DATE_TIME_OUTPUT = InlineOutput(
    "type({v}) is datetime and {v}.tzinfo is UTC",
    "{v}.isoformat(timespec='microseconds')[:26] + 'Z'",
    {"datetime": datetime.datetime, "UTC": datetime.UTC},
)
"""`serialize_date_time` for the values that PostgreSQL's driver returns, but for infinities: they are in UTC."""


def parse_decimal(value: object) -> Decimal:
    """Parse a finite base-10 number from its plain notation."""
    wanted = 'should be a decimal number like "12.50": no exponent, no plus sign, no leading zero'
    if not isinstance(value, str) or len(value) > DECIMAL_LENGTH_MAX or not _DECIMAL.fullmatch(value):
        raise _malformed(value, wanted)
    return Decimal(value)


def serialize_decimal(value: Decimal) -> str:
    """Return the plain notation of a number, with all of its fraction digits."""
    return format(value, "f")


def parse_uuid(value: object) -> uuid.UUID:
    """Parse a UUID from its text of RFC 9562, section 4, in either case; braces and `urn:uuid:` are not part of it."""
    wanted = "should be a UUID without braces or prefix, for example 0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e"
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise _malformed(value, wanted)
    return uuid.UUID(value)


def parse_currency_code(value: object) -> str:
    """Parse the shape of an ISO 4217 code. The operation checks whether the currency exists."""
    wanted = "should be an ISO 4217 code of three capital letters, for example EUR"
    if not isinstance(value, str) or not _CURRENCY_CODE.fullmatch(value):
        raise _malformed(value, wanted)
    return value


def _string_literal(parse: Any) -> Any:
    def parse_literal(node: ValueNode, variables: dict[str, Any] | None = None) -> Any:
        # A number in the query text is refused like one in the variables: "12.50" and 12.50 are not the same.
        try:
            return parse(node.value if isinstance(node, StringValueNode) else None)
        except GraphQLError as error:
            raise GraphQLError(error.message, node) from None  # with the position in the text

    return parse_literal


SCALARS: dict[object, Any] = {
    datetime.datetime: strawberry.scalar(
        name="DateTime",
        description=(
            "An instant in UTC, RFC 3339, for example 2026-11-22T09:30:00Z. Responses always have six "
            "fraction digits and `Z`, so that the texts sort by time. Inputs accept every form of RFC 3339 "
            "with a time zone: any offset, `t` and `z` in either case, a space instead of the `T`, and any "
            "number of fraction digits. Digits beyond microseconds are cut off. A leap second at the end of a "
            "month is read as the first second of the next month."
        ),
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
        serialize=serialize_date_time,
        parse_value=parse_date_time,
        parse_literal=_string_literal(parse_date_time),
    ),
    Decimal: strawberry.scalar(
        name="Decimal",
        description=(
            'A finite base-10 number, always a JSON string, for example "12.50". '
            "Never a float; no exponent, sign of plus, NaN or Infinity. "
            f"At most {DECIMAL_LENGTH_MAX} characters."
        ),
        serialize=serialize_decimal,
        parse_value=parse_decimal,
        parse_literal=_string_literal(parse_decimal),
    ),
    uuid.UUID: strawberry.scalar(
        name="UUID",
        description=(
            "RFC 9562 UUID, in its canonical lower-case form. Inputs also accept capital letters, as the RFC "
            "requires. Braces, `urn:uuid:` and a form without hyphens are refused."
        ),
        specified_by_url="https://www.rfc-editor.org/rfc/rfc9562",
        serialize=str,
        parse_value=parse_uuid,
        parse_literal=_string_literal(parse_uuid),
    ),
    CurrencyCode: strawberry.scalar(
        name="CurrencyCode",
        description=(
            "ISO 4217 alphabetic code, for example EUR. Its minor-unit exponent bounds the fraction digits of "
            "an amount. The code has three capital letters."
        ),
        serialize=str,
        parse_value=parse_currency_code,
        parse_literal=_string_literal(parse_currency_code),
    ),
}
