"""The world: PostgreSQL and the proxy in front of it, the server with its workers and its proxy, and some users."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from alembic import command
from pydantic import SecretStr

from bench.soak import wire
from bench.soak.network_proxy import Proxy, proxied, proxied_database
from bench.soak.processes import Cluster
from db.access import Viewer
from db.connections.database import Database
from db.embedded.server import EmbeddedServer, embedded_postgres
from db.repositories.sessions import Credentials, open_session
from db.repositories.users import NewUser, create_users
from db.settings import Settings
from db.setup.schema_version import alembic_config
from graph.runtime.tokens import TokenSigner

WORKERS = 2
START_LIMIT_S = 120
STOP_LIMIT_S = 45  # the server drains for 30 s
SECRET_KEY = "of no value: signs the tokens of a soak, whose database is thrown away"  # noqa: S105 - see its text
TOKEN_TTL_S = 86_400
# A crashed backend loses data in its memory, so commits are written to the kernel. The machine itself does not crash,
# so fsync is off.
OPTIONS = {"fsync": "off", "full_page_writes": "off", "folio.throwaway": "on", "max_connections": "100"}
POOL_SIZE, POOL_OVERFLOW = 8, 4
SERVER_SETTINGS = {
    "FOLIO_SECRET_KEY": SECRET_KEY,
    "FOLIO_ACCESS_TOKEN_TTL_S": str(TOKEN_TTL_S),
    "FOLIO_COST_PER_MINUTE_MAX": "0",
    "FOLIO_COST_PER_MINUTE_PER_ADDRESS_MAX": "0",
    "FOLIO_PASSWORDS_PER_MINUTE_PER_ADDRESS_MAX": "0",
    "FOLIO_POOL_SIZE": str(POOL_SIZE),
    "FOLIO_POOL_MAX_OVERFLOW": str(POOL_OVERFLOW),
    "FOLIO_METRICS": "true",
    "FOLIO_LOG_LEVEL": "warning",
}


@dataclass(frozen=True)
class Plan:
    """The parameters of a world.

    Attributes:
        users: the number of users besides the administrator.
        options: PostgreSQL's options.
        settings: variables of the server that differ from SERVER_SETTINGS.
        has_front_proxy: whether there is also a proxy between clients and the server.
        answer_limit_s: the seconds that a client waits for a response.
    """

    users: int = 10
    options: Mapping[str, str] = field(default_factory=lambda: OPTIONS)
    settings: Mapping[str, str] = field(default_factory=dict)
    has_front_proxy: bool = False
    answer_limit_s: float = wire.ANSWER_LIMIT_S


@dataclass
class User:
    """A user with a session, and the user's accounts."""

    number: int
    username: str
    token: str = field(repr=False)
    accounts: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The id in the API."""
        return f"user_{self.number}"

    @property
    def email(self) -> str:
        """The email address, which only the user may see."""
        return f"{self.username}@example.com"


@dataclass
class World:
    """All running parts.

    Attributes:
        cluster: PostgreSQL's processes.
        proxy: the proxy between the server and PostgreSQL.
        front: the proxy between clients and the server, or None.
        port: the port of the server.
        supervisor: the process that supervises the workers.
        admin: the administrator, who makes deposits.
    """

    plan: Plan
    postgres: EmbeddedServer
    cluster: Cluster
    proxy: Proxy
    front: Proxy | None
    port: int
    supervisor: subprocess.Popen[bytes]
    users: list[User]
    admin: User

    @property
    def client_port(self) -> int:
        """The port that clients connect to."""
        return self.front.port if self.front else self.port

    def pass_through(self) -> None:
        """Let both proxies forward everything."""
        for one in (self.proxy, self.front):
            if one is not None:
                one.pass_through()

    def end_half_open(self) -> None:
        """Reset the remaining side of all half-open connections."""
        for one in (self.proxy, self.front):
            if one is not None:
                one.end_half_open()

    def workers(self) -> list[int]:
        """Return the process ids of the running workers."""
        return [pid for pid in _children(self.supervisor.pid) if b"spawn_main" in _command_line(pid)]

    @asynccontextmanager
    async def superuser(self) -> AsyncIterator[Any]:
        """Connect to the database as a superuser, without the proxy."""
        connection = await asyncpg.connect(self.postgres.url(role="postgres").replace("+asyncpg", ""), timeout=10)
        try:
            yield connection
        finally:
            connection.terminate()


def memory_mib(pid: int) -> float | None:
    """Return the resident memory of a process in MiB; None if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), None)


