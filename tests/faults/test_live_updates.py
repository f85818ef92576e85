"""Subscribers miss no event and get none twice, whatever happens to the database in between."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator

import pytest
from alembic import command
from pydantic import SecretStr

from bench.soak.processes import Cluster
from db.access import Viewer
from db.connections.database import Database
from db.embedded.server import EmbeddedServer, embedded_postgres
from db.errors import Unavailable
from db.events import Events, EventTopic, Subject
from db.repositories.posts import NewPost, create_posts
from db.settings import Settings
from db.setup.schema_version import alembic_config
from tests.db.support.backends import connected_superuser
from tests.db.support.clusters import reachable_directory
from tests.db.support.live import EVERYTHING_PUBLISHED, live, until
from tests.db.support.rows import ADMIN, deposit, move, new_account, new_user

pytestmark = pytest.mark.long("the database is killed and started again")

OPTIONS = {"fsync": "off", "folio.throwaway": "on"}
LIMIT_S = 120.0
PAUSE_S = 0.01
RESUMED_AFTER = 7


@pytest.fixture
def own_server() -> Iterator[tuple[EmbeddedServer, Cluster]]:
    """A PostgreSQL that no other test uses, and its processes."""
    with reachable_directory() as path, embedded_postgres(path / "data", options=OPTIONS) as server:
        command.upgrade(alembic_config(server.url()), "head")
        yield server, Cluster(path / "data", OPTIONS)


async def terminated(url: str, cluster: Cluster) -> None:
    async with connected_superuser(url) as superuser:
        await superuser.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'folio'")


async def killed(url: str, cluster: Cluster) -> None:
    """Kill a backend by SIGKILL: PostgreSQL terminates all others and recovers."""
    async with connected_superuser(url) as superuser:
        sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'folio' LIMIT 1"
        os.kill(await superuser.fetchval(sql), signal.SIGKILL)


async def restarted(url: str, cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.kill)
    await asyncio.to_thread(cluster.start)


async def in_spite_of_faults(work: Callable[[], Awaitable[object]]) -> None:
    """Do a write until it is acknowledged. It may happen more than once."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                await work()
            except Unavailable:
                await asyncio.sleep(PAUSE_S)
            else:
                return


class Writer:
    """Publishes posts and deposits money until it is stopped.

    Attributes:
        made: the number of acknowledged rounds.
    """

    def __init__(self, database: Database, author: Viewer, account: int) -> None:
        self._database = database
        self._author = author
        self._account = account
        self.is_stopped = False
        self.made = 0

    async def write(self) -> None:
        """Write until the writer is stopped."""
        assert self._author.user_id is not None
        post = NewPost(self._author.user_id, "t", "c", published=True)
        while not self.is_stopped:
            await in_spite_of_faults(lambda: create_posts(self._database, self._author, ("id",), [post]))
            movement = deposit(self._account, "0.01")
            await in_spite_of_faults(lambda: move(self._database, ADMIN, movement))  # noqa: B023 - awaited at once
            self.made += 1


async def follow(events: Events, subject: Subject, found: list[int]) -> None:
    """Add the rows of all events of a subject to `found`, over one stream."""
    stream = await events.open(subject)
    try:
        async for event in stream:
            found.append(event.row_id)  # noqa: PERF401 - the test reads the list while it grows
    finally:
        stream.close()


async def follow_resuming(events: Events, subject: Subject, cursor: str, found: list[int]) -> None:
    """Do as `follow`, and open a new stream after every few events."""
    while True:
        try:
            stream = await events.open(subject, cursor)
        except Unavailable:
            await asyncio.sleep(PAUSE_S)
            continue
        try:
            for _ in range(RESUMED_AFTER):
                event = await anext(stream)
                found.append(event.row_id)
                cursor = stream.cursor(event)
        finally:
            stream.close()


async def more(writers: list[Writer]) -> None:
    """Wait until the writers have made some more rounds."""
    made = sum(one.made for one in writers)
    await until(lambda: sum(one.made for one in writers) > made + 10)


async def rows(url: str, sql: str, *arguments: object) -> list[int]:
    async with connected_superuser(url) as superuser:
        return [row[0] for row in await superuser.fetch(sql, *arguments)]


async def test_subscribers_get_all_events_of_a_time_in_which_the_database_is_killed_and_started_again(
    settings: Settings, own_server: tuple[EmbeddedServer, Cluster]
) -> None:
    url, cluster = own_server[0].url(), own_server[1]
    database = Database(settings.model_copy(update={"database_url": SecretStr(url), "connect_timeout_s": 2}))
    author = await new_user(database)
    account = await new_account(database, author, holding="1.00")
    entries = Subject(EventTopic.ENTRY, account)
    async with live(database) as events:
        stream = await events.open(EVERYTHING_PUBLISHED)
        first = Writer(database, author, account)
        writing = [asyncio.create_task(first.write())]
        cursor = stream.cursor(await anext(stream))
        first.is_stopped = True
        await asyncio.gather(*writing)
        stream.close()

        found: list[list[int]] = [[], [], []]
        following = [
            asyncio.create_task(follow(events, EVERYTHING_PUBLISHED, found[0])),
            asyncio.create_task(follow(events, entries, found[1])),
            asyncio.create_task(follow_resuming(events, EVERYTHING_PUBLISHED, cursor, found[2])),
        ]
        await until(lambda: len(events.feeds) == 2 and all(one.is_started for one in events.feeds.values()))
        writers = [Writer(database, author, account) for _ in range(3)]
        writing = [asyncio.create_task(one.write()) for one in writers]
        for fault in (terminated, killed, restarted, terminated, restarted):
            await more(writers)
            await fault(url, cluster)
        await more(writers)
        for one in writers:
            one.is_stopped = True
        await asyncio.gather(*writing)

        posts = await rows(url, "SELECT row_id FROM events WHERE topic = 'published' ORDER BY transaction_id, id")
        assert sorted(posts) == await rows(url, "SELECT id FROM posts ORDER BY id")
        ledger = await rows(url, "SELECT id FROM transactions WHERE to_id = $1 ORDER BY id", account)
        last = [posts[-1:], ledger[-1:], posts[-1:]]
        await until(lambda: [one[-1:] for one in found] == last)
        assert min(map(len, found)) > 50
        assert found[2] == posts[1:]
        assert found[0] == posts[-len(found[0]) :]
        assert found[1] == ledger[-len(found[1]) :]
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
    await database.close()
