"""The lines of `db.bulk.jsonlines`: which tables have them, and the fields of a line, each with its check.

Invariant: a value that passes these checks is accepted by the tables, and by the API. Rules of `db.fields` and
`db.repositories.checks` are applied, not written again. `db.bulk.line_batches` checks taken names and unknown authors.

To export and import another table, add a `RowKind` to `ROW_KINDS`. The rest follows from its columns.
"""

import datetime
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from sqlalchemy import TIMESTAMP, Boolean, Column, DefaultClause, TextClause

from db.errors import Refusal
from db.fields import HASHED_PASSWORD, STORED, USERNAME
from db.instants import parse_instant
from db.models.base import Model, stored_columns
from db.models.comments import Comment
from db.models.posts import VIEWS_MAX, Post
from db.models.users import Profile, User
from db.repositories import checks

# The longest post fits even if each of its characters is written as two escapes, which are twelve bytes.
LINE_BYTES_MAX = 1_572_864
# The hash of no password: the user can sign in only after a password is set.
UNUSABLE_PASSWORD = "!"  # noqa: S105 - that is its point


class LineError(Exception):
    """A line that cannot be imported. Nothing of the file was imported.

    Attributes:
        field: the invalid field, as `profile.bio` within the profile; None if the whole line is invalid.
        message: the requirement that the line does not meet.
    """

    def __init__(self, number: int, field: str | None, message: str) -> None:
        super().__init__(f"line {number}: {message}" if field is None else f'line {number}: field "{field}": {message}')
        self.number = number
        self.field = field
        self.message = message


class UserLine(NamedTuple):
    """A line with a user: values by the name of the column. Missing instants are None."""

    number: int
    values: dict[str, Any]
    profile: dict[str, Any] | None


class RowLine(NamedTuple):
    """A line with a row of another table, and its author's username: values by the name of the column, as for a user.

    It belongs to the nearest earlier row of its kind's parent. The author is None if the table has none.
    """

    number: int
    kind: "RowKind"
    author: str | None
    values: dict[str, Any]


def parse_line(number: int, line: bytes) -> UserLine | RowLine:
    """Return the user, or the row of another table, on line `number`.

    Raises:
        LineError: the line is too long, not a JSON object, of an unknown type, or has an invalid field.
    """
    if len(line) > LINE_BYTES_MAX:
        raise LineError(number, None, f"is longer than {LINE_BYTES_MAX} bytes")
    try:
        given = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise LineError(number, None, f"is not JSON: {error.msg}, at column {error.colno}") from None
    if not isinstance(given, dict):
        raise LineError(number, None, f"should be an object, not {_kind(given)}")
    try:
        kind = _KINDS.get(_value("type", _TYPE, given.pop("type", _ABSENT)))
        if kind is None:
            values = _values(_USER, given)
            return UserLine(number, values, values.pop("profile"))
        values = _values(kind.fields, given)
        return RowLine(number, kind, values.pop("author", None), values)
    except _FieldError as error:
        raise LineError(number, error.field, error.message) from None


# ---------------------------------------------------------------- checks


class _FieldError(Exception):
    def __init__(self, message: str, field: str = "") -> None:
        self.field = field
        self.message = message


_ABSENT = object()
_Check = Callable[[object], Any]


class LineField(NamedTuple):
    """A field of a line.

    Attributes:
        column: the column that stores it; if there is none, the field's name in a line.
        check: returns the value as the column stores it.
        default: the value for a line without the field; if there is none, every line must have the field.
    """

    column: str
    check: _Check
    default: object = _ABSENT


def _values(fields: Mapping[str, LineField], given: Mapping[str, object]) -> dict[str, Any]:
    """Return the checked values of all `fields`, by their columns."""
    for name in given:
        if name not in fields:
            raise _FieldError(f"is not known here; known are {', '.join(fields)}", name)
    return {field.column: _value(name, field, given.get(name, _ABSENT)) for name, field in fields.items()}


def _value(name: str, field: LineField, value: object) -> Any:
    if value is _ABSENT and field.default is _ABSENT:
        raise _FieldError("is missing", name)
    try:
        return field.default if value is _ABSENT else field.check(value)
    except _FieldError as error:
        raise _FieldError(error.message, f"{name}.{error.field}" if error.field else name) from None


def _kind(value: object) -> str:
    # bool is listed as well, because in Python it is a subclass of int.
    kinds = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return kinds.get(type(value), "null")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _FieldError(f"should be a string, not {_kind(value)}")
    if "\0" in value:
        raise _FieldError("should not contain U+0000, which PostgreSQL cannot store")
    return value


def _checked(faults: Callable[[str], Sequence[Refusal]]) -> Callable[[object], str]:
    def check(value: object) -> str:
        text = _text(value)
        for fault in faults(text):
            raise _FieldError(fault.message)
        return text

    return check


