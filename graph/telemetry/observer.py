"""The one who watches: opens an observation for each operation, and tells log, metrics and trace of its end.

What is switched off costs nothing: a log level above `info` drops the lines of operations that ended well, and where
nothing listens at all, statements are not tallied either.
"""

import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool

from db.connections.database import Database
from db.connections.statistics import query_statistics
from db.settings import Settings, SettingsError
from graph.telemetry.current import Observation
from graph.telemetry.gauges import Gauges
from graph.telemetry.logs import flush, write
from graph.telemetry.looplag import loop_lag_watched
from graph.telemetry.metrics import Metrics
from graph.telemetry.traces import trace_of

if TYPE_CHECKING:  # an extra, and imported only where it is asked for
    from graph.telemetry.tracing import Tracing

logger = logging.getLogger("folio.operation")

_SERVER_ERROR = 500


class Observer:
    """Everything that observes one process."""

    def __init__(self, settings: Settings) -> None:
        self.metrics = Metrics() if settings.shows("metrics") else None
        self._on_batch = self.metrics.batch if self.metrics is not None else None
        self.tracing = _tracing(settings.otlp_endpoint) if settings.otlp_endpoint else None

    @asynccontextmanager
    async def watching(self, gauges: Gauges, database: Database) -> AsyncIterator[None]:
        """Do, while the process serves, what is done beside operations."""
        async with AsyncExitStack() as stack:
            if self.metrics is not None:
                gauges.database = database
                self.metrics.registry.register(gauges)
                await stack.enter_async_context(loop_lag_watched(self.metrics.lag))
                stack.callback(self.metrics.registry.unregister, gauges)
            stack.callback(flush)
            yield
            if self.tracing is not None:
                await run_in_threadpool(self.tracing.close)

    def begin(self, request_id: str, traceparents: Sequence[str], user_id: int | None = None) -> Observation:
        """Start to observe an operation, as what this context does. Each `begin` has its `end` in the same task."""
        seen = self.opened(request_id, traceparents, user_id)
        if self._on_batch is not None or seen.span is not None or logger.isEnabledFor(logging.INFO):
            seen.enter()
        return seen

    def opened(self, request_id: str, traceparents: Sequence[str], user_id: int | None = None) -> Observation:
        """Start to observe an operation that no context stands for; what it does is told to the observation itself."""
        seen = Observation(request_id, trace_of(traceparents), user_id)
        if self.tracing is not None:
            seen.span = self.tracing.operation(seen.trace)
            seen.trace = seen.span.trace
            seen.on_statement, seen.batch_span = self.tracing.statement, self.tracing.batch
        if self._on_batch is not None:
            seen.on_batch = self._on_batch
        seen.started_ns = time.perf_counter_ns()
        return seen

    def end(self, seen: Observation, status: int) -> None:
        """Tell everybody that the operation is over, answered with this HTTP status."""
        seen.status = status
        seen.total_ns = time.perf_counter_ns() - seen.started_ns
        if seen.token is not None:
            query_statistics.reset(seen.token)
            seen.token = None
        if seen.span is not None:
            seen.span.end(seen)
        if self.metrics is not None:
            self.metrics.finished(seen)
        level = logging.WARNING if status >= _SERVER_ERROR else logging.INFO
        if logger.isEnabledFor(level):
            write(logger, level, "operation" if seen.kind else "refused", partial(_line, seen))


def _tracing(endpoint: str) -> "Tracing":
    try:
        from graph.telemetry.tracing import exported_to  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        raise SettingsError("FOLIO_OTLP_ENDPOINT needs the extra: pip install 'folio[telemetry]'") from None
    return exported_to(endpoint)


def _line(seen: Observation) -> dict[str, object]:
    return {
        "request_id": seen.request_id,
        "trace_id": seen.trace.trace_id,
        "span_id": seen.trace.span_id,
        "operation": seen.operation,
        "kind": seen.kind,
        "document": seen.document,
        "user_id": seen.user_id,
        "status": seen.status,
        "errors": list(seen.codes),
        "cost": seen.cost,
        "statements": seen.statements,
        "rows": seen.rows,
        "database_us": seen.waited_ns // 1000,
        "total_us": seen.total_ns // 1000,
    }
