"""The specification of each text that users write: its limits, and the code, field and message of its refusal.

A `TextField` is the one source of the column's CHECK constraint, the check before a write, the meaning of a violated
constraint (`db.constraints`), the sentence in the API's descriptions, and the check of an imported line. Checks that
need more than the text and its limits (is the email address valid? is the password the username?) are in
`db.repositories.checks`.

To add a text, add a constant here. Its model gets the constraint from `checks_of`.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import AnyHttpUrl, TypeAdapter, ValidationError
from sqlalchemy import CheckConstraint

from db.errors import Refusal

# Characters that are invisible alone: controls, formats such as the zero-width space, separators, marks without a
# letter. And the letters and the symbol that Unicode counts as visible although they are drawn empty.
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Zs", "Mn", "Me"})
_DRAWN_EMPTY = frozenset("\u115f\u1160\u2800\u3164\uffa0")

_HTTP_URL = TypeAdapter(AnyHttpUrl)
# The parser is as lenient as browsers, and accepts "https:x" and "http:\\x". Other programs reject such addresses.
_SCHEME_AND_HOST = re.compile(r"https?://([^\W_]|\[)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextField:
    """One text that is written by a mutation, an import or the command line.

    Attributes:
        noun: the beginning of messages, with an article: "a title".
        code: the code of the refusal, in the enums of the schema.
        path: the path of the input field, below the mutation's `input`.
        length_max: the maximum length in characters, as PostgreSQL's `char_length` counts them.
        length_min: the minimum length in the same characters.
        column: `table.column`, if the text is stored as it is written; otherwise empty.
        is_nullable: whether null is allowed. It clears the value.
        about: the part of the description before the limit.
        detail: the part of the description behind the limit.
        characters: the kind of characters that are counted, for the description.
        message_detail: the part of the message behind the limit.
        pattern: a regular expression for the whole text, in the syntax that Python and PostgreSQL share; ASCII only.
        accepts: a further condition; the refusal has the same message.
        fault: returns another message for an invalid text within the limits, or None.
        name: the name of the column, or of the input field if the text is not stored as it is written.
    """

    noun: str
    code: str
    path: tuple[str, ...]
    length_max: int
    length_min: int = 0
    column: str = ""
    is_nullable: bool = False
    about: str = ""
    detail: str = ""
    characters: str = "characters"
    message_detail: str = ""
    pattern: str = ""
    accepts: Callable[[str], bool] | None = None
    fault: Callable[[str], str | None] | None = None
    name: str = field(init=False)
    _shape: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.column.rpartition(".")[2] or self.path[-1])
        object.__setattr__(self, "_shape", re.compile(self.pattern or ".*", re.ASCII | re.DOTALL))

    @property
    def length(self) -> str:
        """The limits as people write them: "1 to 200", "at most 5,000"."""
        return _range(self.length_min, f"{self.length_max:,}")

    @property
    def limit(self) -> str:
        """The limit for a description: "at most 5,000 characters"."""
        return f"{self.length} {self.characters}"

    @property
    def description(self) -> str:
        """The description of the input field."""
        limit = f"{self.limit}{self.detail}."
        return f"{self.about}; {limit}" if self.about else limit[0].upper() + limit[1:]

    @property
    def message(self) -> str:
        """The message of a refusal."""
        return f"{self.noun} has {_range(self.length_min, str(self.length_max))} characters{self.message_detail}"

    @property
    def refusal(self) -> Refusal:
        """The refusal of a text that violates the limits."""
        return Refusal(self.code, self.path, self.message)

    def check(self, value: str | None) -> list[Refusal]:
        """Return the refusal of an invalid value in a list, or an empty list."""
        if value is None:
            return (
                [] if self.is_nullable else [self._refused(f"{self.path[-1]} cannot be null; leave it out to keep it")]
            )
        fits = self.length_min <= len(value) <= self.length_max
        if not fits or (self.pattern and not self._shape.fullmatch(value)):
            return [self.refusal]
        if self.accepts is not None and not self.accepts(value):
            return [self.refusal]
        fault = None if self.fault is None else self.fault(value)
        return [] if fault is None else [self._refused(fault)]

    def _refused(self, message: str) -> Refusal:
        return Refusal(self.code, self.path, message)

    # -------------------------------------------------------- the constraint of the column

    @property
    def constraint(self) -> str:
        """The name of the column's CHECK constraint."""
        return f"ck_{self.column.replace('.', '_')}_{self._rule}"

    def check_constraint(self) -> CheckConstraint:
        """Return the CHECK constraint, for the table's arguments."""
        if self.pattern:
            sql = f"{self.name} ~ '^{self.pattern}$'"
        elif self.length_min:
            sql = f"char_length({self.name}) BETWEEN {self.length_min} AND {self.length_max}"
        else:
            sql = f"char_length({self.name}) <= {self.length_max}"
        return CheckConstraint(sql, name=f"{self.name}_{self._rule}")

    @property
    def _rule(self) -> str:
        return "shape" if self.pattern else "length"