def _word(*words: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if not (isinstance(value, str) and value in words):
            raise _FieldError(f"should be {' or '.join(map(repr, words))}".replace("'", '"'))
        return value

    return check


def _nullable(check: _Check) -> _Check:
    return lambda value: None if value is None else check(value)


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise _FieldError(f"should be true or false, not {_kind(value)}")
    return value


def _views(value: object) -> int:
    # orjson parses an integer of more than 64 bits as a float.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _FieldError(f"should be a whole number, not {_kind(value)}")
    if isinstance(value, float) or not 0 <= value <= VIEWS_MAX:
        raise _FieldError(f"should be a whole number from 0 to {VIEWS_MAX}")
    return value


def _email(value: object) -> str:
    try:
        return checks.normal_email(_text(value))
    except Refusal as refusal:
        raise _FieldError(refusal.message) from None


def _hashed_password(value: object) -> str:
    hashed = _text(value)
    if HASHED_PASSWORD.check(hashed):
        raise _FieldError(f"should have {HASHED_PASSWORD.limit}")
    return hashed


def _instant(value: object) -> datetime.datetime:
    try:
        return parse_instant(_text(value))
    except ValueError as error:
        raise _FieldError(str(error)) from None


# ---------------------------------------------------------------- fields, as the tables have them

# Checks that do not follow from the type of a column, by `table.column`.
_CHECKS: Mapping[str, _Check] = {
    "users.email": _email,
    "users.role": _word("member", "admin"),
    "posts.views": _views,
}


def _check_of(column: Column[Any]) -> _Check:
    name = str(column)
    if name in _CHECKS:
        return _CHECKS[name]
    if isinstance(column.type, Boolean):
        return _boolean
    if isinstance(column.type, TIMESTAMP):
        return _instant
    if name not in STORED:
        raise LookupError(
            f"no check for {name} in a line: declare a TextField in db/fields.py if it is a text, add it to _CHECKS of "
            "db/bulk/line_fields.py, or exclude it with line_fields(…, without=…)"
        )
    check = _checked(STORED[name].check)
    return _nullable(check) if column.nullable else check


def _default_of(column: Column[Any]) -> object:
    """Return the column's default; None for an instant, whose default is the time of the import."""
    if isinstance(column.server_default, DefaultClause):
        default = column.server_default.arg
        if isinstance(default, str):
            return default
        return orjson.loads(default.text) if isinstance(default, TextClause) else None
    return None if column.nullable else _ABSENT


def line_fields(model: type[Model], *, without: Collection[str] = ()) -> dict[str, LineField]:
    """Return the fields of a line for the columns of a table, by the name of the field and in the table's order.

    `without` names columns that belong to one database, such as ids, or have another form in a line.

    Raises:
        LookupError: a column has no check.
    """
    columns = model.metadata.tables[model.__tablename__].columns
    return {
        _in_json(name): LineField(name, _check_of(columns[name]), _default_of(columns[name]))
        for name in stored_columns(model, without=without)
    }


def _in_json(column: str) -> str:
    first, *others = column.split("_")
    return first + "".join(map(str.capitalize, others))


def _profile(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _FieldError(f"should be an object or null, not {_kind(value)}")
    return _values(PROFILE_FIELDS, value)


USER_FIELDS = line_fields(User, without=("id", "hashed_password", "version"))
PROFILE_FIELDS = line_fields(Profile, without=("user_id",))
_USER = {
    **USER_FIELDS,
    "hashedPassword": LineField("hashed_password", _hashed_password, UNUSABLE_PASSWORD),
    "profile": LineField("profile", _nullable(_profile), None),
}
_AUTHOR = {"author": LineField("author", _checked(USERNAME.check))}


# ---------------------------------------------------------------- the tables


class RowKind:
    """A table with one line for each row; everything follows from its columns.

    Attributes:
        noun: the value of the field `type`.
        parent: the kind to whose rows these rows belong, or None. A parent has no parent itself.
        columns: the columns that an import writes. Each database assigns its own versions.
        fields: the fields of a line. The author is one of them if the table has `author_id`.
    """

    def __init__(self, model: type[Model], parent: "RowKind | None" = None) -> None:
        self.noun, self.table, self.parent = model.__name__.lower(), str(model.__tablename__), parent
        self.parent_key = None if parent is None else f"{parent.noun}_id"
        self.columns = stored_columns(model, without=("version",))
        author = _AUTHOR if "author_id" in self.columns else {}
        self.fields = {**author, **line_fields(model, without=("id", "version", "author_id", self.parent_key or ""))}


_POSTS = RowKind(Post)
ROW_KINDS = (_POSTS, RowKind(Comment, parent=_POSTS))
"""The tables with lines, except that of users. Each is behind its parent."""

TABLES = (User.__tablename__, *(kind.table for kind in ROW_KINDS))
"""The tables whose lines are counted."""

_KINDS = {kind.noun: kind for kind in ROW_KINDS}
_TYPE = LineField("type", _word("user", *_KINDS))
