"""The supervisor of several workers: uvicorn's, with a long limit for starting and a short one for answering.

uvicorn has one limit for both. A worker that imports for longer than that is killed and started again, for ever, where
several start on one busy processor; and with a limit that is long enough for this, a worker that hangs is noticed late.
"""

import contextlib
import time
from collections.abc import Iterator
from socket import socket

from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

START_LIMIT_S = 60
HUNG_AFTER_S = 5


class Supervisor(Multiprocess):
    """Keeps workers: one that is starting has time, and one that has started answers soon or is replaced."""

    def __init__(self, config: Config, sockets: list[socket]) -> None:
        """Keep as many workers as `config` says, which share `sockets`."""
        config.timeout_worker_healthcheck = HUNG_AFTER_S
        super().__init__(config, sockets)
        self._starting: dict[Process, _Start] = {}
        self._started: set[Process] = set()

    @property
    def is_broken(self) -> bool:
        """Whether it has ended because a worker could not start, as each after it could not."""
        return any(one.exitcode == STARTUP_FAILURE for one in self.processes)

    def keep_subprocess_alive(self) -> None:
        """Replace workers that have ended or hang. Those that are starting are asked, and not waited for."""
        starting = {place: one for place, one in enumerate(self.processes) if self._is_starting(one)}
        self.processes = [one for one in self.processes if one not in starting.values()]
        try:
            super().keep_subprocess_alive()
        finally:
            for place, one in starting.items():
                self.processes.insert(place, one)
            self._started.intersection_update(self.processes)
            self._starting = {one: start for one, start in self._starting.items() if one in self.processes}

    def restart_all(self) -> None:
        """Replace each worker by a new one, as soon as that one has started."""
        with self._limited(START_LIMIT_S):
            super().restart_all()

    @contextlib.contextmanager
    def _limited(self, seconds: int) -> Iterator[None]:
        before, self.config.timeout_worker_healthcheck = self.config.timeout_worker_healthcheck, seconds
        try:
            yield
        finally:
            self.config.timeout_worker_healthcheck = before

    def _is_starting(self, process: Process) -> bool:
        """Say whether a worker still may take its time: it runs, has not started yet, and is within the limit."""
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
        self._is_asked = False
        self._late_at = time.monotonic() + START_LIMIT_S

    @property
    def is_late(self) -> bool:
        return time.monotonic() >= self._late_at

    def is_over(self) -> bool:
        """Look whether the worker serves by now, without waiting for its answer."""
        # One question at a time: an answer that nobody takes would later pass for the answer of a worker that hangs.
        door, serves = self._process.parent_conn, False
        with contextlib.suppress(OSError, EOFError):  # it has ended
            if not self._is_asked:
                door.send(b"ping")
                self._is_asked = True
            while door.poll():
                serves, self._is_asked = bool(door.recv()), False
        return serves
