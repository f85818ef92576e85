"""The processes of an embedded PostgreSQL: frozen, killed, and started again.

Only processes that the caller started are affected: a cluster is identified by its data directory.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from db.embedded.server import embedded_postgres

GONE_LIMIT_S = 20
_POLL_S = 0.005


@dataclass(frozen=True)
class Cluster:
    """The processes of the embedded PostgreSQL in `data_dir`, which is started with `options`."""

    data_dir: Path
    options: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze all its processes while the block runs. The kernel still accepts connections."""
        parent = self.postmaster()
        try:
            _signal(children(parent), signal.SIGSTOP)
            os.kill(parent, signal.SIGSTOP)
            _signal(children(parent), signal.SIGSTOP)  # the ones that it has started in between
            yield
        finally:
            _signal([*children(parent), parent], signal.SIGCONT)

    def postmaster(self) -> int:
        """Return the process id of the postmaster, the parent of all others."""
        return int((self.data_dir / "pgdata" / "postmaster.pid").read_text(encoding="ascii").split()[0])

    def kill(self) -> None:
        """Kill all its processes by SIGKILL. It is like a power failure, except that the kernel keeps written data.

        Raises:
            TimeoutError: the processes do not end.
        """
        parent = self.postmaster()
        _signal([parent], signal.SIGSTOP)  # so that it starts no further processes during the kill
        family = [*children(parent), parent]
        _signal(family, signal.SIGKILL)
        deadline = time.monotonic() + GONE_LIMIT_S
        while any(map(_runs, family)):
            if time.monotonic() > deadline:
                raise TimeoutError("killed processes do not end")
            time.sleep(_POLL_S)

    def start(self) -> None:
        """Start it again after `kill`, and wait until it has recovered. The code that started it first stops it."""
        with embedded_postgres(self.data_dir, options=self.options):
            pass


@contextmanager
def frozen_process(pid: int) -> Iterator[None]:
    """Freeze one process while the block runs. The process may have ended already."""
    try:
        _signal([pid], signal.SIGSTOP)
        yield
    finally:
        _signal([pid], signal.SIGCONT)


def children(parent: int) -> list[int]:
    """Return the process ids of the processes that `parent` has started."""
    return [int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if _parent_and_state(stat)[0] == parent]


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _runs(pid: int) -> bool:
    return _parent_and_state(Path(f"/proc/{pid}/stat"))[1] not in {None, "Z"}


def _parent_and_state(stat: Path) -> tuple[int | None, str | None]:
    # See proc(5): the program's name is in parentheses, and may contain any characters; state and parent follow.
    try:
        state, parent = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[:2]
        return int(parent), state
    except (FileNotFoundError, ProcessLookupError):
        return None, None
