"""Clients miss no event and get none twice while workers, backends and the database are killed, and connections cut."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import httpx
import orjson
import pytest
from alembic import command
from pydantic import SecretStr
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, WebSocketException
from websockets.typing import Subprotocol

from bench.soak.processes import Cluster
from db.connections.database import Database
from db.embedded.server import EmbeddedServer, embedded_postgres
from db.settings import Settings
from db.setup.schema_version import alembic_config
from tests.conftest import SECRET_KEY
from tests.db.support.backends import connected_superuser
from tests.db.support.clusters import reachable_directory
from tests.db.support.rows import new_account, new_user
from tests.faults.test_live_updates import OPTIONS, Writer, killed, more, restarted, terminated
from tests.graph.cli.test_serving import free_port, started
from tests.graph.cli.test_workers import workers_of
from tests.running.repeating import Cases

pytestmark = pytest.mark.long("workers and the database are killed and started again")

QUERY = "subscription ($after: String) { postPublished(after: $after) { cursor post { id } } }"
WORKERS = 2
SUBSCRIBERS = 12
ROUNDS = 10
LIMIT_S = 240.0
LOST = (OSError, EOFError, TimeoutError, WebSocketException, InvalidHandshake, httpx.HTTPError)


class Follower:
    """A client that connects again and again, each time behind its last event, and cuts connections at random.

    Attributes:
        ids: the posts that it has received, in their order.
        cuts: how many connections it has cut.
    """

    def __init__(self, port: int, number: int, random: Random, cursor: str) -> None:
        self.ids: list[str] = []
        self.cuts = 0
        self.is_calm = False
        self._port = port
        self._is_socket = number % 2 == 0
        self._random = random
        self._cursor = cursor

    async def run(self) -> None:
        """Follow until this task is cancelled."""
        while True:
            with contextlib.suppress(*LOST):
                await (self._over_socket() if self._is_socket else self._over_stream())
            await asyncio.sleep(0.05)

    def _payload(self) -> dict[str, Any]:
        return {"query": QUERY, "variables": {"after": self._cursor}}

    def _take(self, result: dict[str, Any]) -> None:
        event = result["data"]["postPublished"]
        self.ids.append(event["post"]["id"])
        self._cursor = event["cursor"]

    def _cuts(self) -> bool:
        cuts = not self.is_calm and self._random.random() < 0.05
        self.cuts += cuts
        return cuts

    async def _over_socket(self) -> None:
        url, protocol = f"ws://127.0.0.1:{self._port}/graphql", Subprotocol("graphql-transport-ws")
        async with connect(url, subprotocols=[protocol], compression=None, proxy=None, open_timeout=10) as socket:
            await socket.send('{"type":"connection_init"}')
            async for text in socket:
                message = orjson.loads(text)
                if message["type"] == "connection_ack":
                    start = {"type": "subscribe", "id": "1", "payload": self._payload()}
                    await socket.send(orjson.dumps(start).decode())
                elif message["type"] == "next":
                    self._take(message["payload"])
                else:
                    return
                if self._cuts():
                    socket.transport.abort()

    async def _over_stream(self) -> None:
        headers = {"accept": "text/event-stream"}
        url = f"http://127.0.0.1:{self._port}/graphql"
        async with (
            httpx.AsyncClient(timeout=httpx.Timeout(10, read=60)) as http,
            http.stream("POST", url, json=self._payload(), headers=headers) as response,
        ):
            rest = b""
            async for part in response.aiter_raw():
                # A part may end within an event. What is not complete is not received.
                *events, rest = (rest + part).split(b"\n\n")
                for event in events:
                    if event.startswith(b"event: next\ndata: "):
                        self._take(orjson.loads(event.partition(b"data: ")[2]))
                if self._cuts():
                    return


@pytest.fixture
def own_server() -> Iterator[tuple[EmbeddedServer, Cluster]]:
    """A PostgreSQL that no other test uses, and its processes."""
    with reachable_directory() as path, embedded_postgres(path / "data", options=OPTIONS) as server:
        command.upgrade(alembic_config(server.url()), "head")
        yield server, Cluster(path / "data", OPTIONS)


async def log_of_posts(url: str) -> list[str]:
    """Return the ids of the published posts, in the order of the log."""
    async with connected_superuser(url) as superuser:
        rows = await superuser.fetch("SELECT row_id FROM events WHERE topic = 'published' ORDER BY transaction_id, id")
    return [f"post_{row[0]}" for row in rows]


async def first_cursor(port: int) -> tuple[str, str]:
    """Return the first event that arrives: its post and its cursor."""
    async with (
        httpx.AsyncClient(timeout=LIMIT_S) as http,
        http.stream(
            "POST",
            f"http://127.0.0.1:{port}/graphql",
            json={"query": QUERY},
            headers={"accept": "text/event-stream"},
        ) as response,
    ):
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                event = orjson.loads(line[6:])["data"]["postPublished"]
                return event["post"]["id"], event["cursor"]
    raise AssertionError("the stream has ended")


async def worker_killed(supervisor: int, random: Random) -> None:
    """Kill a worker by SIGKILL."""
    workers = sorted(workers_of(supervisor))
    if workers:
        os.kill(random.choice(workers), signal.SIGKILL)


async def test_each_client_receives_exactly_the_committed_events_in_their_order(
    settings: Settings, own_server: tuple[EmbeddedServer, Cluster], tmp_path: Path, cases: Cases
) -> None:
    random = cases.random()
    url, cluster = own_server[0].url(), own_server[1]
    database = Database(settings.model_copy(update={"database_url": SecretStr(url), "connect_timeout_s": 2}))
    author = await new_user(database)
    writer = Writer(database, author, await new_account(database, author, holding="1.00"))
    port, variables = free_port(), {"FOLIO_DATABASE_URL": url, "FOLIO_SECRET_KEY": SECRET_KEY}
    async with started("serve", "--workers", str(WORKERS), cwd=tmp_path, port=port, **variables) as process:
        writing = [asyncio.create_task(writer.write())]
        start, cursor = await first_cursor(port)
        followers = [Follower(port, number, Random(random.random()), cursor) for number in range(SUBSCRIBERS)]  # noqa: S311
        following = [asyncio.create_task(one.run()) for one in followers]
        for _ in range(ROUNDS):
            await more([writer])
            if random.random() < 0.4:
                await worker_killed(process.pid, random)
            else:
                with contextlib.suppress(OSError, asyncpg.PostgresError):  # the connection that does it breaks, too
                    await random.choice([terminated, killed, restarted])(url, cluster)
        writer.is_stopped = True
        await asyncio.gather(*writing)
        for one in followers:
            one.is_calm = True
        log = await log_of_posts(url)
        expected = log[log.index(start) + 1 :]
        assert len(expected) > ROUNDS * 10
        async with asyncio.timeout(LIMIT_S):
            while any(len(one.ids) < len(expected) for one in followers):
                await asyncio.sleep(0.1)
        assert [one.ids == expected for one in followers] == [True] * SUBSCRIBERS
        assert sum(one.cuts for one in followers) > 0
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
    await database.close()
