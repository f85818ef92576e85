"""The peers: every case, on a small database, with as many of the peers as are installed."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from bench.cases import CASES, Case, bodies, positions, takes_part
from bench.checks import Sent, compared, send
from bench.cursors import cursors_of
from bench.servers import Server, available, is_installed, started
from bench.stock import Place, Size, Stock, counted, drawn_from, stocked

SIZE = Size(users=150, posts=3000, accounts=400)
ALWAYS_INSTALLED = {"folio", "ordinary", "strawberry", "limit", "json"}
READS = [case for case in CASES.values() if not case.writes and case.name != "typename"]


@dataclass(frozen=True)
class World:
    place: Place
    stock: Stock
    servers: list[Server]

    def taking_part(self, case: Case) -> list[Server]:
        return [one for one in self.servers if takes_part(case, one.peer.dialect, writes=one.peer.writes)]

    def sent(self, case: Case, server: Server, count: int) -> list[Sent]:
        requests = case.draw(self.stock, random.Random(case.name))[:count]  # noqa: S311 - repeatable
        return bodies(case, server.peer.dialect, requests, cursors_of(server, positions(requests)))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("peers")
    with ExitStack() as stack:
        place = stack.enter_context(stocked(directory / "data", SIZE))
        stock = asyncio.run(drawn_from(place))
        servers = [
            stack.enter_context(started(peer, place, directory / f"{name}.log"))
            for name, peer in available().items()
            if is_installed(peer)
        ]
        yield World(place, stock, servers)


def test_all_peers_answer_every_case_with_the_same_rows_and_without_gaps(world: World) -> None:
    assert {one.peer.name for one in world.servers} >= ALWAYS_INSTALLED
    for case in CASES.values():
        servers = world.taking_part(case)
        sizes = compared(case, servers, {one.peer.name: world.sent(case, one, 20) for one in servers})
        assert set(sizes) == {one.peer.name for one in servers}


def test_the_hand_written_peers_read_with_one_statement(world: World) -> None:
    by_hand = [one for one in world.servers if one.peer.dialect == "limit"]
    assert len(by_hand) == 2
    for case in READS:

        def work(case: Case = case) -> None:
            for server in by_hand:
                for token, body in world.sent(case, server, 5)[:1] * 5:
                    send(server, token, body)

        assert asyncio.run(counted(world.place, "folio", work)) == 5 * len(by_hand), case.name


def test_every_user_of_the_stock_has_posts(world: World) -> None:
    case = CASES["user_posts_each"]
    (folio,) = (one for one in world.servers if one.peer.name == "folio")
    assert len(world.stock.users) == SIZE.users
    requests = world.sent(case, folio, SIZE.users)
    empty = [body for token, body in requests if b'"posts":{"nodes":[]}' in send(folio, token, body)]
    assert (len(requests), empty) == (SIZE.users, [])
