"""The observation of the running operation, to which the batches of loaders are added."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import Token
from typing import TYPE_CHECKING

from db.connections.statistics import QueryStatistics, query_statistics
from graph.telemetry.traces import Trace

if TYPE_CHECKING:  # an optional dependency, imported only if tracing is switched on
    from graph.telemetry.tracing import OperationSpan

BatchSpan = Callable[[str, int], AbstractContextManager[object]]


class Observation(QueryStatistics):
    """The record of one operation, or of a request without a valid operation, but not the request itself.

    One is made for each request. Class attributes hold the initial values, so that making one is cheap.

    Attributes:
        operation: its name; None if it has none, or where no valid operation was found.
        kind: query or mutation; None if no valid operation was found.
        document: the hash of its document; None if the request has no document.
        ran: whether it was executed, with or without errors, and not refused before.
        total_ns: the time from its start to its response, in nanoseconds.
        batches: the loader and the number of keys of each batch.
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
    batches: Sequence[tuple[str, int]] = ()
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
        if self.span is not None:
            self.span.enter()

    def leave(self) -> None:
        """Stop to record what runs in this context; `enter` was called."""
        assert self.token is not None
        query_statistics.reset(self.token)
        self.token = None
        if self.span is not None:
            self.span.leave()

    def add_read(
        self, loader: str | None, sql: str, rows: int | None, elapsed_ns: int, error: Exception | None
    ) -> None:
        """Record a read that no task waited for, after it has ended: the batch of a loader, if one is named.

        The arguments are those of `add`.
        """
        if self.span is None:
            if loader is not None:
                self.batches = (*self.batches, (loader, 1))
            # As in `add`: only tracing sets `on_statement`.
            self.statements += 1
            self.rows += rows or 0
            self.waited_ns += elapsed_ns
            return
        self.enter()
        try:
            with (self.batch(loader, 1) if loader is not None else None) or nullcontext():
                self.add(sql, rows, elapsed_ns, error)
        finally:
            self.leave()

    def batch(self, loader: str, size: int) -> AbstractContextManager[object] | None:
        """Record a batch, and return its span if it is traced, as `batch_observed` does."""
        self.batches = (*self.batches, (loader, size))
        return None if self.batch_span is None else self.batch_span(loader, size)


def observed() -> Observation | None:
    """Return the observation of the running operation; None if none is observed."""
    observation = query_statistics.get()
    return observation if isinstance(observation, Observation) else None


def batch_observed(loader: str, size: int) -> AbstractContextManager[object] | None:
    """Add a batch of `size` keys of `loader` to the observation of the running operation.

    Returns:
        The context in which to load the batch, if it is traced; else None.
    """
    observation = query_statistics.get()
    return observation.batch(loader, size) if isinstance(observation, Observation) else None
