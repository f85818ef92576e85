"""W3C Trace Context: the trace to which a request belongs, and the place of the request within it.

A `traceparent` that does not have exactly the form required by the recommendation is ignored, and a new trace begins
(section 3.2.2.3 and 4.3). `tracestate` is not read, because Folio calls no other service to pass it to.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

# Later versions may append fields after another dash; version ff is forbidden, and so are ids of zeros alone.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 0x01
_BLOCK_BYTES = 4096


class _Digits:
    """Random hexadecimal digits. Many are read from the system at once, because each read is a system call."""

    def __init__(self) -> None:
        self._block = ""
        self._taken = 0

    def take(self, count: int) -> str:
        end = self._taken + count
        if end > len(self._block):
            self._block, end = os.urandom(_BLOCK_BYTES).hex(), count
        self._taken = end
        return self._block[end - count : end]

    def forget(self) -> None:
        self._block = ""


_digits = _Digits()
random_hex = _digits.take
os.register_at_fork(after_in_child=_digits.forget)  # two processes must not use the same id


@dataclass(slots=True)
class Trace:
    """A place in a trace.

    Attributes:
        parent_id: the caller's span, if the request has one.
        sampled: whether the caller records its part; without a caller, False.
    """

    trace_id: str
    span_id: str
    parent_id: str | None = None
    sampled: bool = False

    @property
    def traceparent(self) -> str:
        """The place as the value of a `traceparent` or `traceresponse` header."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def trace_of(traceparents: Sequence[str]) -> Trace:
    """Return a new place in the caller's trace, or in a new one where the header is missing, doubled or malformed."""
    if not traceparents:
        digits = random_hex(48)
        return Trace(digits[:32], digits[32:])
    found = _TRACEPARENT.fullmatch(traceparents[0]) if len(traceparents) == 1 else None
    if found is None or (found[1] == "00" and found[5] is not None):
        return Trace(random_hex(32), random_hex(16))
    return Trace(found[2], random_hex(16), found[3], bool(int(found[4], 16) & _SAMPLED))
