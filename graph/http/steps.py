"""What a request waits for. The pipeline yields these objects, and a driver waits (`graph.http.drivers`)."""

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from db.connections.coalescing import PendingRead
from graph.http.responses.response import Response


class Arrived(NamedTuple):
    """The outcome of a read: its answer, or the error in its place, and the time of the database in nanoseconds."""

    answer: Any
    error: Exception | None
    elapsed_ns: int


class Read(NamedTuple):
    """Wait for a read, which needs no task. The pipeline is sent an `Arrived`.

    Attributes:
        caller: the caller whose share of the connections the read counts for; None for no share.
    """

    reading: PendingRead
    caller: str | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """Wait for work that needs a task. The pipeline is sent its result, or its exception is raised in the pipeline.

    Attributes:
        is_limited: whether the deadline of the request ends it.
        is_abandoned: whether the client's disconnection ends it, too. A write must take effect.
    """

    start: Callable[[], Awaitable[Any]]
    is_limited: bool = True
    is_abandoned: bool = True


Steps: TypeAlias = Generator[Read | Work, Any, Response]
"""One request in the pipeline."""
