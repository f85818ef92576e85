"""The cluster of the embedded PostgreSQL's tests, used from this process and from other processes."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from db.embedded.server import EmbeddedServer

ROOT = Path(__file__).parents[3]
LIMIT_S = 20
USER = """
import signal
import sys
from pathlib import Path
from db.embedded.server import embedded_postgres

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell makes the processes that it starts with & ignore it
with embedded_postgres(Path(sys.argv[1])) as server:
    print(server.url(), flush=True)
    sys.stdin.read()
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what belongs to others")


@contextmanager
def reachable_directory() -> Iterator[Path]:
    # Not pytest's tmp_path: if root runs the tests, only root can enter it, and PostgreSQL never runs as root.
    with tempfile.TemporaryDirectory(prefix="folio-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name).resolve()


async def fetch(server: EmbeddedServer, statement: str, role: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(server.url(role=role).replace("+asyncpg", ""))
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


def rows(server: EmbeddedServer, statement: str, role: str = "folio") -> list[tuple[object, ...]]:
    return asyncio.run(fetch(server, statement, role))


def serves(server: EmbeddedServer) -> bool:
    try:
        return rows(server, "SELECT 1") == [(1,)]
    except OSError:
        return False


def postmaster(data_dir: Path) -> int:
    return int((data_dir / "pgdata/postmaster.pid").read_text().split()[0])


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def user(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that uses the directory until its standard input is closed."""
    command = [sys.executable, "-c", USER, str(data_dir)]
    with subprocess.Popen(  # noqa: S603 - this interpreter, the text above
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def entered(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return process.stdout.readline().startswith("postgresql+asyncpg://folio@/folio?host=/")


def leave(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
