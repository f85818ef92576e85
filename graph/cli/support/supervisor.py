"""The supervisor of several workers: uvicorn's, with a long limit for starting and a short one for answering.

uvicorn has one limit for both. A worker that imports for longer than that is killed and started again, for ever, where
several start on one busy processor; and with a limit that is long enough for this, a worker that hangs is noticed late.
"""

import contextlib
import logging
import signal
import time
from socket import socket

from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

logger = logging.getLogger(__name__)

START_LIMIT_S = 60
HUNG_AFTER_S = 5


class Supervisor(Multiprocess):
    """Keeps workers: one that is starting has time, and one that has started answers soon or is replaced."""

    def __init__(self, config: Config, sockets: list[socket]) -> None:
        """Keep as many workers as `config` says, which share `sockets`."""
        # All that uvicorn itself still waits for by this limit is the start of a worker that replaces another one.
        config.timeout_worker_healthcheck = START_LIMIT_S
        super().__init__(config, sockets)
        self._starting: dict[Process, _Start] = {}
        self._started: set[Process] = set()

    @property
    def is_broken(self) -> bool:
        """Whether it has ended because a worker could not start, as each after it could not."""
        return any(one.exitcode == STARTUP_FAILURE for one in self.processes)

    def keep_subprocess_alive(self) -> None:
        """Replace workers that have ended or hang. Those that are starting are asked, and not waited for."""
        for place, worker in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            if self._is_starting(worker) or worker.is_alive(timeout=HUNG_AFTER_S):
                continue
            hangs = worker.process.is_alive()
            worker.kill()
            worker.join()
            if worker.exitcode == STARTUP_FAILURE:
                logger.error("worker [%s] cannot start, and no other could: the server ends", worker.pid)
                self.should_exit.set()
                return
            what = f"has not answered for {HUNG_AFTER_S} s" if hangs else _end(worker.exitcode)
            logger.error("worker [%s] %s, and is replaced", worker.pid, what)
            self.processes[place] = Process(self.config, self.sockets)
            self.processes[place].start()
        self._started.intersection_update(self.processes)
        self._starting = {one: start for one, start in self._starting.items() if one in self.processes}

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


def _end(exitcode: int | None) -> str:
    """Say how a process has ended."""
    if exitcode is not None and exitcode < 0:
        return f"was ended by {signal.Signals(-exitcode).name}"
    return f"has ended with status {exitcode}"
