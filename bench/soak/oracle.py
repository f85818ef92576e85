"""What an answer may be: right, or one of the worded errors that a fault explains. Everything else is a violation."""

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
# How long after its end a fault may still be felt: by an operation that began in it and runs up to its deadline.
FELT_S = 20.0
# How long before a request its idle connection may have been cut without anybody's notice, and how long after.
KILL_FELT_S = 5.0
OK, UNAVAILABLE = 200, 503
# What the kinds of faults begin with that happen between clients and the server. They explain a lost answer.
OF_CLIENTS = "client: "


@dataclass
class FaultLog:
    """When which fault was in force; times are those of `time.monotonic`."""

    spans: list[tuple[str, float, float]] = field(default_factory=list)

    def begin(self, kind: str) -> int:
        """Note that a fault begins, and return its number."""
        self.spans.append((kind, time.monotonic(), float("inf")))
        return len(self.spans) - 1

    def end(self, number: int) -> None:
        """Note that it is over."""
        kind, begun, _ = self.spans[number]
        self.spans[number] = (kind, begun, time.monotonic())

    def explains(self, begun: float, *, felt_s: float, kinds: tuple[str, ...] = ("",)) -> bool:
        """Say whether a fault was in force, or was felt still, at any time since `begun`.

        Args:
            begun: a time.
            felt_s: how long after its end a fault is felt.
            kinds: what the kind of the fault begins with.
        """
        return any(end + felt_s >= begun for kind, _, end in self.spans if kind.startswith(kinds))

    def lately(self) -> str:
        """Return the faults of late, each with how long ago it began and ended."""
        now = time.monotonic()
        spans = [one for one in self.spans if one[2] + FELT_S >= now]
        return ", ".join(f"{kind} {now - begun:.1f} to {max(0.0, now - end):.1f} s ago" for kind, begun, end in spans)


@dataclass(frozen=True)
class Judged:
    """What is left to look at of an answer.

    Attributes:
        data: of the fields that did not fail; None where the whole operation failed.
        failed: the names of the top-level fields that failed.
        unknown: whether a write may have happened all the same.
    """

    data: Mapping[str, Any] | None
    failed: frozenset[str] = frozenset()
    unknown: bool = False


class Oracle:
    """Judges answers, and counts."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._begun = time.monotonic()
        self.faults = FaultLog()
        self.counts: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.shown: list[str] = []

    @property
    def violations(self) -> int:
        """How many there were."""
        return self.kinds.total()

    def violation(self, kind: str, **detail: object) -> None:
        """Note that something is wrong; `kind` says what in few words, always the same."""
        self.kinds[kind] += 1
        if len(self.shown) < SHOWN_MAX and self.kinds[kind] <= SHOWN_OF_KIND_MAX:
            detail["when"] = f"{time.monotonic() - self._begun:.1f} s; lately: {self.faults.lately()}"
            told = "".join(f"\n    {name}: {str(value)[:DETAIL_MAX]}" for name, value in detail.items())
            self.shown.append(f"{kind}{told}")

    def conclude(self, line: str, told_of: Callable[[str], str] = lambda kind: kind) -> NoReturn:
        """Write what was wrong, and last the `line` that says what happened; exit with 1 where anything was wrong.

        `told_of` returns what is written for a kind of violation.
        """
        for shown in self.shown:
            sys.stderr.write(f"violation: {shown}\n")
        for kind, count in self.kinds.most_common():
            sys.stderr.write(f"{count:6} x {told_of(kind)}\n")
        sys.stdout.write(f"{line}\n")
        sys.exit(1 if self.violations else 0)

    def broken(self, begun: float, what: object, reason: object) -> None:
        """Judge a connection that ended before the answer: a killed worker explains it, or the clients' own network."""
        self.counts["broken connections"] += 1
        if not self.faults.explains(begun, felt_s=KILL_FELT_S, kinds=("kill worker", OF_CLIENTS)):
            self.violation("connection ended without an answer", request=what, reason=reason)

    def unanswered(self, begun: float, what: object) -> None:
        """Judge a request that got no answer in time: only the network of the clients explains it."""
        if not self.faults.explains(begun, felt_s=KILL_FELT_S, kinds=(OF_CLIENTS,)):
            self.violation("no answer in time", request=what, waited_s=time.monotonic() - begun)

    def judged(
        self, answer: Answer, begun: float, what: object, expected: Mapping[tuple[str | int, ...], str] | None = None
    ) -> Judged:
        """Judge status and errors of an answer, and return what is left to look at.

        Args:
            answer: the answer.
            begun: when its request was sent.
            what: the request, for the report.
            expected: paths at which an error must stand, with its code, unless another error stands above it.
        """
        self.counts["answers"] += 1
        content, missing = answer.content, dict(expected or {})
        errors: list[dict[str, Any]] = content.get("errors") or []
        if answer.status not in {OK, UNAVAILABLE} or (answer.status == UNAVAILABLE and not errors):
            self.violation(f"status {answer.status}", request=what, answer=content)
        if (not errors and content.get("data") is None) or (answer.status == UNAVAILABLE and content.get("data")):
            self.violation("data and errors contradict each other", request=what, answer=content)
        failed: set[str | int] = set()
        unknown = False
        for error in errors:
            code, path = error.get("extensions", {}).get("code"), tuple(error.get("path") or ())
            failed.update(path[:1])
            if missing.get(path) == code:
                del missing[path]
                continue
            # Below the field, an error comes after the write. One that is not worded promises nothing.
            promises = code in WORDED and len(path) <= 1 and not error["extensions"].get("outcomeUnknown")
            unknown = unknown or not promises
            self._judge_error(code, begun, what, content)
        data: dict[str, Any] | None = content.get("data")
        for path in missing:
            if data is not None and path[0] not in failed:
                self.violation("an error is missing", request=what, answer=content, path=path)
        return Judged(data, frozenset(map(str, failed)), unknown)

    def _judge_error(self, code: str | None, begun: float, what: object, content: object) -> None:
        self.counts["worded errors"] += code in WORDED
        if code not in WORDED:
            self.violation(f"error {code}", request=what, answer=content)
        elif not self.faults.explains(begun, felt_s=FELT_S):
            self.violation(f"{code} without a fault", request=what, answer=content)
        else:
            self.counts[code or ""] += 1
