"""The server as a process: start, drain, stop, and the start after a kill."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest

from db.embedded.server import EmbeddedServer
from tests.conftest import superuser_dsn
from tests.running.amounts import sample

FOLIO = [sys.executable, "-c", "from graph.cli import main; main()"]
ROOT = Path(__file__).parents[3]
LIMIT_S = 180  # the tests take a few seconds on an idle machine


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@asynccontextmanager
async def started(
    *arguments: str,
    cwd: Path,
    port: int,
    log: str | Path = os.devnull,
    command: Sequence[str] = FOLIO,
    **environment: str,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start `folio …` as a separate process that logs into `log`, and wait until it is ready."""
    stderr = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    process = await asyncio.create_subprocess_exec(
        *command,
        *arguments,
        "--port",
        str(port),
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        stderr=stderr,
    )
    os.close(stderr)
    try:
        async with httpx.AsyncClient() as http:
            for _ in range(600):
                assert process.returncode is None
                try:
                    if (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.1)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("workers", sample(["2", "1"], every=2))
async def test_sigterm_lets_a_running_request_finish(
    database_url: str, server: EmbeddedServer, tmp_path: Path, workers: str
) -> None:
    port, name = free_port(), database_url.partition("?")[0].rpartition("/")[2]
    holder = await asyncpg.connect(superuser_dsn(server, name))
    async with (
        started("serve", "--workers", workers, cwd=tmp_path, port=port, FOLIO_DATABASE_URL=database_url) as process,
        httpx.AsyncClient(timeout=30) as http,
    ):
        await holder.execute("BEGIN; LOCK TABLE posts IN ACCESS EXCLUSIVE MODE")
        url = f"http://127.0.0.1:{port}/graphql"
        slow = asyncio.create_task(http.post(url, json={"query": "{ posts { totalCount } }"}))
        while not await holder.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        await holder.execute("COMMIT")
        assert (await slow).json() == {"data": {"posts": {"totalCount": 0}}}
        assert await asyncio.wait_for(process.wait(), 20) == 0
    await holder.close()


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that PostgreSQL's account may enter, unlike pytest's own."""
    directory = Path(tempfile.mkdtemp(prefix="folio-dev-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


async def test_dev_recovers_from_a_kill_keeps_its_data_and_stops_what_it_started(home: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/graphql"
    post = {"query": 'mutation { signIn(input: {login: "ada", password: "folio demo"}) { viewer { username } } }'}
    async with httpx.AsyncClient(timeout=30) as http:
        async with started("dev", cwd=home, port=port) as process:
            assert (await http.post(url, json=post)).json() == {"data": {"signIn": {"viewer": {"username": "ada"}}}}
            process.kill()
            await process.wait()
        # The killed server's PostgreSQL still runs; the next start adopts it, and its stop stops both.
        async with started("dev", cwd=home, port=port) as process:
            count = {"query": "{ users { totalCount } }"}
            assert (await http.post(url, json=count)).json() == {"data": {"users": {"totalCount": 200}}}
            process.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(process.wait(), 20) == 0
    assert not list(home.glob(".folio/postgres/pgdata/postmaster.pid"))


@pytest.mark.long("three starts of a server")
async def test_killed_supervisor_leaves_no_database_running_and_the_data_is_used_again(home: Path) -> None:
    port, postmaster = free_port(), home / ".folio" / "postgres" / "pgdata" / "postmaster.pid"
    url = f"http://127.0.0.1:{port}/graphql"
    created = 'createUser(input: {username: "ida", email: "ida@example.com", password: "correct horse battery"})'
    query = '{ userByUsername(username: "ida") { username } }'
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    migrate = await asyncio.create_subprocess_exec(*FOLIO, "migrate", "upgrade", cwd=home, env=environment)
    assert await migrate.wait() == 0
    async with httpx.AsyncClient(timeout=30) as http:
        async with started("serve", "--workers", "2", cwd=home, port=port) as process:
            answer = await http.post(url, json={"query": f"mutation {{ {created} {{ userErrors {{ code }} }} }}"})
            assert answer.json() == {"data": {"createUser": {"userErrors": []}}}
            process.kill()
            async with asyncio.timeout(LIMIT_S):
                await process.wait()
                while postmaster.exists():  # the last worker stops it when it ends
                    await asyncio.sleep(0.1)
        async with started("serve", cwd=home, port=port) as process:
            answer = await http.post(url, json={"query": query})
            assert answer.json() == {"data": {"userByUsername": {"username": "ida"}}}
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), LIMIT_S) == 0


@pytest.mark.long("four starts of a server")
async def test_dev_reloads_changed_code_and_keeps_its_database_up(home: Path) -> None:
    for package in ("db", "graph", "migrations"):
        shutil.copytree(ROOT / package, home / package, ignore=shutil.ignore_patterns("__pycache__"))
    changing, log, port = home / "graph" / "http" / "graphiql" / "front_page.py", home / "log", free_port()
    source = changing.read_text()
    postmaster = home / ".folio" / "postgres" / "pgdata" / "postmaster.pid"
    async with started("dev", "--reload", cwd=home, port=port, log=log, PYTHONPATH=str(home)) as process:
        before = postmaster.read_text().splitlines()[0]
        async with httpx.AsyncClient(timeout=0.5) as http, asyncio.timeout(LIMIT_S):

            async def front(text: str) -> None:
                """Change the response of `/` in the code, and wait until the server sends it."""
                changing.write_text(source.replace("Folio, a GraphQL API.", text))
                shown = ""
                while not shown.startswith(text):
                    await asyncio.sleep(0.1)
                    with contextlib.suppress(httpx.TransportError):
                        shown = (await http.get(f"http://127.0.0.1:{port}/")).text

            await front("Changed.")
            changing.write_text("this is no Python")
            while b"SyntaxError" not in log.read_bytes():
                await asyncio.sleep(0.1)
            await front("Changed again.")
        assert postmaster.read_text().splitlines()[0] == before
        process.kill()
        async with asyncio.timeout(LIMIT_S):
            await process.wait()
            while postmaster.exists():  # the server ends with its supervisor, and stops the database
                await asyncio.sleep(0.1)
    socket.create_server(("127.0.0.1", port)).close()