def _range(least: int, most: str) -> str:
    return f"{least} to {most}" if least else f"at most {most}"


def is_visible(text: str) -> bool:
    """Return whether a text has a visible character."""
    for character in text:  # nearly always the first one decides
        if character not in _DRAWN_EMPTY and unicodedata.category(character) not in _INVISIBLE_CATEGORIES:
            return True
    return False


def _url_fault(text: str) -> str | None:
    return (
        None if _is_http_url(text) else "a website URL begins with http:// or https://, for example https://example.org"
    )


def _is_http_url(text: str) -> bool:
    # Applications make links of it, so "javascript:" must be refused, and so must white space around the address.
    if any(character.isspace() or character == "\\" or not character.isprintable() for character in text):
        return False
    if not _SCHEME_AND_HOST.match(text):
        return False
    try:
        _HTTP_URL.validate_python(text)
    except ValidationError:
        return False
    return True


# ---------------------------------------------------------------- the texts

EMAIL = TextField(
    noun="an email address",
    code="INVALID_EMAIL",
    path=("email",),
    column="users.email",
    length_min=3,
    length_max=254,
)
_NAME_MIN, _NAME_MAX = 3, 32
USERNAME = TextField(
    noun="a username",
    code="INVALID_USERNAME",
    path=("username",),
    column="users.username",
    length_min=_NAME_MIN,
    length_max=_NAME_MAX,
    pattern=f"[A-Za-z][A-Za-z0-9_]{{{_NAME_MIN - 1},{_NAME_MAX - 1}}}",
    characters="letters, digits and _, beginning with a letter",
    detail="; unique without regard to case",
    message_detail=": letters a to z, digits and _, beginning with a letter",
)
PASSWORD = TextField(noun="a password", code="INVALID_PASSWORD", path=("password",), length_min=8, length_max=128)
HASHED_PASSWORD = TextField(  # only an import contains hashes
    noun="a hash of a password", code="INVALID_PASSWORD", path=("hashedPassword",), length_min=1, length_max=500
)
DISPLAY_NAME = TextField(
    noun="a display name",
    code="INVALID_PROFILE",
    path=("profile", "displayName"),
    column="profiles.display_name",
    length_max=100,
    is_nullable=True,
    about="The name to show instead of the username",
)
BIO = TextField(
    noun="a bio",
    code="INVALID_PROFILE",
    path=("profile", "bio"),
    column="profiles.bio",
    length_max=5000,
    is_nullable=True,
    about="A few sentences",
)
WEBSITE_URL = TextField(
    noun="a website URL",
    code="INVALID_PROFILE",
    path=("profile", "websiteUrl"),
    column="profiles.website_url",
    length_max=2000,
    is_nullable=True,
    about="An http or https URL",
    fault=_url_fault,
)
TITLE = TextField(
    noun="a title",
    code="INVALID_TITLE",
    path=("title",),
    column="posts.title",
    length_min=1,
    length_max=200,
    detail=", at least one of them visible",
    accepts=is_visible,
)
CONTENT = TextField(
    noun="content", code="INVALID_CONTENT", path=("content",), column="posts.content", length_max=100_000
)
BODY = TextField(
    noun="a comment",
    code="INVALID_BODY",
    path=("body",),
    column="comments.body",
    length_min=1,
    length_max=10_000,
    detail=", at least one of them visible",
    accepts=is_visible,
)
MEMO = TextField(
    noun="a memo",
    code="INVALID_MEMO",
    path=("memo",),
    column="transactions.memo",
    length_max=500,
    is_nullable=True,
    about="The purpose",
)

STORED: Mapping[str, TextField] = {
    one.column: one for one in tuple(globals().values()) if isinstance(one, TextField) and one.column
}
"""The texts that a column holds as they are written, by `table.column`."""


def fields_of(table: str) -> list[TextField]:
    """Return the specifications of the texts in a table's columns."""
    return [one for column, one in STORED.items() if column.partition(".")[0] == table]


def checks_of(table: str) -> list[CheckConstraint]:
    """Return the CHECK constraints of the texts in a table's columns."""
    return [one.check_constraint() for one in fields_of(table)]


def check_texts(fields: Iterable[TextField], values: Mapping[str, Any]) -> list[Refusal]:
    """Return the refusals of the invalid texts in `values`, which maps the names of `fields` to texts."""
    return [refusal for one in fields if one.name in values for refusal in one.check(values[one.name])]
