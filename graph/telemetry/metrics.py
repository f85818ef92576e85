"""The metrics of one process, which Prometheus scrapes at `/metrics`.

The counters and histograms are those of prometheus-client, which take 3.4 us per operation. Plain numbers, converted to
Prometheus's format at the scrape, took 0.7 us, but needed an additional module.

Several workers share a port, and a scrape reaches any one of them. So every sample has the label `worker`, the process
id: the series of each worker are correct, but a scrape returns them only now and then. If exact sums matter, run one
worker for each port, as under a container orchestrator. (prometheus-client's multiprocess mode adds up the workers, but
it writes each observation to files, needs a directory that is set and emptied before Python starts, and cannot read the
pool or the cache at the scrape.)

Labels are bounded: only names of valid operations become labels. After `NAMES_MAX` names, or if a name is long, the
label is `other`. A client that may send any document can use up the names; they can be trusted only if the documents
are trusted (`FOLIO_TRUSTED_DOCUMENTS=only`). The names of loaders, codes and coordinates come from the code.
"""

import os
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, Metric, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.samples import Sample

from graph.telemetry.current import Observation

PAGE_MEDIA_TYPE = CONTENT_TYPE_LATEST
NAMES_MAX = 200
NAME_LENGTH_MAX = 64
OTHER, UNNAMED, UNKNOWN = "other", "unnamed", "none"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_COSTS = (1, 10, 100, 1_000, 10_000, 100_000)
_STATEMENTS = (0, 1, 2, 3, 5, 8, 13, 21)
_KEYS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)
_LAG_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)
_SERVER_ERROR = 500


class Metrics:
    """The counters and histograms of one process, and the page that shows them."""

    def __init__(self) -> None:
        self.registry = _LabelledRegistry({"worker": str(os.getpid())})
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._operations = self._counter(
            "folio_operations", "Operations by name and by how they ended.", "operation", "kind", "status"
        )
        self._seconds = self._histogram("folio_operation_seconds", "How long operations took.", _SECONDS, "operation")
        self._costs = self._histogram("folio_operation_cost", "The price of operations.", _COSTS)
        self._statements = self._histogram(
            "folio_operation_statements", "SQL statements that an operation took.", _STATEMENTS
        )
        self._batch_keys = self._histogram("folio_loader_batch_keys", "Keys in a batch of a loader.", _KEYS, "loader")
        self._errors = self._counter("folio_errors", "Errors in answers, RATE_LIMITED among them.", "code")
        self._deprecated = self._counter("folio_deprecated_uses", "Runs that used what is deprecated.", "coordinate")
        self._lag = self._histogram("folio_event_loop_lag_seconds", "How late the event loop was.", _LAG_SECONDS)
        # The series of known labels: finding one with `labels` takes longer than adding to it.
        self._endings: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}
        self._loaders: dict[str, Histogram] = {}
        self._names: set[str] = set()

    def page(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)

    def finished(self, seen: Observation) -> None:
        """Count an operation that has ended, or a request that was refused before it had one."""
        labels = self._label(seen.operation, seen.kind), seen.kind or UNKNOWN, _ended(seen)
        ending = self._endings.get(labels)
        if ending is None:
            ending = self._endings[labels] = self._operations.labels(*labels), self._seconds.labels(labels[0])
        count, seconds = ending
        count.inc()
        seconds.observe(seen.total_ns / 1e9)
        if seen.cost is not None:
            self._costs.observe(seen.cost)
            self._statements.observe(seen.statements)
        for code in seen.codes:
            self._errors.labels(code).inc()
        for coordinate in seen.deprecated:
            self._deprecated.labels(coordinate).inc()

    def batch(self, loader: str, size: int) -> None:
        """Record the number of keys of a batch of a loader."""
        keys = self._loaders.get(loader)
        if keys is None:
            keys = self._loaders[loader] = self._batch_keys.labels(loader)
        keys.observe(size)

    def lag(self, seconds: float) -> None:
        """Record a delay of the event loop, in seconds."""
        self._lag.observe(seconds)

    def _label(self, name: str | None, kind: str | None) -> str:
        if kind is None:
            return UNKNOWN
        if name is None:
            return UNNAMED
        if name not in self._names:
            if len(self._names) >= NAMES_MAX or len(name) > NAME_LENGTH_MAX:
                return OTHER
            self._names.add(name)
        return name

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)


def _ended(seen: Observation) -> str:
    if seen.status >= _SERVER_ERROR:
        return "failed"
    if not seen.ran:
        return "refused"
    return "errors" if seen.codes else "ok"


class _LabelledRegistry(CollectorRegistry):
    """A registry that adds the same labels to every sample."""

    def __init__(self, labels: dict[str, str]) -> None:
        super().__init__(auto_describe=True)
        self._labels = labels

    def collect(self) -> Iterable[Metric]:
        """Return the collected metrics with the labels."""
        for metric in super().collect():
            metric.samples = [self._labelled(sample) for sample in metric.samples]
            yield metric

    def _labelled(self, sample: Sample) -> Sample:
        return sample._replace(labels={**self._labels, **sample.labels})
