r"""JSON that means the same to everybody: no doubled keys, and no integer that would lose digits.

Of two members with one name orjson keeps the last, other parsers the first: whoever checks a request in front of this
server would check another one than runs. And an integer beyond 64 bits becomes a float, of which the last digits are
made up. Neither is told by the parsed value, and a parser that tells it takes ten times as long.

Hence a sum. Each member has one colon between its name and its value, and all others stand in strings. A text without
a colon written as an escape (`\u003a`) therefore has as many colons as its members and the strings in them. Where the
parsed value has fewer, members were lost; where it has as many, none were. Only texts with such an escape, and those
with a float as large as a 64-bit integer, are parsed again.
"""

import json
from collections.abc import Iterable
from typing import Any

import orjson

# Above, floats are further apart than integers; up to there, integers are parsed as they are.
EXACT_MAX = 2**63


class NotStrictError(ValueError):
    """JSON that could be read in two ways. The message says which part of it."""


def loads(text: bytes) -> Any:
    """Parse JSON in UTF-8.

    Raises:
        ValueError: it is none, or a `NotStrictError`: it names a key twice, or an integer has more than 64 bits.
    """
    parsed = orjson.loads(text)
    colons, has_large = _counted(parsed)
    if has_large or colons != text.count(b":") or (b"\\" in text and b"\\u003" in text):
        _parse_again(text)
    return parsed


def _counted(parsed: object) -> tuple[int, bool]:
    """Return how many colons a value takes to write, and whether it has a float beyond the integers."""
    colons, has_large = 0, False
    pending: list[dict[str, object] | list[object]] = [parsed if isinstance(parsed, dict) else [parsed]]
    for container in pending:  # which grows behind this one
        values: Iterable[Any] = container
        if isinstance(container, dict):
            colons += len(container) + "".join(container).count(":")
            values = container.values()
        for one in values:
            kind = type(one)  # orjson makes no subclasses
            if kind is str:
                colons += one.count(":")
            elif kind is dict or kind is list:
                pending.append(one)
            elif kind is float and not -EXACT_MAX < one < EXACT_MAX:
                has_large = True
    return colons, has_large


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
        raise NotStrictError("an integer in it has more than 64 bits; send it as a string, or as a float such as 1e20")
