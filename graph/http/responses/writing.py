"""Encodes responses that may exceed the size limit: part by part, while it measures them.

The size of a response is unknown before it is encoded: a text of 100,000 characters is one value, and may occur twenty
times. Responses that are encoded as a whole are bounded by their price (`graph.analysis.pricing`).
"""

from collections.abc import Iterator
from typing import Any

import orjson
from graphql import GraphQLError

# An object without nested objects or lists is encoded as a whole, unless its strings are longer than this together.
PART_LENGTH_MAX = 65_536


class AnswerTooLargeError(Exception):
    """A response exceeds the size limit.

    Attributes:
        measured: the number of bytes encoded before encoding stopped.
    """

    def __init__(self, measured: int) -> None:
        super().__init__(f"{measured} bytes")
        self.measured = measured

    def graphql_error(self, bytes_max: int, *, is_query: bool) -> GraphQLError:
        """Return the error that the client gets in place of the response; its advice depends on `is_query`."""
        advice = "request less" if is_query else "the mutation has run: select less of its result"
        message = f"the response has {self.measured} bytes or more, and at most {bytes_max} are allowed; {advice}"
        extensions = {"code": "ANSWER_TOO_LARGE", "measured": self.measured, "maximum": bytes_max}
        return GraphQLError(message, extensions=extensions)


def encode_bounded(content: Any, bytes_max: int) -> bytes:
    """Return a response encoded as JSON.

    Raises:
        AnswerTooLargeError: it has more than `bytes_max` bytes; encoding stops at the part that exceeds them.
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
    """Return whether an object contains objects, lists or long strings."""
    length = 0
    for item in value.values():
        if isinstance(item, dict | list | orjson.Fragment):
            return True
        if isinstance(item, str):
            length += len(item)
    return length > PART_LENGTH_MAX
