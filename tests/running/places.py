"""Where a test run keeps its server's data: in memory where there is enough of it, and no longer than it lasts.

A clone of the template is some three hundred files. On a disk that others use as well it takes a quarter of a second to
write them, in memory a fiftieth.
"""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "folio-tests-"
MEMORY = Path("/dev/shm")  # noqa: S108 - only the directories that mkdtemp makes in it are used
MEMORY_BYTES_MIN = 4 * 2**30
LOCK = "run.lock"


def make_run_directory(parent: Path | None = None) -> Path:
    """Make the directory that all workers of a run use in `parent`, and hold its lock until this process ends.

    What killed runs have left there goes. The directory is not below pytest's own, which is closed to other accounts:
    root's PostgreSQL runs as another.
    """
    parent = parent or roomy_directory()
    for left in parent.glob(f"{PREFIX}*"):
        _remove_if_abandoned(left)
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    while _locked(directory) is None:  # another run has taken it for an abandoned one, and removes it
        directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    directory.chmod(0o755)
    return directory


def roomy_directory() -> Path:
    """Return where a run keeps its data."""
    enough = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES_MIN
    return MEMORY if enough else Path(tempfile.gettempdir())


def _locked(directory: Path) -> int | None:
    lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _remove_if_abandoned(directory: Path) -> None:
    """Remove what a killed run has left. Its server ends when it finds its directory gone."""
    if directory.stat().st_uid != os.geteuid() or not (directory / LOCK).exists():
        return
    lock = _locked(directory)
    if lock is not None:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)
