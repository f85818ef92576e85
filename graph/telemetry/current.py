"""The observation of the running operation, to which the batches of loaders are added."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from contextvars import Token
from typing import TYPE_CHECKING

from db.connections.statistics import QueryStatistics, query_statistics
from graph.telemetry.traces import Trace

if TYPE_CHECKING:  # an optional dependency, imported only if tracing is switched on
    from graph.telemetry.tracing import OperationSpan

BatchCounter = Callable[[str, int], None]
BatchSpan = Callable[[str, int], AbstractContextManager[object]]


class Observation(QueryStatistics):
    """The record of one operation, or of a request without a valid operation, but not the request itself.

    One is made for each request. Class attributes hold the initial values, so that making one is cheap.

    Attributes:
        operation: its name; None if it has none, or where no valid operation was found.
        kind: query or mutation; None if no valid operation was found.
        document: the hash of its document; None if the request has no document.
        deprecated: the deprecated schema coordinates that it uses.
        status: the status of the HTTP response.
        codes: `extensions.code` of each error in the response.
        ran: whether it was executed, with or without errors, and not refused before.
        total_ns: the time from its start to its response, in nanoseconds.
        on_batch: is called with each batch of a loader.
        batch_span: returns the context in which a batch of a loader runs.
        span: the span of the operation, where it is traced.
        token: restores the previous observation of this context.
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
        """Record from now on what runs in this context."""
        self.token = query_statistics.set(self)

    def batch(self, loader: str, size: int) -> AbstractContextManager[object] | None:
        """Record a batch, and return its span if it is traced, as `batch_observed` does."""
        if self.on_batch is not None:
            self.on_batch(loader, size)
        return None if self.batch_span is None else self.batch_span(loader, size)


def observed() -> Observation | None:
    """Return the observation of the running operation; None if none is observed."""
    seen = query_statistics.get()
    return seen if isinstance(seen, Observation) else None


def batch_observed(loader: str, size: int) -> AbstractContextManager[object] | None:
    """Add a batch of `size` keys of `loader` to the observation of the running operation.

    Returns:
        The context in which to load the batch, if it is traced; else None.
    """
    seen = query_statistics.get()
    return seen.batch(loader, size) if isinstance(seen, Observation) else None
