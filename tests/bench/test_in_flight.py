"""The requests of one round: no two equal ones are in flight at the same time, on whichever connections."""

import asyncio
import datetime
import os
import random
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bench import load
from bench.cases import BODIES, CASES, bodies
from bench.checks import Sent, ensure_different
from bench.servers import PEERS, Server
from bench.stock import Position, Stock

CONNECTIONS = 64
NOON = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
HOURS = [NOON + datetime.timedelta(hours=number) for number in range(BODIES)]
NUMBERS = list(range(1, BODIES + 1))
STOCK = Stock(
    users=NUMBERS,
    published=NUMBERS,
    positions={
        name: [Position(name, number, hour) for number, hour in zip(NUMBERS, HOURS, strict=True)]
        for name in ("users", "posts")
    },
    periods=[(hour, hour + datetime.timedelta(days=1)) for hour in HOURS],
    thresholds=NUMBERS,
    owned=[],
    accounts=[],
    pair=[],
)
EACH = [name for name, case in CASES.items() if case.each]
EQUAL = [name for name, case in CASES.items() if case.equal]


@dataclass
class Watch:
    """What a server has seen: the requests in flight, and how many equal ones there were at most."""

    port: int = 0
    in_flight: Counter[bytes] = field(default_factory=Counter)
    most_in_flight: int = 0
    most_equal: int = 0
    served: int = 0


@contextmanager
def watching_server() -> Iterator[Watch]:
    """Serve HTTP in a thread. Each response waits for a random time, so that they overtake each other."""
    watch, ready, stop = Watch(), threading.Event(), threading.Event()
    chance = random.Random(1)  # noqa: S311 - repeatable

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(length)
                watch.in_flight[body] += 1
                watch.most_equal = max(watch.most_equal, watch.in_flight[body])
                watch.most_in_flight = max(watch.most_in_flight, watch.in_flight.total())
                await asyncio.sleep(chance.uniform(0.001, 0.02))
                watch.in_flight[body] -= 1
                watch.served += 1
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def live() -> None:
        async with await asyncio.start_server(served, "127.0.0.1", 0) as server:
            watch.port = server.sockets[0].getsockname()[1]
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=asyncio.run, args=(live(),))
    thread.start()
    ready.wait()
    try:
        yield watch
    finally:
        stop.set()
        thread.join()


def drawn(name: str, dialect: str = "limit") -> list[Sent]:
    case = CASES[name]
    return bodies(case, dialect, case.draw(STOCK, random.Random(name)))  # noqa: S311 - repeatable


def seen_in_a_round(sent: list[Sent], directory: Path) -> Watch:
    with watching_server() as watch:
        server = Server(PEERS["limit"], watch.port, os.getpid())
        load.run(server, os.getpid(), load.write_bodies(directory / "requests", sent), CONNECTIONS, 1)
    return watch


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not on the PATH")
def test_no_two_equal_requests_are_in_flight(tmp_path: Path) -> None:
    watch = seen_in_a_round(drawn("feed_each"), tmp_path)
    assert watch.served > CONNECTIONS
    assert watch.most_in_flight > CONNECTIONS / 2
    assert watch.most_equal == 1


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not on the PATH")
def test_equal_requests_are_in_flight_together(tmp_path: Path) -> None:
    watch = seen_in_a_round(drawn("users_posts_equal"), tmp_path)
    assert watch.most_equal == watch.most_in_flight > CONNECTIONS / 2


@pytest.mark.parametrize("dialect", ["folio", "lists", "postgraphile", "strawchemy", "limit"])
@pytest.mark.parametrize("name", EACH)
def test_each_of_two_thousand_requests_is_another_one(name: str, dialect: str) -> None:
    sent = drawn(name, dialect)
    assert len(set(sent)) == len(sent) == BODIES
    ensure_different(CASES[name], sent, CONNECTIONS)


@pytest.mark.parametrize("name", EQUAL)
def test_equal_requests_are_equal(name: str) -> None:
    assert len(set(drawn(name))) == 1


def test_the_first_cases_are_those_whose_requests_differ() -> None:
    reads = [name for name, case in CASES.items() if not case.writes and name != "typename"]
    assert reads == [*EACH, *EQUAL]
    assert list(CASES)[:4] == ["user_posts_each", "post_author_posts_each", "feed_each", "search_each"]


def test_a_repeated_request_is_refused() -> None:
    sent = drawn("feed_each")
    with pytest.raises(RuntimeError, match=r"^feed_each: 1 of 2001 requests repeat another one$"):
        ensure_different(CASES["feed_each"], [*sent, sent[7]], CONNECTIONS)


def test_too_few_requests_for_the_connections_are_refused() -> None:
    with pytest.raises(RuntimeError, match=r"^feed_each: 100 different requests are too few for 64 connections; seed"):
        ensure_different(CASES["feed_each"], drawn("feed_each")[:100], CONNECTIONS)


def test_different_requests_of_a_case_with_equal_ones_are_refused() -> None:
    with pytest.raises(RuntimeError, match=r"^users_posts_equal: its requests differ$"):
        ensure_different(CASES["users_posts_equal"], drawn("feed_each"), CONNECTIONS)
