"""Several workers: their start on a busy processor, their imports, and the replacement of one that hangs."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import orjson
import pytest
from uvicorn.config import STARTUP_FAILURE

from graph.cli.support.supervisor import START_LIMIT_S
from tests.graph.cli.test_serving import FOLIO, ROOT, free_port, started
from tests.graph.support.commands import start
from tests.graph.support.forked import forked

WORKERS = 4
BUSY = 3
LIMIT_S = 180  # the tests take 30 s on an idle machine; they do not measure time
# Modules that only commands need, and Alembic, which only a readiness probe needs.
COMMANDS_ONLY = (
    "typer",
    "rich",
    "pygments",
    "alembic",
    "mako",
    "graph.cli.app",
    "graph.cli.support.terminal",
    "db.seed.seeding",
)

needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


@contextmanager
def busy_processor() -> Iterator[int]:
    """A processor that other processes keep busy."""
    processor = min(os.sched_getaffinity(0))
    loop = f"import os; os.sched_setaffinity(0, [{processor}])\nwhile True: pass"
    others = [subprocess.Popen([sys.executable, "-c", loop]) for _ in range(BUSY)]  # noqa: S603 - this interpreter
    try:
        yield processor
    finally:
        for other in others:
            other.kill()
            other.wait()


async def end(process: asyncio.subprocess.Process) -> None:
    """Kill a server that still runs, and its workers."""
    if process.returncode is None:
        process.terminate()
        await process.wait()


def workers_of(supervisor: int) -> set[int]:
    """Return the process ids of the workers."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return {int(one) for one in children if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()}


def runs(process: Path) -> bool:
    """Return whether a process still runs, given its directory in /proc. The files of a zombie are empty."""
    try:
        return bool((process / "cmdline").read_bytes())
    except FileNotFoundError:
        return False


async def answering(port: int) -> set[int]:
    """Return the process ids of the workers that answer a few requests on separate connections."""
    found = set()
    for _ in range(20):
        async with httpx.AsyncClient(timeout=60) as http:
            page = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
        found.add(int(page.split('worker="', 1)[1].split('"', 1)[0]))
    return found


@needs_proc
@pytest.mark.long("four workers on a busy processor")
async def test_supervisor_waits_for_workers_that_start_slowly_on_a_busy_processor(
    database_url: str, tmp_path: Path
) -> None:
    port, seen = free_port(), set[int]()
    with busy_processor() as processor:
        pinned = f"import os; os.sched_setaffinity(0, [{processor}]); {FOLIO[-1]}"
        process = await asyncio.create_subprocess_exec(
            *(*FOLIO[:-1], pinned, "serve", "--workers", str(WORKERS), "--port", str(port)),
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "FOLIO_DATABASE_URL": database_url},
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(LIMIT_S):
                serving = set[int]()
                while len(serving) < WORKERS:
                    await asyncio.sleep(0.2)
                    seen |= workers_of(process.pid)
                    try:
                        serving |= await answering(port)
                    except httpx.TransportError:
                        assert process.returncode is None
            assert serving == seen  # no worker was killed and started again
        finally:
            await end(process)


@needs_proc
@pytest.mark.long("a process that hangs is waited for")
async def test_worker_that_hangs_is_replaced(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    async with started("serve", "--workers", "2", cwd=tmp_path, port=port, FOLIO_DATABASE_URL=database_url) as process:
        async with asyncio.timeout(LIMIT_S):
            while len(serving := await answering(port)) < 2:
                pass
        hung, other = serving
        os.kill(hung, signal.SIGSTOP)
        # At most the time of a start: the worker may hang before the supervisor has noticed that it serves.
        async with asyncio.timeout(START_LIMIT_S + 30):
            while hung in (now := workers_of(process.pid)) or len(now) < 2:
                await asyncio.sleep(0.1)
        assert other in now


@needs_proc
async def test_workers_end_when_their_supervisor_is_killed(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    async with forked("serve", "--workers", "2", cwd=tmp_path, port=port, FOLIO_DATABASE_URL=database_url) as process:
        workers = workers_of(process.pid)
        process.kill()
        async with asyncio.timeout(LIMIT_S):
            await process.wait()
            while any(runs(Path(f"/proc/{one}")) for one in workers):
                await asyncio.sleep(0.1)
    socket.create_server(("127.0.0.1", port)).close()  # succeeds at once: no process holds the port


@needs_proc
async def test_worker_that_hangs_ends_with_its_supervisor(tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text(
        "import multiprocessing, os, signal, time\n"
        "from graph.cli.support import worker\n"
        "def hang():\n"
        "    worker.END_LIMIT_S = 0.1\n"
        "    worker._end_after_supervisor()\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    print(os.getpid(), flush=True)\n"
        "    time.sleep(3600)\n"
        "if __name__ == '__main__':\n"
        "    multiprocessing.get_context('spawn').Process(target=hang).start()\n"
    )
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable,
        "hanging.py",
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert supervisor.stdout is not None
    worker = Path("/proc", (await supervisor.stdout.readline()).decode().strip())
    assert worker.exists()
    supervisor.kill()
    async with asyncio.timeout(LIMIT_S):
        await supervisor.wait()
        while runs(worker):
            await asyncio.sleep(0.1)


@needs_proc
async def test_death_of_a_worker_is_an_error_in_the_log(database_url: str, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    variables = {"FOLIO_DATABASE_URL": database_url, "FOLIO_LOG_FORMAT": "json"}
    async with forked("serve", "--workers", "2", cwd=tmp_path, port=port, log=log, **variables) as process:
        dead = min(workers_of(process.pid))
        os.kill(dead, signal.SIGKILL)
        async with asyncio.timeout(LIMIT_S):
            while dead in (now := workers_of(process.pid)) or len(now) < 2:
                await asyncio.sleep(0.1)
    lines = [orjson.loads(line) for line in log.read_bytes().splitlines() if line.startswith(b"{")]
    message = f"worker [{dead}] was ended by SIGKILL, and is replaced"
    assert [one["message"] for one in lines if one["level"] == "error"] == [message]


async def test_server_whose_workers_cannot_start_exits_with_an_error(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("no manifest")
    ended = await asyncio.to_thread(
        start(
            ["serve", "--workers", "2", "--port", str(free_port())],
            tmp_path,
            FOLIO_DATABASE_URL=database_url,
            FOLIO_TRUSTED_DOCUMENTS="only",
            FOLIO_TRUSTED_DOCUMENTS_FILE="manifest.json",
        ).ended
    )
    assert ended.code == STARTUP_FAILURE


def test_worker_imports_nothing_that_only_commands_need() -> None:
    program = "import sys, graph.cli, graph.cli.support.worker, graph.http.direct; print(*sys.modules)"
    done = subprocess.run(  # noqa: S603 - this interpreter, the text above
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    imported = set(done.stdout.split())
    assert "graph.app" in imported
    assert not imported.intersection(COMMANDS_ONLY)
