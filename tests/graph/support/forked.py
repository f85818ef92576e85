"""`folio serve` in a separate process that is forked from one with all imports: its start takes no second.

`started` in `tests.graph.cli.test_serving` starts it from a shell's point of view, for tests of the start itself.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx

from tests.graph.support.callers import http_client
from tests.graph.support.commands import Output, start

POLL_S = 0.02
STARTED_S = 60


class Server:
    """A process with the methods of `asyncio.subprocess.Process` that tests use.

    Attributes:
        pid: its id.
    """

    def __init__(self, process: BaseProcess) -> None:
        assert process.pid is not None
        self._process = process
        self.pid: int = process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative after a signal; None while the process runs."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Wait for the end of the process, and return its exit code."""
        while (code := self.returncode) is None:
            await asyncio.sleep(POLL_S)
        return code


@asynccontextmanager
async def forked(
    *arguments: str, cwd: Path, port: int, log: str | Path = os.devnull, **environment: str
) -> AsyncIterator[Server]:
    """Start `folio …` as a separate process that logs into `log`, and wait until it is ready."""
    command = [*arguments, "--port", str(port)]
    running = start(command, cwd, output=Output.FILE, stdin=None, stderr=Path(log), **environment)
    server = Server(running.process)
    try:
        await _ready(server, port)
        yield server
    finally:
        server.kill()
        await server.wait()


async def _ready(server: Server, port: int) -> None:
    async with http_client(f"http://127.0.0.1:{port}") as http, asyncio.timeout(STARTED_S):
        while True:
            assert server.returncode is None
            try:
                if (await http.get("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(POLL_S)
