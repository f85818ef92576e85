"""The supervisor of several workers: uvicorn's, with a long limit for the start and a short one for health checks.

uvicorn has one limit for both. If it is short, workers that start on one busy processor are killed during their imports
and started again, without end. If it is long, a worker that hangs is detected late.
"""

import contextlib
import logging
import signal
import time
from socket import socket

from uvicorn import Config

from graph.http.wire.uvicorn_adapter import STARTUP_FAILURE, Multiprocess, Process

logger = logging.getLogger(__name__)

START_LIMIT_S = 60
HUNG_AFTER_S = 5


class Supervisor(Multiprocess):
    """Keeps workers running. A starting worker has time; a started worker that does not respond soon is replaced."""

    def __init__(self, config: Config, sockets: list[socket]) -> None:
        """Keep the number of workers in `config`; they share `sockets`."""
        # uvicorn itself uses this limit only for the start of a replacement worker.
        config.timeout_worker_healthcheck = START_LIMIT_S
        super().__init__(config, sockets)
        self._starting: dict[Process, _Start] = {}
        self._started: set[Process] = set()

    @property
    def is_broken(self) -> bool:
        """Whether it has ended because a worker could not start; a replacement could not start either."""
        return any(one.exitcode == STARTUP_FAILURE for one in self.processes)

    def keep_subprocess_alive(self) -> None:
        """Replace workers that have ended or hang. Starting workers are checked without waiting."""
        for place, worker in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            if self._is_starting(worker) or worker.is_alive(timeout=HUNG_AFTER_S):
                continue
            hangs = worker.process.is_alive()
            worker.kill()
            worker.join()
            if worker.exitcode == STARTUP_FAILURE:
                logger.error("worker [%s] cannot start, and neither can a replacement; the server stops", worker.pid)
                self.should_exit.set()
                return
            what = f"has not responded for {HUNG_AFTER_S} s" if hangs else _end(worker.exitcode)
            logger.error("worker [%s] %s, and is replaced", worker.pid, what)
            self.processes[place] = Process(self.config, self.sockets)
            self.processes[place].start()
        self._started.intersection_update(self.processes)
        self._starting = {one: start for one, start in self._starting.items() if one in self.processes}

    def _is_starting(self, process: Process) -> bool:
        """Return whether a worker is still starting: it runs, does not serve yet, and is within the limit."""
        if process in self._started:
            return False
        start = self._starting.setdefault(process, _Start(process))
        if start.is_over():
            self._started.add(process)
        return process.process.is_alive() and process not in self._started and not start.is_late


class _Start:
    """The start of a worker, from its first import to its first request."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._is_pinged = False
        self._late_at = time.monotonic() + START_LIMIT_S

    @property
    def is_late(self) -> bool:
        return time.monotonic() >= self._late_at

    def is_over(self) -> bool:
        """Return whether the worker serves now, without waiting for its response."""
        # One ping at a time: an unread response would later look like the response of a worker that hangs.
        pipe, serves = self._process.parent_conn, False
        with contextlib.suppress(OSError, EOFError):  # the worker has ended
            if not self._is_pinged:
                pipe.send(b"ping")
                self._is_pinged = True
            while pipe.poll():
                serves, self._is_pinged = bool(pipe.recv()), False
        return serves


def _end(exitcode: int | None) -> str:
    """Return a message that says how a process has ended."""
    if exitcode is not None and exitcode < 0:
        return f"was ended by {signal.Signals(-exitcode).name}"
    return f"has ended with status {exitcode}"
