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
        observation = Observation(request_id, trace_of(traceparents), user_id)
        if self.tracing is not None:
            observation.span = self.tracing.operation(observation.trace)
            observation.trace = observation.span.trace
            observation.on_statement, observation.batch_span = self.tracing.statement, self.tracing.batch
        observation.started_ns = time.perf_counter_ns()
        return observation

    def enter(self, observation: Observation) -> None:
        """Record from now on what runs in the current task. `end` must be called in the same task."""
        if self.metrics is not None or observation.span is not None or logger.isEnabledFor(logging.INFO):
            observation.enter()

    @contextmanager
    def event(self, subscription: Observation) -> Iterator[Observation]:
        """Observe an event of a subscription within the block: as a span of its trace, and in its numbers."""
        observation = self.begin(subscription.request_id, [subscription.trace.traceparent], subscription.user_id)
        observation.operation, observation.kind = subscription.operation, subscription.kind
        observation.document, observation.cost = subscription.document, subscription.cost
        self.enter(observation)
        try:
            yield observation
        finally:
            if observation.token is not None:
                observation.leave()
            if observation.span is not None:
                observation.span.end(observation)
            subscription.statements += observation.statements
            subscription.rows += observation.rows
            subscription.waited_ns += observation.waited_ns

    def end(self, observation: Observation, status: int) -> None:
        """Report the end of an operation to all outputs; `status` is the HTTP status of its response."""
        observation.status = status
        observation.total_ns = time.perf_counter_ns() - observation.started_ns
        if observation.token is not None:
            observation.leave()
        if observation.span is not None:
            observation.span.end(observation)
        if self.metrics is not None:
            self.metrics.finished(observation)
        level = logging.WARNING if status >= _SERVER_ERROR else logging.INFO
        if logger.isEnabledFor(level):
            write(logger, level, "operation" if observation.kind else "refused", partial(_line, observation))


def _tracing(endpoint: str) -> "Tracing":
    try:
        from graph.telemetry.tracing import exported_to  # noqa: PLC0415 - optional, and slow to import
    except ImportError:
        raise SettingsError("FOLIO_OTLP_ENDPOINT needs the extra: pip install 'folio[telemetry]'") from None
    return exported_to(endpoint)


def _line(observation: Observation) -> dict[str, object]:
    return {
        "request_id": observation.request_id,
        "trace_id": observation.trace.trace_id,
        "span_id": observation.trace.span_id,
        "operation": observation.operation,
        "kind": observation.kind,
        "document": observation.document,
        "user_id": observation.user_id,
        "status": observation.status,
        "errors": list(observation.codes),
        "cost": observation.cost,
        "statements": observation.statements,
        "rows": observation.rows,
        "database_us": observation.waited_ns // 1000,
        "total_us": observation.total_ns // 1000,
    }
