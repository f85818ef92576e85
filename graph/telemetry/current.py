"""The observation of the operation that is under way, and how a loader's batch adds to it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from contextvars import Token
from typing import TYPE_CHECKING

from db.connections.statistics import QueryStatistics, query_statistics
from graph.telemetry.traces import Trace

if TYPE_CHECKING:  # an extra, and imported only where it is asked for
    from graph.telemetry.tracing import OperationSpan

BatchCounter = Callable[[str, int], None]
BatchSpan = Callable[[str, int], AbstractContextManager[object]]


class Observation(QueryStatistics):
    """What is known of one operation, or of a request that never got as far as one, beside what it asks for.

    One is made for each request: what is not known yet is its class's.

    Attributes:
        operation: its name; None where it has none, or where no valid operation was found.
        kind: query or mutation; None where no valid operation was found.
        document: the hash of its document; None where no document came.
        deprecated: the schema coordinates that it uses although they are deprecated.
        status: of the HTTP answer.
        codes: `extensions.code` of each error in the answer.
        ran: whether it was executed, with errors or without, and not refused before.
        total_ns: from the operation's start to its answer.
        on_batch: is told of each batch of a loader.
        batch_span: is entered around each batch of a loader.
        span: the operation's, where it is traced.
        token: puts back what was observed in this context before.
    """

    operation: str | None = None
    kind: str | None = None
    document: str | None = None
    deprecated: tuple[str, ...] = ()
    cost: int | None = None
    status: int = 200
    codes: Sequence[str] = ()
    ran: bool = False
    started_ns: int = 0
    total_ns: int = 0
    on_batch: BatchCounter | None = None
    batch_span: BatchSpan | None = None
    span: "OperationSpan | None" = None
    token: "Token[QueryStatistics | None] | None" = None

    def __init__(self, request_id: str, trace: Trace, user_id: int | None) -> None:
        self.request_id = request_id
        self.trace = trace
        self.user_id = user_id

    def enter(self) -> None:
        """Take from here on what is observed in this context."""
        self.token = query_statistics.set(self)

    def batch(self, loader: str, size: int) -> AbstractContextManager[object] | None:
        """Take note of a batch, as `batch_observed` says."""
        if self.on_batch is not None:
            self.on_batch(loader, size)
        return None if self.batch_span is None else self.batch_span(loader, size)


def observed() -> Observation | None:
    """Return the observation that is under way."""
    seen = query_statistics.get()
    return seen if isinstance(seen, Observation) else None


def batch_observed(loader: str, size: int) -> AbstractContextManager[object] | None:
    """Tell whoever observes the operation that `loader` loads a batch of `size` keys.

    Where the batch is traced it is to be loaded within what is returned.
    """
    seen = query_statistics.get()
    return seen.batch(loader, size) if isinstance(seen, Observation) else None
