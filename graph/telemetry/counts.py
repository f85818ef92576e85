"""Counts of operations and of loaders' batches: plain numbers, converted to Prometheus's format at the scrape.

The counters and histograms of prometheus-client are made for threads: each takes a lock, and a histogram searches its
buckets one by one. Operations are counted and read in the thread of the event loop only, and counted a thousand times
or more for each scrape. The samples are the same.
"""

import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client import Metric
from prometheus_client.registry import Collector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_COSTS = (1, 10, 100, 1_000, 10_000, 100_000)
_STATEMENTS = (0, 1, 2, 3, 5, 8, 13, 21)
_KEYS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)


class Buckets:
    """The number of values between each two bounds, and their sum."""

    __slots__ = ("_bounds", "_counts", "_created", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._created = time.time()

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_all(self, values: Sequence[float]) -> None:
        """Count several values."""
        bounds, counts = self._bounds, self._counts
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self._sum += sum(values)

    def show(self, metric: Metric, labels: dict[str, str]) -> None:
        """Add the samples to a histogram."""
        count = 0
        for bound, within in zip((*self._bounds, float("inf")), self._counts, strict=True):
            count += within
            metric.add_sample(f"{metric.name}_bucket", {**labels, "le": _shown(bound)}, count)
        metric.add_sample(f"{metric.name}_count", labels, count)
        metric.add_sample(f"{metric.name}_sum", labels, self._sum)
        metric.add_sample(f"{metric.name}_created", labels, self._created)


def _shown(bound: float) -> str:
    return "+Inf" if bound == float("inf") else str(float(bound))


class _Ending:
    """The number of operations of one name, kind and status. Their durations are kept by name."""

    __slots__ = ("count", "created", "seconds")

    def __init__(self, seconds: Buckets) -> None:
        self.count = 0
        self.seconds = seconds
        self.created = time.time()


class OperationCounts(Collector):
    """The metrics of operations and batches. The caller bounds the names."""

    def __init__(self) -> None:
        self._endings: dict[tuple[str, str, str], _Ending] = {}
        self._seconds: dict[str, Buckets] = {}
        self._costs = Buckets(_COSTS)
        self._statements = Buckets(_STATEMENTS)
        self._batches: dict[str, Buckets] = {}

    def ended(self, name: str, kind: str, status: str, seconds: Sequence[float]) -> None:
        """Count operations that have ended, with the seconds that each took."""
        ending = self._endings.get((name, kind, status))
        if ending is None:
            buckets = self._seconds.setdefault(name, Buckets(_SECONDS))
            ending = self._endings[name, kind, status] = _Ending(buckets)
        ending.count += len(seconds)
        ending.seconds.add_all(seconds)

    def priced(self, each: Sequence[tuple[int, int]]) -> None:
        """Record the cost and the number of statements of each operation with a price."""
        self._costs.add_all([cost for cost, _ in each])
        self._statements.add_all([statements for _, statements in each])

    def batch(self, loader: str, size: int) -> None:
        """Record the number of keys of a batch of a loader."""
        buckets = self._batches.get(loader)
        if buckets is None:
            buckets = self._batches[loader] = Buckets(_KEYS)
        buckets.add(size)

    def collect(self) -> Iterable[Metric]:
        """Return all counts as Prometheus's metrics."""
        operations = Metric("folio_operations", "Operations by name and by how they ended.", "counter")
        for (name, kind, status), ending in self._endings.items():
            labels = {"operation": name, "kind": kind, "status": status}
            operations.add_sample("folio_operations_total", labels, ending.count)
            operations.add_sample("folio_operations_created", labels, ending.created)
        yield operations
        seconds = Metric("folio_operation_seconds", "How long operations took.", "histogram")
        for name, buckets in self._seconds.items():
            buckets.show(seconds, {"operation": name})
        yield seconds
        costs = Metric("folio_operation_cost", "The price of operations.", "histogram")
        self._costs.show(costs, {})
        yield costs
        statements = Metric("folio_operation_statements", "SQL statements that an operation took.", "histogram")
        self._statements.show(statements, {})
        yield statements
        keys = Metric("folio_loader_batch_keys", "Keys in a batch of a loader.", "histogram")
        for loader, buckets in self._batches.items():
            buckets.show(keys, {"loader": loader})
        yield keys
