"""Logs, metrics and traces of a running process, for its operator. They change no response to a client.

`observer` opens an `Observation` for each operation. When the operation has ended, the observer passes the observation
to the outputs that are switched on: `logs` (one line), `metrics` (Prometheus; `counts` are its numbers, `gauges` are
read at the scrape) and `tracing` (OpenTelemetry, imported only if it is switched on). `current` returns the observation
of the running operation to the layers below that add to it. `traces` reads and writes W3C trace context; `looplag`
measures the delay of the event loop.

This package receives no variable, header, document or row, so that it cannot reveal a password or token. An operation
is identified by its name and the hash of its document.
"""
