"""Clients of the served API: the real application under uvicorn on a real socket, and users who send requests."""

import asyncio
import contextlib
import itertools
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from db.connections.database import Database
from db.settings import Settings
from graph.app import create_app
from graph.http.direct import DirectHttpProtocol
from graph.runtime.context import Services
from tests.graph.support.both_engines import compare_engines, compare_single_reads

PASSWORD = "correct horse battery"
KEEP_ALIVE_S = 60
TICK_S = 0.1  # of uvicorn: ten are a second
POLL_S = 0.001
SHUTDOWN_S = 60
# Each client of httpx reads the system's certificates, which takes 20 ms, unless it gets a context without any.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _Server(uvicorn.Server):
    """uvicorn's server, without the tenths of a second that it always waits at its end."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to pytest."""
        yield

    async def main_loop(self) -> None:
        """Tick until the server must stop."""
        for tick in itertools.count():
            await self.on_tick(tick)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), TICK_S)
                return

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close all sockets, wait for running requests, end the application."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        async with asyncio.timeout(SHUTDOWN_S):  # a request that never ends must fail the test, not hang it
            while self.server_state.connections or self.server_state.tasks:
                await asyncio.sleep(POLL_S)
        for server in self.servers:
            await server.wait_closed()
        await self.lifespan.shutdown()


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    """Serve `app` on a free port of the loopback interface, and yield its address. The test compares both engines."""
    compare_engines(app.state.operations.engines)
    compare_single_reads(app)
    # Explicitly TCP: otherwise asyncio leaves Nagle's algorithm on, and responses wait 40 ms for an acknowledgement.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        # A client with many connections may leave one idle for longer than the usual 5 s, and lose a request that
        # it sends at the moment when the server closes it: HTTP allows that, and these tests do not test it.
        config = uvicorn.Config(
            app,
            lifespan="on",
            http=DirectHttpProtocol,
            log_config=None,
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            if task.done():
                await task
            await asyncio.sleep(POLL_S)
        host, port = listener.getsockname()
        try:
            yield f"http://{host}:{port}"
        finally:
            server.stopping.set()
            await task


@dataclass(frozen=True)
class Person:
    """A user with an open session."""

    number: int
    username: str
    token: str

    @property
    def id(self) -> str:
        return f"user_{self.number}"


class Client:
    """A client of the API over HTTP."""

    def __init__(self, http: httpx.AsyncClient, services: Services) -> None:
        self.http = http
        self.services = services

    @property
    def database(self) -> Database:
        """The pool of the served application."""
        return self.services.database

    async def post(self, query: str, *, by: Person | None = None, **variables: Any) -> httpx.Response:
        """Send an operation and return the whole response."""
        headers = {"authorization": f"Bearer {by.token}"} if by else {}
        return await self.http.post("/graphql", json={"query": query, "variables": variables}, headers=headers)

    async def run(self, query: str, *, by: Person | None = None, **variables: Any) -> dict[str, Any]:
        """Send an operation and return the whole body."""
        body: dict[str, Any] = (await self.post(query, by=by, **variables)).json()
        return body

    async def data(self, query: str, *, by: Person | None = None, **variables: Any) -> Any:
        """Send an operation that has no errors and return its data."""
        body = await self.run(query, by=by, **variables)
        assert "errors" not in body, body["errors"]
        return body["data"]

    async def statements(self, query: str, *, by: Person | None = None, **variables: Any) -> int:
        """Send an operation that has no errors and return how many statements it took."""
        before = self.database.counters.statements
        await self.data(query, by=by, **variables)
        return self.database.counters.statements - before


SignUp = Callable[..., Awaitable[Person]]


def http_client(address: str | httpx.URL, *, connections: int = 100, timeout: float = 30) -> httpx.AsyncClient:
    """Return an HTTP client of a server that keeps its connections for as long as the server does.

    httpx's pool closes a connection after five idle seconds, even one that is just assigned to a request: this happens
    when the machine pauses for so long while requests are running.
    """
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=None)
    return httpx.AsyncClient(base_url=address, limits=limits, timeout=timeout, verify=NO_TLS)


@asynccontextmanager
async def serving_with(settings: Settings, **changes: object) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the application with some settings changed, and yield an HTTP client for it."""
    app = create_app(settings.model_copy(update=changes))
    async with serving(app) as address, http_client(address) as http:
        yield http
