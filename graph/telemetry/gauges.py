"""Metrics that are read at the scrape: the pool, the operation cache, and the number of running requests.

They cost nothing while operations run.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from db.connections.database import Database


class Cache(Protocol):
    """The numbers that the operation cache provides."""

    @property
    def hits(self) -> int:
        """How often a prepared operation was found."""

    @property
    def misses(self) -> int:
        """How often none was found."""

    @property
    def size(self) -> int:
        """The number of documents in the cache."""

    @property
    def runs_by_engine(self) -> Mapping[tuple[str, str], int]:
        """The number of runs by engine and, for the ordinary engine, by the reason why it was not the compiled one."""


class Gauges(Collector):
    """The collector of these metrics. It omits those of the database until the database is available."""

    def __init__(self, cache: Cache, in_flight: Callable[[], int]) -> None:
        self._cache = cache
        self._in_flight = in_flight
        self.database: Database | None = None

    def describe(self) -> Iterable[Metric]:
        """Describe no metrics in advance: their names conflict with no others."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return all metrics with their current values."""
        cache = self._cache
        yield GaugeMetricFamily("folio_requests_in_flight", "Requests being answered.", value=self._in_flight())
        yield CounterMetricFamily("folio_operation_cache_hits", "Operations found prepared.", value=cache.hits)
        yield CounterMetricFamily("folio_operation_cache_misses", "Operations not found prepared.", value=cache.misses)
        yield GaugeMetricFamily("folio_operation_cache_size", "Documents kept, prepared or refused.", value=cache.size)
        runs = CounterMetricFamily(
            "folio_runs", "Runs of operations by engine, and why not by the compiled one.", labels=["engine", "reason"]
        )
        for labels, count in cache.runs_by_engine.items():
            runs.add_metric(labels, count)
        yield runs
        if self.database is not None:
            yield from _pool(self.database)


def _pool(database: Database) -> Iterable[Metric]:
    leases = database.leases  # SQLAlchemy's pool counts all of their connections as used
    connections = GaugeMetricFamily(
        "folio_pool_connections",
        "Connections by state; closing: tested after an interruption, or closed.",
        labels=["state"],
    )
    connections.add_metric(["in_use"], leases.in_use)
    connections.add_metric(["idle"], leases.idle)
    connections.add_metric(["opening"], leases.opening)
    connections.add_metric(["closing"], leases.closing)
    yield connections
    most = database.settings.pool_size + database.settings.pool_max_overflow
    yield GaugeMetricFamily("folio_pool_connections_max", "The maximum number of connections.", value=most)
    yield GaugeMetricFamily("folio_pool_waiting", "Requests that wait for a connection.", value=leases.waiting)
    counters = database.counters
    for name, text, value in (
        ("folio_pool_connects", "Connections opened.", counters.connects),
        ("folio_pool_check_outs", "Connections taken out of the pool.", counters.check_outs),
        ("folio_pool_check_ins", "Connections returned to the pool.", counters.check_ins),
        (
            "folio_pool_invalidations",
            "Connections that were closed because they could not be used again.",
            counters.invalidations,
        ),
        ("folio_statements", "SQL statements sent, those of signing in and of probes among them.", counters.statements),
        ("folio_write_retries", "Writes tried again after a deadlock or a serialization failure.", counters.retries),
    ):
        yield CounterMetricFamily(name, text, value=value)
