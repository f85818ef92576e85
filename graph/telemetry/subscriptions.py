"""The numbers of subscriptions and of their events, and the log line of a subscription at its end."""

import logging
import time
from collections.abc import Callable, Iterable
from functools import partial

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from graph.telemetry.counts import Buckets
from graph.telemetry.current import Observation
from graph.telemetry.logs import write

logger = logging.getLogger("folio.subscription")

_LAG_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)


class _Numbers:
    """The numbers of the subscriptions to one field."""

    __slots__ = ("ended", "events", "lag", "opened", "resumed")

    def __init__(self) -> None:
        self.opened = self.resumed = self.events = 0
        self.ended: dict[str, int] = {}
        self.lag = Buckets(_LAG_SECONDS)


class Subscriptions(Collector):
    """The numbers of one process, as metrics. Fields of the schema and reasons of the code are the only labels.

    Attributes:
        live: return how many WebSockets and how many streams of events are open.
    """

    live: Callable[[], tuple[int, int]] = staticmethod(lambda: (0, 0))

    def __init__(self) -> None:
        self._fields: dict[str, _Numbers] = {}

    def opened(self, seen: Observation, field: str, *, is_resumed: bool) -> None:
        """Count a subscription to the field `field` of the schema that was opened, perhaps with a cursor.

        Its span ends here: spans of its events refer to it, and it may stay open for days.
        """
        if seen.span is not None:
            seen.span.end(seen)
        numbers = self._fields.setdefault(field, _Numbers())
        numbers.opened += 1
        numbers.resumed += is_resumed

    def sent(self, field: str, lag_s: float) -> None:
        """Count an event that was sent `lag_s` seconds after its change was made."""
        numbers = self._fields[field]
        numbers.events += 1
        numbers.lag.add(max(lag_s, 0.0))

    def ended(self, seen: Observation, field: str, events: int, reason: str) -> None:
        """Count a subscription that has ended after so many events, and write its log line."""
        numbers = self._fields[field]
        numbers.ended[reason] = numbers.ended.get(reason, 0) + 1
        seen.total_ns = time.perf_counter_ns() - seen.started_ns
        if logger.isEnabledFor(logging.INFO):
            write(logger, logging.INFO, "subscription", partial(_line, seen, field, events, reason))

    def collect(self) -> Iterable[Metric]:
        """Return all metrics with their current values."""
        sockets, streams = self.live()
        connections = GaugeMetricFamily("folio_live_connections", "Open live connections.", labels=["transport"])
        connections.add_metric(["websocket"], sockets)
        connections.add_metric(["sse"], streams)
        yield connections
        running = GaugeMetricFamily("folio_subscriptions", "Open subscriptions.", labels=["field"])
        resumed = CounterMetricFamily(
            "folio_subscriptions_resumed", "Subscriptions opened with a cursor.", labels=["field"]
        )
        ended = CounterMetricFamily(
            "folio_subscriptions_ended", "Ended subscriptions by reason.", labels=["field", "reason"]
        )
        events = CounterMetricFamily("folio_events", "Events sent to subscribers.", labels=["field"])
        lag = Metric("folio_event_lag_seconds", "Time from a change until its event is sent.", "histogram")
        for field, numbers in self._fields.items():
            running.add_metric([field], numbers.opened - sum(numbers.ended.values()))
            resumed.add_metric([field], numbers.resumed)
            events.add_metric([field], numbers.events)
            for reason, count in numbers.ended.items():
                ended.add_metric([field, reason], count)
            numbers.lag.show(lag, {"field": field})
        yield from (running, resumed, ended, events, lag)


def _line(seen: Observation, field: str, events: int, reason: str) -> dict[str, object]:
    return {
        "request_id": seen.request_id,
        "trace_id": seen.trace.trace_id,
        "span_id": seen.trace.span_id,
        "operation": seen.operation,
        "field": field,
        "document": seen.document,
        "user_id": seen.user_id,
        "events": events,
        "reason": reason,
        "cost": seen.cost,
        "statements": seen.statements,
        "rows": seen.rows,
        "database_us": seen.waited_ns // 1000,
        "total_us": seen.total_ns // 1000,
    }
