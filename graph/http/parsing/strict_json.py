r"""JSON that means the same to everybody: no doubled keys, and no integer that would lose digits.

Of two members with one name orjson keeps the last, other parsers the first: whoever checks a request in front of this
server would check another one than runs. And an integer beyond 64 bits becomes a float, of which the last digits are
made up. Neither is told by the parsed value, and a parser that tells it takes ten times as long.

Hence what was parsed is written again, which the parser does as fast as it reads. Where that is the text itself, byte
by byte, nothing was lost: what programs send is mostly written so, without spaces. Where it is not, there is a sum.
Each member has one colon between its name and its value, and all others stand in strings: where the text has more
colons than what was written, members were lost; where it has as many, none were. Only texts with a colon written as an
escape (`\u003a`), and those with as many digits in a row as an integer beyond 64 bits has, are parsed again.
"""

import json
from typing import Any

import orjson

# Negative integers are exact as far as this, positive ones twice as far.
EXACT_MAX = 2**63

# What the parser says of bytes, in words of its own language.
NO_UTF_8 = "str is not valid UTF-8: surrogates not allowed"

_LONG = b"0" * len(str(EXACT_MAX))
_DIGITS_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")


class NotStrictError(ValueError):
    """JSON that could be read in two ways. The message says which part of it."""


def loads(text: bytes) -> Any:
    """Parse JSON in UTF-8.

    Raises:
        ValueError: it is none, or a `NotStrictError`: it names a key twice, or an integer has more than 64 bits.
    """
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(str(error).replace(NO_UTF_8, "it is not valid UTF-8")) from None
    try:
        written = orjson.dumps(parsed)
    except orjson.JSONEncodeError:  # nested deeper than can be written
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
    """Look at each member and integer. The parser before this one has bounded the depth."""
    try:
        json.loads(text, object_pairs_hook=_once, parse_int=_exact, parse_float=str)
    except RecursionError:
        raise NotStrictError("it is nested too deeply") from None


def _once(pairs: list[tuple[str, object]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise NotStrictError("an object in it names a key twice")


def _exact(digits: str) -> None:
    # Twenty characters are the longest of 64 bits, and int() is slow on thousands of digits.
    if len(digits) > len(str(-EXACT_MAX)) or not -EXACT_MAX <= int(digits) < 2 * EXACT_MAX:
        raise NotStrictError(
            "an integer in it has more than 64 bits; send it as a string, or with an exponent, as 1e20"
        )
