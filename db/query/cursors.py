"""Orders and cursors: a total order of a list, and an opaque text that identifies a position in it.

An order is a list of terms that always ends with the primary key, which breaks ties. A cursor contains only the
signature of its order and the values of its position. It is opaque by contract, not secret: a client that may see the
row has seen the values. A forged cursor is only another position, because the access conditions stand in the WHERE of
every page.
"""

import base64
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
# The longest title has 200 characters. JSON writes each as up to six bytes, which makes a cursor of some 1700.
CURSOR_LENGTH_MAX = 2048
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)


class CursorError(ValueError):
    """A text that is not a cursor of this list in this order. The message is for the client."""


class TermKind(Enum):
    """The type of an order term: how its values are encoded in a cursor, and their type in PostgreSQL."""

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
        """Return the value that `encode` received.

        Raises:
            CursorError: `value` cannot be a result of `encode`.
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


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity, because orders are looked up by their terms
class Term:
    """One term by which a list can be ordered.

    Attributes:
        name: the column that a select must return so that a cursor can be made of a row.
        expression: the SQL expression that is compared; never null.
        kind: the type of its values.
        key: computes the compared value from the column's value, if the expression is not the bare column.
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
    """A total order of one list: terms with directions, with the primary key as the last term.

    Attributes:
        columns: the columns that a page must contain.
    """

    def __init__(self, list_name: str, terms: Sequence[tuple[Term, bool]]) -> None:
        """Create an order of `terms`, each with whether it descends. Cursors of another `list_name` are invalid."""
        self.terms = tuple(terms)
        self.columns = tuple(term.name for term, _ in self.terms)
        words = [list_name, *(f"{term.name}{'-' if descending else '+'}" for term, descending in self.terms)]
        self._general: Order | None = None
        self.signature = signature_of(*words)

    @property
    def general(self) -> "Order":
        """The order whose statements this one shares: itself, unless it is bound to a search."""
        return self._general or self

    def bound_to(self, search: str) -> "Order":
        """Return this order bound to the search that its terms depend on. It refuses cursors of other searches."""
        bound = copy(self)
        bound._general = self.general  # noqa: SLF001 - an instance of the same class
        bound.signature = signature_of(str(self.signature), search)
        return bound

    def cursor(self, row: Row) -> str:
        """Return the cursor of `row`."""
        return self._encode([term.kind.encode(term.value(row)) for term, _ in self.terms])

    def position(self, cursor: str) -> tuple[object, ...]:
        """Return the position that `cursor` identifies in this order.

        Raises:
            CursorError: it is not a cursor of this order. The message says what to pass instead.
        """
        position: list[object] = []
        try:
            _, *values = decoded_cursor(cursor)
            for (term, _), value in zip(self.terms, values, strict=True):
                position.append(term.kind.decode(value))
            # The signature and the spelling must match exactly. A lenient decoder would accept texts that no list
            # returned.
            if self._encode(values) == cursor:
                return tuple(position)
        except ValueError:  # also of `decoded_cursor` and `decode`
            pass
        raise CursorError(
            "not a cursor of this list in this order; pass an endCursor, startCursor or edge cursor "
            "that the same list returned for the same orderBy"
        )

    def _encode(self, values: Sequence[int | str]) -> str:
        return encoded_cursor([self.signature, *values])


def encoded_cursor(parts: Sequence[int | str]) -> str:
    """Return the cursor with these parts."""
    return base64.urlsafe_b64encode(orjson.dumps(parts)).rstrip(b"=").decode()


def decoded_cursor(cursor: str) -> list[Any]:
    """Return the parts of a cursor. Encode them again and compare: other texts may have the same parts.

    Raises:
        ValueError: it has no parts. `CursorError` is one.
    """
    if not cursor or len(cursor) > CURSOR_LENGTH_MAX or not cursor.isascii():
        raise CursorError
    parts = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    if type(parts) is not list or not parts:
        raise CursorError
    return parts


def signature_of(*words: str) -> int:
    """Return a short digest of words that say to what a cursor belongs."""
    return int.from_bytes(hashlib.blake2s(" ".join(words).encode(), digest_size=3).digest())
