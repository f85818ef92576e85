"""Orders and cursors: a total order of a list, and the opaque name of a position in it.

An order is a list of terms and always ends with the primary key, which breaks ties. A cursor carries the order it
was made in and the position's values, no more. It is opaque by contract, not secret: whoever may see the row has
seen the values, and a forged one is only a position; the rights stand in the WHERE of every page.
"""

import base64
import binascii
import datetime
import hashlib
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson
from sqlalchemy import TIMESTAMP, BigInteger, SQLColumnExpression, Text
from sqlalchemy.types import TypeEngine

from db.connections.statements import Row

BIGINT_MAX = 2**63 - 1
# The longest title, 200 characters of which JSON writes six bytes each, makes a cursor of some 1700.
CURSOR_LENGTH_MAX = 2048
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)


class CursorError(ValueError):
    """A cursor that was not made by this order of this list. The message is for the client."""


class TermKind(Enum):
    """The type of an order term: how a value of it travels in a cursor, and what PostgreSQL calls it."""

    INTEGER = "integer"
    TEXT = "text"
    INSTANT = "instant"

    @property
    def sql_type(self) -> TypeEngine[Any]:
        """The SQLAlchemy type of a parameter of this kind."""
        types: dict[TermKind, TypeEngine[Any]] = {
            TermKind.INTEGER: BigInteger(),
            TermKind.TEXT: Text(),
            TermKind.INSTANT: TIMESTAMP(timezone=True),
        }
        return types[self]

    def encode(self, value: Any) -> int | str:
        """Return the JSON form of `value`: an instant becomes whole microseconds since 1970."""
        encoded: int | str = (value - _EPOCH) // _MICROSECOND if self is TermKind.INSTANT else value
        return encoded

    def decode(self, value: object) -> object:
        """Return what `encode` was given.

        Raises:
            CursorError: `value` cannot come from `encode`.
        """
        expected = str if self is TermKind.TEXT else int
        if type(value) is not expected:
            raise CursorError
        if self is TermKind.TEXT:
            if "\x00" in str(value):
                raise CursorError
            return value
        assert isinstance(value, int)
        if not -BIGINT_MAX <= value <= BIGINT_MAX:
            raise CursorError
        if self is TermKind.INTEGER:
            return value
        try:
            return _EPOCH + value * _MICROSECOND
        except OverflowError:
            raise CursorError from None


@dataclass(frozen=True, slots=True, eq=False)  # each is itself alone: orders are looked up by their terms
class Term:
    """One term that a list can be ordered by.

    Attributes:
        name: the column that a select must carry so that a cursor can be made of a row.
        expression: what is compared in SQL; never null.
        kind: its type.
        key: how the compared value follows from the column's, for an expression that is not the bare column.
    """

    name: str
    expression: SQLColumnExpression[Any]
    kind: TermKind
    key: Callable[[Any], Any] | None = None

    def value(self, row: Row) -> Any:
        """Return the value of this term in `row`."""
        value = row[self.name]
        return value if self.key is None else self.key(value)


class Order:
    """A total order of one list: terms with directions, the primary key last.

    Attributes:
        columns: the columns that a page must carry.
    """

    def __init__(self, list_name: str, terms: Sequence[tuple[Term, bool]]) -> None:
        """Make the order `terms`, each with whether it descends; `list_name` keeps cursors of other lists out."""
        self.terms = tuple(terms)
        self.columns = tuple(term.name for term, _ in self.terms)
        words = [list_name, *(f"{term.name}{'-' if descending else '+'}" for term, descending in self.terms)]
        self._general: Order | None = None
        self.signature = _signature(*words)

    @property
    def general(self) -> "Order":
        """The order whose statements this one shares: itself, unless it is bound to a search."""
        return self._general or self

    def bound_to(self, search: str) -> "Order":
        """Return this order for one search, by which its terms are computed: it refuses cursors of other searches."""
        bound = copy(self)
        bound._general = self.general  # noqa: SLF001 - of its own class
        bound.signature = _signature(str(self.signature), search)
        return bound

    def cursor(self, row: Row) -> str:
        """Return the cursor of `row`."""
        return self._spelled([term.kind.encode(term.value(row)) for term, _ in self.terms])

    def position(self, cursor: str) -> tuple[object, ...]:
        """Return the position that `cursor` names in this order.

        Raises:
            CursorError: it is no cursor of this order. The message says what would be one.
        """
        try:
            return self._parse(cursor)
        except (CursorError, ValueError, binascii.Error):
            raise CursorError(
                "not a cursor of this list in this order; give back an endCursor, startCursor or edge cursor "
                "that the same list has answered under the same orderBy"
            ) from None

    def _parse(self, cursor: str) -> tuple[object, ...]:
        if not cursor or len(cursor) > CURSOR_LENGTH_MAX or not cursor.isascii():
            raise CursorError
        decoded = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        parts = orjson.loads(decoded)
        if type(parts) is not list:
            raise CursorError
        values = parts[1:]
        position = tuple(term.kind.decode(value) for (term, _), value in zip(self.terms, values, strict=True))
        # This order's signature and one spelling only: what decodes leniently is not what was given out.
        if self._spelled(values) != cursor:
            raise CursorError
        return position

    def _spelled(self, values: Sequence[int | str]) -> str:
        return base64.urlsafe_b64encode(orjson.dumps([self.signature, *values])).rstrip(b"=").decode()


def _signature(*words: str) -> int:
    return int.from_bytes(hashlib.blake2s(" ".join(words).encode(), digest_size=3).digest())
