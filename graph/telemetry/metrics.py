"""The metrics of one process, which Prometheus scrapes at `/metrics`.

Operations and batches are counted as plain numbers (`counts`) and converted to Prometheus's format at the scrape. The
counters and histograms of prometheus-client take 3.4 us per operation instead of 0.7: with them a server answered 18 %
fewer lookups.

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
from collections.abc import Iterable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    Metric,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import Sample

from graph.telemetry.counts import OperationCounts
from graph.telemetry.current import Observation

PAGE_MEDIA_TYPE = CONTENT_TYPE_LATEST
NAMES_MAX = 200
NAME_LENGTH_MAX = 64
# Counting many at once takes less time than counting each between other work. `page` counts all first.
COUNTED_TOGETHER = 100
OTHER, UNNAMED, UNKNOWN = "other", "unnamed", "none"

_LAG_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)
_SERVER_ERROR = 500


class Metrics:
    """The counters and histograms of one process, and the page that shows them."""

    def __init__(self) -> None:
        self.registry = _LabelledRegistry({"worker": str(os.getpid())})
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._operations = OperationCounts()
        self.registry.register(self._operations)
        self._errors = self._counter("folio_errors", "Errors in answers, RATE_LIMITED among them.", "code")
        self._deprecated = self._counter("folio_deprecated_uses", "Runs that used what is deprecated.", "coordinate")
        self._lag = Histogram(
            "folio_event_loop_lag_seconds", "How late the event loop was.", buckets=_LAG_SECONDS, registry=self.registry
        )
        self._names: set[str] = set()
        self._ended: list[Observation] = []

    def page(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        self._count_all()
        return generate_latest(self.registry)

    def finished(self, observation: Observation) -> None:
        """Count an operation that has ended, or a request that was refused before it had one, together with others."""
        self._ended.append(observation)
        if len(self._ended) >= COUNTED_TOGETHER:
            self._count_all()

    def _count_all(self) -> None:
        ended, self._ended = self._ended, []
        alike: dict[tuple[str | None, str | None, str], list[float]] = {}
        for observation in ended:
            alike.setdefault((observation.operation, observation.kind, _ended(observation)), []).append(
                observation.total_ns / 1e9
            )
            for loader, size in observation.batches:
                self._operations.batch(loader, size)
            if observation.codes or observation.deprecated:
                self._count_uses(observation)
        for (name, kind, ending), seconds in alike.items():
            self._operations.ended(self._label(name, kind), kind or UNKNOWN, ending, seconds)
        self._operations.priced(
            [(observation.cost, observation.statements) for observation in ended if observation.cost is not None]
        )

    def _count_uses(self, observation: Observation) -> None:
        for code in observation.codes:
            self._errors.labels(code).inc()
        for coordinate in observation.deprecated:
            self._deprecated.labels(coordinate).inc()

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


def _ended(observation: Observation) -> str:
    if observation.status >= _SERVER_ERROR:
        return "failed"
    if not observation.ran:
        return "refused"
    return "errors" if observation.codes else "ok"


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
