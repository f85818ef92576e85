"""Cursors: those that the server issued are read exactly; all others are refused with one message."""

import base64
import datetime
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import SQLColumnExpression, literal_column

from db.connections.leases import Driver
from db.fields import TITLE
from db.models.posts import VIEWS_MAX
from db.query import cursors
from db.query.cursors import CursorError, Order, Term, TermKind
from db.repositories import posts, users
from tests.running.amounts import examples

REFUSED = (
    "not a cursor of this list in this order; pass an endCursor, startCursor or edge cursor that the same list "
    "returned for the same orderBy"
)


def term(name: str, kind: TermKind, key: Callable[[Any], Any] | None = None) -> Term:
    expression: SQLColumnExpression[Any] = literal_column(name)
    return Term(name, expression, kind, key)


BIGINTS = st.integers(-cursors.BIGINT_MAX, cursors.BIGINT_MAX)
INSTANTS = st.datetimes(timezones=st.just(datetime.UTC))
# Any text that PostgreSQL can hold: every character except NUL and single surrogates.
TITLES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=TITLE.length_max)

ID = term("id", TermKind.INTEGER)
BY_KIND = {kind: Order("things", [(term("value", kind), True), (ID, False)]) for kind in TermKind}
BY_ID = Order("things", [(ID, False)])
EVERY_KIND = Order("things", [*((term(kind.value, kind), True) for kind in TermKind), (ID, True)])


def encoded(*parts: object) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(parts)).rstrip(b"=").decode()


def answer(order: Order, cursor: str) -> tuple[object, ...] | str:
    """Return the position, or the message of the refusal; any other exception is a bug."""
    try:
        return order.position(cursor)
    except CursorError as error:
        return str(error)


def assert_refused(order: Order, cursor: str) -> None:
    assert answer(order, cursor) == REFUSED


def assert_refused_or_issued(order: Order, cursor: str) -> None:
    """Assert that an accepted cursor is, letter by letter, the one that its position has."""
    position = answer(order, cursor)
    if isinstance(position, tuple):
        values = [one.kind.encode(value) for (one, _), value in zip(order.terms, position, strict=True)]
        assert encoded(order.signature, *values) == cursor
    else:
        assert position == REFUSED


@settings(max_examples=examples(50))
@given(title=TITLES, views=BIGINTS, created_at=INSTANTS, row_id=BIGINTS)
async def test_position_of_a_cursor_is_its_row(
    superuser: Driver, title: str, views: int, created_at: datetime.datetime, row_id: int
) -> None:
    row = await superuser.fetchrow(
        "SELECT $1::text AS text, $2::bigint AS integer, $3::timestamptz AS instant, $4::bigint AS id",
        *(title, views, created_at, row_id),
    )
    assert row is not None
    position = EVERY_KIND.position(EVERY_KIND.cursor(row))
    assert dict(zip(EVERY_KIND.columns, position, strict=True)) == dict(row)


async def test_longest_title_has_a_cursor(superuser: Driver) -> None:
    order = Order("posts", [(posts.TITLE, True), (posts.CREATED_AT, True), (posts.VIEWS, True), (posts.ID, True)])
    for character in ("\x01", '"', "€", "\U0001f600"):
        title = character * TITLE.length_max
        row = await superuser.fetchrow(
            "SELECT sort_key($1) AS title_key, clock_timestamp() AS created_at, $2::bigint AS views, $3::bigint AS id",
            *(title, VIEWS_MAX, cursors.BIGINT_MAX),
        )
        assert row is not None
        assert order.position(order.cursor(row)) == tuple(row)


async def test_cursor_carries_the_compared_value_not_the_column(superuser: Driver) -> None:
    order = Order("users", [(users.USERNAME, False), (users.ID, False)])
    row = await superuser.fetchrow("SELECT 'Ada'::text AS username, 7::bigint AS id")
    assert row is not None
    assert order.position(order.cursor(row)) == ("ada", 7)


def test_cursor_is_short_and_the_same_in_every_process() -> None:
    assert encoded(BY_ID.signature, 1234) == "WzYwNTE0OCwxMjM0XQ"


@given(cursor=st.text(st.characters(exclude_categories=[])) | st.text("abcdeWzM0-_=+/ \n[]", max_size=40))
def test_any_text_is_refused(cursor: str) -> None:
    assert_refused(BY_ID, cursor)


@given(data=st.data(), kind=st.sampled_from(TermKind))
def test_altered_cursor_is_refused_or_another_position(data: st.DataObject, kind: TermKind) -> None:
    order = BY_KIND[kind]
    value = data.draw({TermKind.INTEGER: BIGINTS, TermKind.TEXT: TITLES, TermKind.INSTANT: INSTANTS}[kind])
    cursor = encoded(order.signature, kind.encode(value), data.draw(BIGINTS))
    start = data.draw(st.integers(0, len(cursor)))
    end = data.draw(st.integers(start, min(start + 3, len(cursor))))
    put_in = data.draw(st.text("ABab019-_=+/é\0", max_size=3))
    assert_refused_or_issued(order, cursor[:start] + put_in + cursor[end:])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(value=JSON, row_id=JSON, kind=st.sampled_from(TermKind))
