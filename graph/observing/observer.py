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

from db.engine import Database
from db.settings import Settings, SettingsError
from db.tally import Tally, tally
from graph.observing.current import Observation, observation
from graph.observing.gauges import Gauges
from graph.observing.logs import flush, write
from graph.observing.looplag import loop_lag_watched
from graph.observing.metrics import Metrics
from graph.observing.traces import trace_of

if TYPE_CHECKING:  # an extra, and imported only where it is asked for
    from graph.observing.tracing import Tracing

logger = logging.getLogger("folio.operation")

_SERVER_ERROR = 500


class Observer:
    """Everything that observes one process."""

    def __init__(self, settings: Settings) -> None:
        self.metrics = Metrics() if settings.shows("metrics") else None
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
        """Start to observe an operation. Each `begin` is followed by its `end` in the same task."""
        trace = trace_of(traceparents)
        span = batch_span = None
        counts = Tally()
        if self.tracing is not None:
            span = self.tracing.operation(trace)
            trace = span.trace
            counts.on_statement, batch_span = self.tracing.statement, self.tracing.batch
        seen = Observation(request_id, trace, user_id, counts, started_ns=time.perf_counter_ns())
        seen.batch_span = batch_span
        if self.metrics is not None:
            seen.on_batch = self.metrics.batch
        heard = self.metrics is not None or span is not None or logger.isEnabledFor(logging.INFO)
        if heard:
            seen.tokens = (tally.set(counts), observation.set(seen))
        seen.span = span
        return seen

    def end(self, seen: Observation, status: int) -> None:
        """Tell everybody that the operation is over, answered with this HTTP status."""
        seen.status = status
        seen.total_ns = time.perf_counter_ns() - seen.started_ns
        if seen.tokens is not None:
            tally.reset(seen.tokens[0])
            observation.reset(seen.tokens[1])
            seen.tokens = None
        if seen.span is not None:
            seen.span.end(seen)
        if self.metrics is not None:
            self.metrics.finished(seen)
        level = logging.WARNING if status >= _SERVER_ERROR else logging.INFO
        if logger.isEnabledFor(level):
            write(logger, level, "operation" if seen.kind else "refused", partial(_line, seen))


def _tracing(endpoint: str) -> "Tracing":
    try:
        from graph.observing.tracing import exported_to  # noqa: PLC0415 - an extra, and slow to import
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
        "statements": seen.tally.statements,
        "rows": seen.tally.rows,
        "database_us": seen.tally.waited_ns // 1000,
        "total_us": seen.total_ns // 1000,
    }
