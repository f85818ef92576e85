"""The oracle: a response must be right, or a documented error that a fault explains. All others are violations."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from bench.soak.wire import Answer

WORDED = frozenset({"DATABASE_UNAVAILABLE", "DATABASE_BUSY", "DATABASE_TIMEOUT", "DEADLINE_EXCEEDED", "OVERLOADED"})
SHOWN_MAX = 20
SHOWN_OF_KIND_MAX = 5
DETAIL_MAX = 1200
# The time after its end in which a fault has effects: an operation that began during it may run up to its deadline.
FELT_S = 20.0
# The time before a request in which its idle connection may have been cut unnoticed, and the time after the cut.
KILL_FELT_S = 5.0
OK, UNAVAILABLE = 200, 503
# The prefix of faults between clients and the server. They explain a lost response.
OF_CLIENTS = "client: "


@dataclass
class FaultLog:
    """The faults with their beginnings and ends, in seconds of `time.monotonic`."""

    spans: list[tuple[str, float, float]] = field(default_factory=list)

    def begin(self, kind: str) -> int:
        """Record the beginning of a fault, and return its number."""
        self.spans.append((kind, time.monotonic(), float("inf")))
        return len(self.spans) - 1

    def end(self, number: int) -> None:
        """Record the end of a fault."""
        kind, started_at, _ = self.spans[number]
        self.spans[number] = (kind, started_at, time.monotonic())

    def explains(self, started_at: float, *, felt_s: float, kinds: tuple[str, ...] = ("",)) -> bool:
        """Return whether a fault was active, or still had effects, at any time since `started_at`.

        Args:
            started_at: a time of `time.monotonic`.
            felt_s: the seconds after its end in which a fault has effects.
            kinds: prefixes of the kinds of faults to consider.
        """
        return any(end + felt_s >= started_at for kind, _, end in self.spans if kind.startswith(kinds))

    def recent_faults(self) -> str:
        """Return a text with the recent faults, and how long ago each one began and ended."""
        now = time.monotonic()
        spans = [one for one in self.spans if one[2] + FELT_S >= now]
        return ", ".join(
            f"{kind} {now - started_at:.1f} to {max(0.0, now - end):.1f} s ago" for kind, started_at, end in spans
        )


@dataclass(frozen=True)
class Judged:
    """The part of a response that is left to check.

    Attributes:
        data: the data of the fields that did not fail; None if the whole operation failed.
        failed: the names of the top-level fields that failed.
        unknown: whether a write may have happened despite an error.
    """

    data: Mapping[str, Any] | None
    failed: frozenset[str] = frozenset()
    unknown: bool = False


class Oracle:
    """Judges responses, and counts violations and other events."""

    def __init__(self) -> None:
        """Begin without any events."""
        self._begun = time.monotonic()
        self.faults = FaultLog()
        self.counts: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.shown: list[str] = []

    @property
    def violations(self) -> int:
        """The number of violations."""
        return self.kinds.total()

    def violation(self, kind: str, **detail: object) -> None:
        """Record a violation; `kind` names it in a few fixed words."""
        self.kinds[kind] += 1
        if len(self.shown) < SHOWN_MAX and self.kinds[kind] <= SHOWN_OF_KIND_MAX:
            detail["when"] = f"{time.monotonic() - self._begun:.1f} s; lately: {self.faults.recent_faults()}"
            text = "".join(f"\n    {name}: {str(value)[:DETAIL_MAX]}" for name, value in detail.items())
            self.shown.append(f"{kind}{text}")

    def conclude(self, line: str, describe: Callable[[str], str] = lambda kind: kind) -> NoReturn:
        """Write all violations, then the summary `line`; exit with 1 after any violation.

        `describe` returns the text for a kind of violation.
        """
        for shown in self.shown:
            sys.stderr.write(f"violation: {shown}\n")
        for kind, count in self.kinds.most_common():
            sys.stderr.write(f"{count:6} x {describe(kind)}\n")
        sys.stdout.write(f"{line}\n")
        sys.exit(1 if self.violations else 0)

    def broken(self, started_at: float, request: object, reason: object) -> None:
        """Judge a connection that ended before its response: a killed worker or the clients' network explains it."""
        self.counts["broken connections"] += 1
        if not self.faults.explains(started_at, felt_s=KILL_FELT_S, kinds=("kill worker", OF_CLIENTS)):
            self.violation("connection ended without an answer", request=request, reason=reason)

    def unanswered(self, started_at: float, request: object) -> None:
        """Judge a request without a response in time: only faults of the clients' network explain it."""
        if not self.faults.explains(started_at, felt_s=KILL_FELT_S, kinds=(OF_CLIENTS,)):
            self.violation("no answer in time", request=request, waited_s=time.monotonic() - started_at)

    def judged(
        self,
        answer: Answer,
        started_at: float,
        request: object,
        expected: Mapping[tuple[str | int, ...], str] | None = None,
    ) -> Judged:
        """Judge status and errors of a response, and return what is left to check.

        Args:
            answer: the response.
            started_at: the time when its request was sent.
            request: the request, for the report.
            expected: the paths of required errors, with their codes; an error above such a path is allowed instead.
        """
        self.counts["answers"] += 1
        content, missing = answer.content, dict(expected or {})
        errors: list[dict[str, Any]] = content.get("errors") or []
        if answer.status not in {OK, UNAVAILABLE} or (answer.status == UNAVAILABLE and not errors):
            self.violation(f"status {answer.status}", request=request, answer=content)
        if (not errors and content.get("data") is None) or (answer.status == UNAVAILABLE and content.get("data")):
            self.violation("data and errors contradict each other", request=request, answer=content)
        failed: set[str | int] = set()
        unknown = False
        for error in errors:
            code, path = error.get("extensions", {}).get("code"), tuple(error.get("path") or ())
            failed.update(path[:1])
            if missing.get(path) == code:
                del missing[path]
                continue
            # An error below the field occurs after the write. An error without a documented code promises nothing.
            promises = code in WORDED and len(path) <= 1 and not error["extensions"].get("outcomeUnknown")
            unknown = unknown or not promises
            self._judge_error(code, started_at, request, content)
        data: dict[str, Any] | None = content.get("data")
        for path in missing:
            if data is not None and path[0] not in failed:
                self.violation("an error is missing", request=request, answer=content, path=path)
        return Judged(data, frozenset(map(str, failed)), unknown)

    def _judge_error(self, code: str | None, started_at: float, request: object, content: object) -> None:
        self.counts["worded errors"] += code in WORDED
        if code not in WORDED:
            self.violation(f"error {code}", request=request, answer=content)
        elif not self.faults.explains(started_at, felt_s=FELT_S):
            self.violation(f"{code} without a fault", request=request, answer=content)
        else:
            self.counts[code or ""] += 1
