"""The observer opens an observation for each operation, and passes it to log, metrics and trace when it ends.

An output that is switched off costs nothing. A log level above `info` drops the lines of successful operations. Where
all outputs are switched off, there are no query statistics either.
"""

import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool

from db.connections.database import Database
from db.settings import Settings, SettingsError
from graph.telemetry.current import Observation
from graph.telemetry.gauges import Gauges
from graph.telemetry.logs import flush, write
from graph.telemetry.looplag import loop_lag_watched
from graph.telemetry.metrics import Metrics
from graph.telemetry.subscriptions import Subscriptions
from graph.telemetry.traces import trace_of

if TYPE_CHECKING:  # an optional dependency, imported only if tracing is switched on
    from graph.telemetry.tracing import Tracing

logger = logging.getLogger("folio.operation")

_SERVER_ERROR = 500


class Observer:
    """Log, metrics and traces of one process.

    Attributes:
        subscriptions: counts subscriptions and their events.
    """

    def __init__(self, settings: Settings) -> None:
        self.metrics = Metrics() if settings.shows("metrics") else None
        self.subscriptions = Subscriptions()
        self.tracing = _tracing(settings.otlp_endpoint) if settings.otlp_endpoint else None

    @asynccontextmanager
    async def watching(self, gauges: Gauges, database: Database) -> AsyncIterator[None]:
        """While the process serves, collect what does not belong to an operation: gauges and the event loop's delay."""
        async with AsyncExitStack() as stack:
            if self.metrics is not None:
                gauges.database = database
                for collector in (gauges, self.subscriptions):
                    self.metrics.registry.register(collector)
                    stack.callback(self.metrics.registry.unregister, collector)
                await stack.enter_async_context(loop_lag_watched(self.metrics.lag))
            stack.callback(flush)
            yield
            if self.tracing is not None:
                await run_in_threadpool(self.tracing.close)

    def begin(self, request_id: str, traceparents: Sequence[str], user_id: int | None) -> Observation:
        """Start to observe an operation. What runs in a task is recorded from `enter` on."""
        seen = Observation(request_id, trace_of(traceparents), user_id)
        if self.tracing is not None:
            seen.span = self.tracing.operation(seen.trace)
            seen.trace = seen.span.trace
            seen.on_statement, seen.batch_span = self.tracing.statement, self.tracing.batch
        seen.started_ns = time.perf_counter_ns()
        return seen

    def enter(self, seen: Observation) -> None:
        """Record from now on what runs in the current task. `end` must be called in the same task."""
        if self.metrics is not None or seen.span is not None or logger.isEnabledFor(logging.INFO):
            seen.enter()

    @contextmanager
    def event(self, subscription: Observation) -> Iterator[Observation]:
        """Observe an event of a subscription within the block: as a span of its trace, and in its numbers."""
        seen = self.begin(subscription.request_id, [subscription.trace.traceparent], subscription.user_id)
        seen.operation, seen.kind, seen.document = subscription.operation, subscription.kind, subscription.document
        seen.cost = subscription.cost
        self.enter(seen)
        try:
            yield seen
        finally:
            if seen.token is not None:
                seen.leave()
            if seen.span is not None:
                seen.span.end(seen)
            subscription.statements += seen.statements
            subscription.rows += seen.rows
            subscription.waited_ns += seen.waited_ns

    def end(self, seen: Observation, status: int) -> None:
        """Report the end of an operation to all outputs; `status` is the HTTP status of its response."""
        seen.status = status
        seen.total_ns = time.perf_counter_ns() - seen.started_ns
        if seen.token is not None:
            seen.leave()
        if seen.span is not None:
            seen.span.end(seen)
        if self.metrics is not None:
            self.metrics.finished(seen)
        level = logging.WARNING if status >= _SERVER_ERROR else logging.INFO
        if logger.isEnabledFor(level):
            write(logger, level, "operation" if seen.kind else "refused", partial(_line, seen))


def _tracing(endpoint: str) -> "Tracing":
    try:
        from graph.telemetry.tracing import exported_to  # noqa: PLC0415 - optional, and slow to import
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
