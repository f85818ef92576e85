"""The custom scalars of the contract, strict both ways: one spelling in, the same spelling out.

Strawberry's own would take NaN, Infinity, exponents and full-width digits for a Decimal, and any instant without a time
zone for a DateTime.
"""

import datetime
import re
import uuid
from decimal import Decimal
from typing import Any, NewType

import strawberry
from graphql import GraphQLError, StringValueNode, ValueNode

DECIMAL_LENGTH_MAX = 40

CurrencyCode = NewType("CurrencyCode", str)

_DATE_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)", re.ASCII)
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_CURRENCY_CODE = re.compile(r"[A-Z]{3}", re.ASCII)


def _text(value: object, wanted: str) -> str:
    if not isinstance(value, str):
        raise GraphQLError(f"{wanted}, as a string")
    return value


def parse_date_time(value: object) -> datetime.datetime:
    """Parse an RFC 3339 instant; it may carry any offset and comes out in UTC."""
    wanted = "should be an RFC 3339 instant with an offset, for example 2026-11-22T09:30:00Z"
    text = _text(value, wanted)
    if not _DATE_TIME.fullmatch(text):
        raise GraphQLError(wanted)
    try:
        return datetime.datetime.fromisoformat(text).astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        raise GraphQLError(f"{wanted}; there is no such instant") from None


def serialize_date_time(value: datetime.datetime) -> str:
    """Write an instant in UTC with `Z`, with microseconds where it has any."""
    return value.astimezone(datetime.UTC).isoformat().removesuffix("+00:00") + "Z"


def parse_decimal(value: object) -> Decimal:
    """Parse a finite base-10 number from its plain notation."""
    wanted = 'should be a decimal number like "12.50": no exponent, no plus sign, no leading zero'
    text = _text(value, wanted)
    if len(text) > DECIMAL_LENGTH_MAX or not _DECIMAL.fullmatch(text):
        raise GraphQLError(wanted)
    return Decimal(text)


def serialize_decimal(value: Decimal) -> str:
    """Write a number in its plain notation, with the fraction digits that it has."""
    return format(value, "f")


def parse_uuid(value: object) -> uuid.UUID:
    """Parse a UUID from its canonical lower-case form (RFC 9562, section 4)."""
    wanted = "should be a UUID in lower case, for example 0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e"
    text = _text(value, wanted)
    if not _UUID.fullmatch(text):
        raise GraphQLError(wanted)
    return uuid.UUID(text)


def parse_currency_code(value: object) -> str:
    """Parse the shape of an ISO 4217 code. Whether there is such a currency is the operation's to say."""
    wanted = "should be an ISO 4217 code of three capital letters, for example EUR"
    text = _text(value, wanted)
    if not _CURRENCY_CODE.fullmatch(text):
        raise GraphQLError(wanted)
    return text


def _string_literal(parse: Any) -> Any:
    def parse_literal(node: ValueNode, variables: dict[str, Any] | None = None) -> Any:
        # A number in the query text is refused like one in the variables: "12.50" and 12.50 are not the same.
        try:
            return parse(node.value if isinstance(node, StringValueNode) else None)
        except GraphQLError as error:
            raise GraphQLError(error.message, node) from None  # now it says where in the text

    return parse_literal


SCALARS: dict[object, Any] = {
    datetime.datetime: strawberry.scalar(
        name="DateTime",
        description="An instant in UTC, RFC 3339, for example 2026-11-22T09:30:00Z.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
        serialize=serialize_date_time,
        parse_value=parse_date_time,
        parse_literal=_string_literal(parse_date_time),
    ),
    Decimal: strawberry.scalar(
        name="Decimal",
        description=(
            'A finite base-10 number, always a JSON string, for example "12.50". '
            "Never a float; no exponent, sign of plus, NaN or Infinity."
        ),
        serialize=serialize_decimal,
        parse_value=parse_decimal,
        parse_literal=_string_literal(parse_decimal),
    ),
    uuid.UUID: strawberry.scalar(
        name="UUID",
        description="RFC 9562 UUID, in its canonical lower-case form.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc9562",
        serialize=str,
        parse_value=parse_uuid,
        parse_literal=_string_literal(parse_uuid),
    ),
    CurrencyCode: strawberry.scalar(
        name="CurrencyCode",
        description=(
            "ISO 4217 alphabetic code, for example EUR. "
            "Its minor-unit exponent bounds the fraction digits of an amount."
        ),
        serialize=str,
        parse_value=parse_currency_code,
        parse_literal=_string_literal(parse_currency_code),
    ),
}
