"""What an operator sees of a running process: log lines, metrics, traces. Nothing here changes what a client gets.

`observer` opens an `Observation` for each operation and, when it is over, hands it to whatever is switched on: `logs`
(one line), `metrics` (Prometheus; `gauges` are read at the scrape) and `tracing` (OpenTelemetry, imported only where it
is asked for). `current` is the observation that is under way, for those that add to it from below; `traces` reads and
writes W3C trace context; `looplag` measures how late the event loop is.

No variable, header, document or row ever gets here, so that no password and no token can get out: an operation is
known by its name and the hash of its document.
"""
