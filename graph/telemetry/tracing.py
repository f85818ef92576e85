"""OpenTelemetry spans: one for each operation, each batch of a loader within it, and each statement within that.

Import this module only if tracing is switched on: its packages are in the optional dependency group `telemetry`. The
provider does not become the global one, so that an embedding program keeps its provider. The span of a statement is
written after the statement has run, with the time from the query statistics. Its text is the statement as sent, with
placeholders instead of values. Names follow OpenTelemetry's semantic conventions (1.33).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context as otel_context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)

from db.connections.statistics import ExecutedStatement
from graph.telemetry.current import Observation
from graph.telemetry.traces import Trace

EXPORT_TIMEOUT_S = 5
_SERVER_ERROR = 500


def exported_to(endpoint: str) -> "Tracing":
    """Return the tracing whose spans go to the collector at `endpoint`, in batches and from a separate thread."""
    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_S)
    return Tracing(BatchSpanProcessor(exporter))


class OperationSpan:
    """The span of a running operation."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def enter(self) -> None:
        """Make it the parent of all spans that begin in this context, until `leave`."""
        self._token = otel_context.attach(set_span_in_context(self._span))

    def leave(self) -> None:
        """Restore the previous parent of spans in this context."""
        otel_context.detach(self._token)

    @property
    def trace(self) -> Trace:
        """The span's place in its trace."""
        place = self._span.get_span_context()
        return Trace(format_trace_id(place.trace_id), format_span_id(place.span_id), sampled=place.trace_flags.sampled)

    def end(self, observation: Observation) -> None:
        """End the span, with the outcome of the operation as its attributes."""
        span = self._span
        if observation.kind is not None:
            span.update_name(
                f"{observation.kind} {observation.operation}" if observation.operation else observation.kind
            )
            span.set_attribute("graphql.operation.type", observation.kind)
        optional = {
            "graphql.operation.name": observation.operation,
            "folio.document": observation.document,
            "folio.cost": observation.cost,
            "enduser.id": None if observation.user_id is None else str(observation.user_id),
            "error.type": observation.codes[0] if observation.codes else None,
        }
        for name, value in optional.items():
            if value is not None:
                span.set_attribute(name, value)
        span.set_attribute("folio.request_id", observation.request_id)
        span.set_attribute("folio.statements", observation.statements)
        span.set_attribute("http.response.status_code", observation.status)
        if observation.status >= _SERVER_ERROR or any(map(_is_ours, observation.codes)):
            span.set_status(Status(StatusCode.ERROR))
        span.end()


class Tracing:
    """The spans of one process."""

    def __init__(self, processor: SpanProcessor) -> None:
        self._provider = TracerProvider(resource=Resource.create({"service.name": "folio"}), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("folio")

    def operation(self, trace: Trace) -> OperationSpan:
        """Begin the span of an operation, below the caller's span if the request has one."""
        # A span of an embedding program is not used as the parent: the caller is the client that sent the request.
        parent = otel_context.Context() if trace.parent_id is None else set_span_in_context(_remote(trace))
        # The conventions' name for an operation whose document is not known. `end` sets a better one.
        return OperationSpan(self._tracer.start_span("GraphQL Operation", parent, kind=SpanKind.SERVER))

    @contextmanager
    def batch(self, loader: str, size: int) -> Iterator[None]:
        """Open the span of a batch of a loader around the block."""
        attributes: dict[str, str | int] = {"folio.loader": loader, "folio.batch.size": size}
        # The exception itself is not recorded: its text may quote values of a row.
        with self._tracer.start_as_current_span(
            f"batch {loader}", attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except Exception as error:
                _failed(span, error)
                raise

    def statement(self, ran: ExecutedStatement) -> None:
        """Write the span of a statement that has run."""
        ended_ns = time.time_ns()
        verb = ran.sql.split(None, 1)[0].upper()
        attributes = {"db.system.name": "postgresql", "db.operation.name": verb, "db.query.text": ran.sql}
        span = self._tracer.start_span(
            verb, kind=SpanKind.CLIENT, attributes=attributes, start_time=ended_ns - ran.elapsed_ns
        )
        if ran.rows is not None:
            span.set_attribute("db.response.returned_rows", ran.rows)
        if ran.error is not None:
            _failed(span, ran.error)
        span.end(ended_ns)

    def close(self) -> None:
        """Send the remaining spans, and stop. It waits for the collector."""
        self._provider.shutdown()


def _remote(trace: Trace) -> Span:
    assert trace.parent_id is not None
    flags = TraceFlags(TraceFlags.SAMPLED if trace.sampled else TraceFlags.DEFAULT)
    return NonRecordingSpan(SpanContext(int(trace.trace_id, 16), int(trace.parent_id, 16), True, flags))


def _is_ours(code: str) -> bool:
    return code == "INTERNAL_SERVER_ERROR" or code.startswith("DATABASE_")


def _failed(span: Span, error: BaseException) -> None:
    span.set_attribute("error.type", getattr(error, "sqlstate", None) or type(error).__name__)
    span.set_status(Status(StatusCode.ERROR))
