"""What one line of `db.bulk.jsonlines` may say: the fields of users and posts, each with its check.

Invariant: what passes here, the tables take, and the API would have taken: where `db.fields` or
`db.repositories.checks` has a rule, it is asked. Whether names are taken and authors known is not a line's to say.
"""

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from db.errors import Refusal
from db.fields import CONTENT, HASHED_PASSWORD, TITLE, USERNAME, check_texts, fields_of
from db.instants import parse_instant
from db.models.posts import VIEWS_MAX
from db.repositories import checks

# The longest post fits, also where each of its characters is written as two escapes, of twelve bytes.
LINE_BYTES_MAX = 1_572_864
# No hash of anything: its user signs in only once a password has been set.
UNUSABLE_PASSWORD = "!"  # noqa: S105 - that is its point


class LineError(Exception):
    """A line that cannot be imported. Nothing of the file was.

    Attributes:
        number: of the line, from 1.
        field: the field to blame, `profile.bio` for one within the profile, or None for the line as a whole.
        message: what would be right.
    """

    def __init__(self, number: int, field: str | None, message: str) -> None:
        super().__init__(f"line {number}: {message}" if field is None else f'line {number}: field "{field}": {message}')
        self.number = number
        self.field = field
        self.message = message


class ProfileFields(NamedTuple):
    """The profile of a user, in the order of the table's columns."""

    display_name: str | None
    bio: str | None
    website_url: str | None


class UserLine(NamedTuple):
    """A line that is a user. Instants are None where the line has none."""

    number: int
    username: str
    email: str
    is_active: bool
    role: str
    created_at: datetime.datetime | None
    updated_at: datetime.datetime | None
    hashed_password: str
    profile: ProfileFields | None


class PostLine(NamedTuple):
    """A line that is a post, its author by username. Instants are None where the line has none."""

    number: int
    author: str
    title: str
    content: str
    published: bool
    views: int
    created_at: datetime.datetime | None
    updated_at: datetime.datetime | None


def parse_line(number: int, line: bytes) -> UserLine | PostLine:
    """Return what line `number` says.

    Raises:
        LineError: it is too long, no JSON object, of no known type, or one of its fields is not as it should be.
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
        if _value("type", _TYPE, given.pop("type", _ABSENT)) == "user":
            return UserLine(number, *_values(_USER, given))
        return PostLine(number, *_values(_POST, given))
    except _FieldError as error:
        raise LineError(number, error.field, error.message) from None


# ---------------------------------------------------------------- checks


class _FieldError(Exception):
    def __init__(self, message: str, field: str = "") -> None:
        self.field = field
        self.message = message


_ABSENT = object()
_Check = Callable[[object], Any]


class _Field(NamedTuple):
    check: _Check
    default: object = _ABSENT  # which means that there must be a value


def _values(fields: Mapping[str, _Field], given: Mapping[str, object]) -> list[Any]:
    """Return the checked values of all `fields`, in their order."""
    for name in given:
        if name not in fields:
            raise _FieldError(f"is not known here; known are {', '.join(fields)}", name)
    return [_value(name, field, given.get(name, _ABSENT)) for name, field in fields.items()]


def _value(name: str, field: _Field, value: object) -> Any:
    if value is _ABSENT and field.default is _ABSENT:
        raise _FieldError("is missing", name)
    try:
        return field.default if value is _ABSENT else field.check(value)
    except _FieldError as error:
        raise _FieldError(error.message, f"{name}.{error.field}" if error.field else name) from None


def _kind(value: object) -> str:
    # bool before int, which it is to Python.
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
    # A number of more than 64 bits has become a float on the way.
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


_PROFILE = {
    "displayName": _Field(_nullable(_text), None),
    "bio": _Field(_nullable(_text), None),
    "websiteUrl": _Field(_nullable(_text), None),
}


def _profile(value: object) -> ProfileFields:
    if not isinstance(value, dict):
        raise _FieldError(f"should be an object or null, not {_kind(value)}")
    profile = ProfileFields(*_values(_PROFILE, value))
    for fault in check_texts(fields_of("profiles"), profile._asdict()):
        raise _FieldError(fault.message, ".".join(fault.field[1:]))
    return profile


_TYPE = _Field(_word("user", "post"))
# In the order of UserLine and PostLine.
_USER = {
    "username": _Field(_checked(USERNAME.check)),
    "email": _Field(_email),
    "isActive": _Field(_boolean, default=True),
    "role": _Field(_word("member", "admin"), "member"),
    "createdAt": _Field(_instant, None),
    "updatedAt": _Field(_instant, None),
    "hashedPassword": _Field(_hashed_password, UNUSABLE_PASSWORD),
    "profile": _Field(_nullable(_profile), None),
}
_POST = {
    "author": _Field(_checked(USERNAME.check)),
    "title": _Field(_checked(TITLE.check)),
    "content": _Field(_checked(CONTENT.check)),
    "published": _Field(_boolean, default=False),
    "views": _Field(_views, 0),
    "createdAt": _Field(_instant, None),
    "updatedAt": _Field(_instant, None),
}
