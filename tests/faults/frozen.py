"""A PostgreSQL of one's own whose processes can be stopped in their tracks, as on a host that stands still."""

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.db.clusters import postmaster


class Cluster:
    """The processes of the cluster in `data_dir`."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let all its processes stand still for as long as the block runs; the kernel still accepts connections."""
        parent = postmaster(self.data_dir)
        try:
            _signal(_children(parent), signal.SIGSTOP)
            os.kill(parent, signal.SIGSTOP)
            _signal(_children(parent), signal.SIGSTOP)  # those that it had started meanwhile
            yield
        finally:
            _signal([*_children(parent), parent], signal.SIGCONT)


@contextmanager
def frozen_backend(pid: int) -> Iterator[None]:
    """Let one backend stand still for as long as the block runs."""
    try:
        os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        _signal([pid], signal.SIGCONT)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _children(parent: int) -> list[int]:
    return [int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if _parent(stat) == parent]


def _parent(stat: Path) -> int | None:
    # See proc(5): the name of the program stands in brackets, and may have any characters; state and parent follow.
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None
