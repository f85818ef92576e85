"""W3C Trace Context: which trace a request belongs to, and the place that it has there.

A `traceparent` that is not exactly of the form that the recommendation demands is ignored, and a new trace begins
(section 3.2.2.3 and 4.3); `tracestate` is not read, for nothing is called from here that it could be handed on to.
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

# Later versions may append fields after another dash; version ff is forbidden, and so are ids of zeros alone.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 0x01


@dataclass(frozen=True, slots=True)
class Trace:
    """A place in a trace.

    Attributes:
        parent_id: the caller's span, where the caller said.
        sampled: whether the caller records its part; without a caller, False.
    """

    trace_id: str
    span_id: str
    parent_id: str | None = None
    sampled: bool = False

    @property
    def told(self) -> str:
        """The place as the value of a `traceparent` or `traceresponse` header."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def trace_of(traceparents: Sequence[str]) -> Trace:
    """Return a new place in the caller's trace, or in a new one where the header is missing, doubled or malformed."""
    found = _TRACEPARENT.fullmatch(traceparents[0]) if len(traceparents) == 1 else None
    if found is None or (found[1] == "00" and found[5] is not None):
        ids = secrets.token_hex(24)
        return Trace(ids[:32], ids[32:])
    return Trace(found[2], secrets.token_hex(8), found[3], bool(int(found[4], 16) & _SAMPLED))
