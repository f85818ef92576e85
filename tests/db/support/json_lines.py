"""Lines of JSON Lines: a user, a post, and every kind of invalid line with its message."""

from typing import Any

import orjson

from db.bulk.line_fields import LINE_BYTES_MAX
from tests.instants import NO_SUCH_INSTANT, WANTED_INSTANT

ADA = {"type": "user", "username": "ada", "email": "ada@example.org"}
BEN = {"type": "user", "username": "ben", "email": "ben@example.org"}
POST = {"type": "post", "author": "ada", "title": "A title", "content": "A text."}


def line(base: dict[str, Any], **changes: object) -> bytes:
    """Return the line of `base` with these changes."""
    return orjson.dumps({**base, **changes}) + b"\n"


def without(base: dict[str, Any], name: str) -> bytes:
    """Return the line of `base` without one field."""
    return orjson.dumps({key: value for key, value in base.items() if key != name}) + b"\n"


USERNAME_SHAPE = "a username has 3 to 32 characters: letters a to z, digits and _, beginning with a letter"
NOBODY = "is not the username of a user in the database or on an earlier line"
PROFILE = {"displayName": None, "bio": None, "websiteUrl": None}

BAD_LINES = {
    "not JSON": (b"{\n", None, "is not JSON: unexpected end of data, at column 2"),
    "empty": (b"\n", None, "is not JSON: Input is a zero-length, empty document, at column 1"),
    "not UTF-8": (b'{"a":"\xff"}\n', None, "is not JSON: str is not valid UTF-8: surrogates not allowed, at column 1"),
    "two objects": (b"{}{}\n", None, "is not JSON: unexpected content after document, at column 3"),
    "an array": (b"[]\n", None, "should be an object, not an array"),
    "null": (b"null\n", None, "should be an object, not null"),
    "too long": (line(ADA, bio="x" * LINE_BYTES_MAX), None, "is longer than 1572864 bytes"),
    "no type": (without(BEN, "type"), "type", "is missing"),
    "unknown type": (line(BEN, type="note"), "type", 'should be "user" or "post" or "comment"'),
    "type no string": (line(BEN, type=["user"]), "type", 'should be "user" or "post" or "comment"'),
    "unknown field": (
        line(POST, id=5),
        "id",
        "is not known here; known are author, title, content, published, views, createdAt, updatedAt",
    ),
    "unknown field of the profile": (
        line(BEN, profile={"avatar": "x"}),
        "profile.avatar",
        "is not known here; known are displayName, bio, websiteUrl",
    ),
    "no username": (without(BEN, "username"), "username", "is missing"),
    "no email": (without(BEN, "email"), "email", "is missing"),
    "no author": (without(POST, "author"), "author", "is missing"),
    "no title": (without(POST, "title"), "title", "is missing"),
    "no content": (without(POST, "content"), "content", "is missing"),
    "username null": (line(BEN, username=None), "username", "should be a string, not null"),
    "username a number": (line(BEN, username=5), "username", "should be a string, not a number"),
    "username too short": (line(BEN, username="be"), "username", USERNAME_SHAPE),
    "username too long": (line(BEN, username="b" * 33), "username", USERNAME_SHAPE),
    "username with a newline": (line(BEN, username="ben\n"), "username", USERNAME_SHAPE),
    "email without @": (line(BEN, email="ben"), "email", "An email address must have an @-sign."),
    "isActive a number": (line(BEN, isActive=1), "isActive", "should be true or false, not a number"),
    "isActive null": (line(BEN, isActive=None), "isActive", "should be true or false, not null"),
    "the system's role": (line(BEN, role="system"), "role", 'should be "member" or "admin"'),
    "empty password hash": (line(BEN, hashedPassword=""), "hashedPassword", "should have 1 to 500 characters"),
    "naive instant": (line(BEN, createdAt="2026-11-22T09:30:00"), "createdAt", WANTED_INSTANT),
    "instant a number": (line(BEN, createdAt=0), "createdAt", "should be a string, not a number"),
    "instant with two spaces": (line(BEN, createdAt="2026-11-22  09:30:00Z"), "createdAt", WANTED_INSTANT),
    "instant with a comma": (line(POST, updatedAt="2026-11-22T09:30:00,5Z"), "updatedAt", WANTED_INSTANT),
    "30 February": (
        line(POST, createdAt="2026-02-30T09:30:00Z"),
        "createdAt",
        NO_SUCH_INSTANT,
    ),
    "instant before the year 1": (
        line(POST, createdAt="0001-01-01T00:30:00+01:00"),
        "createdAt",
        NO_SUCH_INSTANT,
    ),
    "profile an array": (line(BEN, profile=[]), "profile", "should be an object or null, not an array"),
    "display name too long": (
        line(BEN, profile=PROFILE | {"displayName": "x" * 101}),
        "profile.displayName",
        "a display name has at most 100 characters",
    ),
    "bio too long": (
        line(BEN, profile=PROFILE | {"bio": "x" * 5001}),
        "profile.bio",
        "a bio has at most 5000 characters",
    ),
    "bio a boolean": (
        line(BEN, profile=PROFILE | {"bio": True}),
        "profile.bio",
        "should be a string, not a boolean",
    ),
    "website no URL": (
        line(BEN, profile=PROFILE | {"websiteUrl": "javascript:alert(1)"}),
        "profile.websiteUrl",
        "a website URL begins with http:// or https://, for example https://example.org",
    ),
    "title empty": (line(POST, title=""), "title", "a title has 1 to 200 characters"),
    "title too long": (line(POST, title="x" * 201), "title", "a title has 1 to 200 characters"),
    "content too long": (line(POST, content="x" * 100_001), "content", "content has at most 100000 characters"),
    "U+0000": (
        line(POST, content="a\0b"),
        "content",
        "should not contain U+0000, which PostgreSQL cannot store",
    ),
    "views a boolean": (line(POST, views=True), "views", "should be a whole number, not a boolean"),
    "views a fraction": (line(POST, views=1.0), "views", "should be a whole number from 0 to 2147483647"),
    "views negative": (line(POST, views=-1), "views", "should be a whole number from 0 to 2147483647"),
    "views beyond 64 bits": (
        line(POST, views=0).replace(b":0", b":" + b"9" * 30),
        "views",
        "should be a whole number from 0 to 2147483647",
    ),
    "views a string": (line(POST, views="5"), "views", "should be a whole number, not a string"),
}

# These follow a line with the user ADA, in a database that has zoe.
BAD_IN_THE_DATABASE = {
    "username of an earlier line": (line(BEN, username="ADA"), "username", "is taken already, on line 1"),
    "email of an earlier line": (line(BEN, email="ADA@example.org"), "email", "is taken already, on line 1"),
    "the system's username": (line(BEN, username="Treasury"), "username", "is taken already, in the database"),
    "username of the database": (line(BEN, username="ZOE"), "username", "is taken already, in the database"),
    "email of the database": (line(BEN, email="zoe@EXAMPLE.org"), "email", "is taken already, in the database"),
    "unknown author": (line(POST, author="ben"), "author", NOBODY),
    "the system as author": (line(POST, author="treasury"), "author", NOBODY),
}