def test_values_of_other_types_are_refused(value: object, row_id: object, kind: TermKind) -> None:
    try:
        cursor = encoded(BY_KIND[kind].signature, value, row_id)
    except orjson.JSONEncodeError:
        return
    assert_refused_or_issued(BY_KIND[kind], cursor)


def _refused_cursors() -> dict[str, str]:
    ours = BY_ID.signature
    valid = encoded(ours, 1234)
    nested = b"[" + str(ours).encode() + b"," + b"[" * 300 + b"]" * 300 + b"]"
    return {
        "empty": "",
        "padded": valid + "=",
        "of the other alphabet": base64.b64encode(orjson.dumps([ours, "\x7f?~?>"])).decode().rstrip("="),
        "with a newline": valid + "\n",
        "in full-width letters": "".join(chr(ord(letter) + 0xFEE0) for letter in valid),
        "cut": valid[:-1],
        "with loose bits": valid[:-1] + chr(ord(valid[-1]) + 1),
        "with spaces in its JSON": base64.urlsafe_b64encode(f"[{ours}, 1234]".encode()).decode().rstrip("="),
        "no JSON": base64.urlsafe_b64encode(b"folio").decode().rstrip("="),
        "no list": base64.urlsafe_b64encode(b"{}").decode().rstrip("="),
        "the empty list": encoded(),
        "without its position": encoded(ours),
        "with one value too many": encoded(ours, 1234, 1234),
        "with a real number for the signature": encoded(float(ours), 1234),
        "with a text for the signature": encoded(str(ours), 1234),
        "with a real number": encoded(ours, 1234.0),
        "with a truth value": encoded(ours, True),
        "with null": encoded(ours, None),
        "beyond bigint": encoded(ours, 2**63),
        "beyond all integers": base64.urlsafe_b64encode(f"[{ours},{10**30}]".encode()).decode().rstrip("="),
        "with Infinity": base64.urlsafe_b64encode(f"[{ours},1e999]".encode()).decode().rstrip("="),
        "nested": base64.urlsafe_b64encode(nested).decode().rstrip("="),
    }


@pytest.mark.parametrize("cursor", [pytest.param(cursor, id=name) for name, cursor in _refused_cursors().items()])
def test_cursor_of_another_spelling_is_refused(cursor: str) -> None:
    assert_refused(BY_ID, cursor)


def test_cursor_longer_than_any_that_is_issued_is_refused() -> None:
    order = BY_KIND[TermKind.TEXT]
    longest = encoded(order.signature, "a" * 1521, 1)
    assert len(longest) == cursors.CURSOR_LENGTH_MAX
    assert answer(order, longest) == ("a" * 1521, 1)
    assert_refused(order, encoded(order.signature, "a" * 1522, 1))


@pytest.mark.parametrize("escape", [r"\u0000", r"a\u0000", r"\udc00", r"\ud800a"])
def test_text_that_postgresql_cannot_hold_is_refused(escape: str) -> None:
    order = BY_KIND[TermKind.TEXT]
    parts = f'[{order.signature},"{escape}",1]'
    assert_refused(order, base64.urlsafe_b64encode(parts.encode()).decode().rstrip("="))


@pytest.mark.parametrize("microseconds", [2**63 - 1, -(2**63) + 1, 253402300800000000, -62135596800000001])
def test_instant_beyond_the_range_of_datetime_is_refused(microseconds: int) -> None:
    assert_refused(BY_KIND[TermKind.INSTANT], encoded(BY_KIND[TermKind.INSTANT].signature, microseconds, 1))


def test_cursor_of_another_list_is_refused() -> None:
    assert_refused(Order("other things", [(ID, False)]), encoded(BY_ID.signature, 1234))


def test_cursor_of_another_direction_is_refused() -> None:
    assert_refused(Order("things", [(ID, True)]), encoded(BY_ID.signature, 1234))


def test_cursor_of_another_order_is_refused() -> None:
    one, other = term("views", TermKind.INTEGER), term("likes", TermKind.INTEGER)
    by_one, by_other = Order("things", [(one, True), (ID, True)]), Order("things", [(other, True), (ID, True)])
    assert_refused(by_other, encoded(by_one.signature, 5, 1234))


def test_same_order_made_twice_takes_the_same_cursors() -> None:
    assert Order("things", [(ID, False)]).position(encoded(BY_ID.signature, 1234)) == (1234,)