def _children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


# ---------------------------------------------------------------- making it


@contextmanager
def database_made(plan: Plan) -> Iterator[tuple[EmbeddedServer, Cluster]]:
    """Start a PostgreSQL in a new directory, migrate it, and remove everything at the end."""
    with tempfile.TemporaryDirectory(prefix="folio-soak-") as name:
        Path(name).chmod(0o755)  # root's PostgreSQL runs as another account
        cluster = Cluster(Path(name) / "postgres", plan.options)
        with embedded_postgres(cluster.data_dir, options=plan.options) as server:
            command.upgrade(alembic_config(server.url()), "head")
            yield server, cluster


@asynccontextmanager
async def world_made(plan: Plan, postgres: EmbeddedServer, cluster: Cluster, log: Path) -> AsyncIterator[World]:
    """Make users, start the proxies and the server, and write the server's log to the file `log`."""
    admin, *users = await _people(postgres, plan.users)
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(proxied_database(postgres.url()))
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
        front = await stack.enter_async_context(proxied("127.0.0.1", port)) if plan.has_front_proxy else None
        process = _server(proxy.url(postgres.url().replace("+asyncpg", "")), port, log, plan.settings)
        world = World(plan, postgres, cluster, proxy, front, port, process, users, admin)
        try:
            await _is_up(world, log)
            yield world
        finally:
            world.pass_through()
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(_ended, process)


async def _people(postgres: EmbeddedServer, users: int) -> list[User]:
    settings = Settings(
        database_url=SecretStr(postgres.url()), secret_key=SecretStr(SECRET_KEY), access_token_ttl_s=TOKEN_TTL_S
    )
    database, signer = Database(settings), TokenSigner(settings)

    async def create(username: str, role: str) -> User:
        new = NewUser(f"{username}@example.com", username, "!", role=role)
        rows = await database.write(lambda one: create_users(one, Viewer(is_admin=True), ("id",), [new]))
        number: int = rows[0]["id"]
        credentials = Credentials(number, "!", role)
        session = await database.write(lambda one: open_session(one, credentials, TOKEN_TTL_S))
        if session is None or session.viewer.session_id is None:
            raise RuntimeError(f"{username} cannot sign in")
        return User(number, username, signer.sign(number, session.viewer.session_id).text)

    try:
        return [await create("banker", "admin"), *[await create(f"user{n}", "member") for n in range(users)]]
    finally:
        await database.close()


def _server(database_url: str, port: int, log: Path, settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("FOLIO_", "PG"))}
    variables |= {**SERVER_SETTINGS, **settings, "FOLIO_DATABASE_URL": database_url}
    program = [sys.executable, "-c", "from graph.cli import main; main()", "serve"]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603 - this interpreter and Folio's own command
            [*program, "--workers", str(WORKERS), "--port", str(port)], env=variables, stdout=output, stderr=output
        )


async def _is_up(world: World, log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and world.supervisor.poll() is None:
        try:
            if "200 OK" in await wire.page(world.port, "/readyz") and await workers_seen(world) == set(world.workers()):
                return
        except OSError:
            pass
        await asyncio.sleep(0.1)
    raise RuntimeError(f"the server does not start, and {log} says why")


async def workers_seen(world: World) -> set[int]:
    """Return the process ids of the workers that respond."""
    return set(await metrics(world))


async def metrics(world: World) -> dict[int, str]:
    """Return the metrics of each worker that responds within fifty requests, by its process id."""
    pages: dict[int, str] = {}
    for _ in range(50):
        text = await wire.page(world.port, "/metrics")
        if 'worker="' in text:
            pages[int(text.split('worker="', 1)[1].split('"', 1)[0])] = text
        if len(pages) == WORKERS:
            break
    return pages


def _ended(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        for pid in _children(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()
