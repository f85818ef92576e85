r"""JSON that all parsers read alike: no duplicate keys, and no integer that would lose digits.

For two members with the same name orjson keeps the last one, other parsers the first: a proxy that inspects requests
would check another request than the one that runs. And orjson reads an integer beyond 64 bits as a float, whose last
digits are wrong. The parsed value shows neither, and a parser that reports both takes ten times as long.

So the parsed value is serialized again, which is as fast as parsing. If the result equals the text byte by byte,
nothing was lost; most programs send JSON in this form, without spaces. Otherwise colons are counted. Each member has
one colon between its name and its value, and all other colons are within strings. If the text has more colons than the
result, members were lost; if the numbers are equal, none were. Only texts with a colon written as an escape (`\u003a`),
and texts with as many consecutive digits as an integer beyond 64 bits, are parsed again.
"""

import json
from typing import Any

import orjson

# Negative integers are exact down to minus this number, positive ones up to twice this number.
EXACT_MAX = 2**63

# orjson's message about invalid bytes, in Python's terms.
NO_UTF_8 = "str is not valid UTF-8: surrogates not allowed"

_LONG = b"0" * len(str(EXACT_MAX))
_DIGITS_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")


class NotStrictError(ValueError):
    """Ambiguous JSON. The message says which part is ambiguous."""


def loads(text: bytes) -> Any:
    """Parse JSON in UTF-8.

    Raises:
        ValueError: the text is not JSON.
        NotStrictError: an object names a key twice, or an integer has more than 64 bits.
    """
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(str(error).replace(NO_UTF_8, "it is not valid UTF-8")) from None
    try:
        written = orjson.dumps(parsed)
    except orjson.JSONEncodeError:  # nested deeper than orjson can serialize
        _parse_again(text)
        return parsed
    if written != text and (
        text.count(b":") != written.count(b":")
        or _LONG in text.translate(_DIGITS_AS_ZEROS)
        or (b"\\" in text and b"\\u003" in text)
    ):
        _parse_again(text)
    return parsed


def _parse_again(text: bytes) -> None:
    """Check each member and integer. The first parser has bounded the depth."""
    try:
        json.loads(text, object_pairs_hook=_once, parse_int=_exact, parse_float=str)
    except RecursionError:
        raise NotStrictError("it is nested too deeply") from None


def _once(pairs: list[tuple[str, object]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise NotStrictError("an object in it names a key twice")


def _exact(digits: str) -> None:
    # The longest integer of 64 bits has twenty characters, and int() is slow on thousands of digits.
    if len(digits) > len(str(-EXACT_MAX)) or not -EXACT_MAX <= int(digits) < 2 * EXACT_MAX:
        raise NotStrictError(
            "an integer in it has more than 64 bits; send it as a string, or with an exponent, for example 1e20"
        )
