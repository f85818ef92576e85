"""Answers that may be larger than any may be: written part by part, and measured on the way.

How long an answer is nobody knows before it is written: a text of 100,000 characters is one value, and may stand in it
twenty times. What is written in one go has been bounded by its price (`graph.analysis.pricing`).
"""

from collections.abc import Iterator
from typing import Any

import orjson
from graphql import GraphQLError

# An object without objects below it is written in one go, unless its texts are longer than that together.
PART_LENGTH_MAX = 65_536


class AnswerTooLargeError(Exception):
    """An answer has more bytes than it may have.

    Attributes:
        measured: how many were written when it was found out.
    """

    def __init__(self, measured: int) -> None:
        super().__init__(f"{measured} bytes")
        self.measured = measured

    def told(self, bytes_max: int, *, is_query: bool) -> GraphQLError:
        """Return what the client of a query, or of a mutation, is told in place of the answer."""
        advice = "ask for less" if is_query else "the mutation has run: ask for less of what it has changed"
        message = f"the answer has {self.measured} bytes or more, and at most {bytes_max} are allowed; {advice}"
        extensions = {"code": "ANSWER_TOO_LARGE", "measured": self.measured, "maximum": bytes_max}
        return GraphQLError(message, extensions=extensions)


def written(content: Any, bytes_max: int) -> bytes:
    """Return an answer as JSON.

    Raises:
        AnswerTooLargeError: it has more than `bytes_max` bytes; hardly any more of them were written.
    """
    parts, size = [], 0
    for part in _parts(content):
        size += len(part)
        if size > bytes_max:
            raise AnswerTooLargeError(size)
        parts.append(part)
    return b"".join(parts)


def _parts(value: Any) -> Iterator[bytes]:
    if isinstance(value, dict) and _is_large(value):
        before = b"{"
        for key, item in value.items():
            yield before + orjson.dumps(key) + b":"
            yield from _parts(item)
            before = b","
        yield b"}"
    elif isinstance(value, list) and value:
        before = b"["
        for item in value:
            yield before
            yield from _parts(item)
            before = b","
        yield b"]"
    else:
        yield orjson.dumps(value)


def _is_large(value: dict[str, Any]) -> bool:
    """Say whether an object has others below it, or long texts."""
    length = 0
    for item in value.values():
        if isinstance(item, dict | list | orjson.Fragment):
            return True
        if isinstance(item, str):
            length += len(item)
    return length > PART_LENGTH_MAX
