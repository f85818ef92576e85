"""The peers: every case, on a small database, with as many of the peers as are installed."""

import asyncio
import random
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

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


@contextmanager
def running(directory: Path, names: Collection[str]) -> Iterator[World]:
    """Run these peers on a new database."""
    with ExitStack() as stack:
        place = stack.enter_context(stocked(directory / "data", SIZE))
        stock = asyncio.run(drawn_from(place))
        peers = [peer for name, peer in available().items() if name in names]
        servers = [stack.enter_context(started(peer, place, directory / f"{peer.name}.log")) for peer in peers]
        yield World(place, stock, servers)


def ensure_equal_answers(world: World) -> None:
    for case in CASES.values():
        servers = world.taking_part(case)
        sizes = compared(case, servers, {one.peer.name: world.sent(case, one, 20) for one in servers})
        assert set(sizes) == {one.peer.name for one in servers}


def test_folio_and_the_limit_answer_every_case_with_the_same_rows_and_without_gaps(tmp_path: Path) -> None:
    with running(tmp_path, {"folio", "limit"}) as world:
        ensure_equal_answers(world)


@pytest.mark.long("starts every peer")
def test_all_peers_answer_every_case_with_the_same_rows_and_without_gaps(tmp_path: Path) -> None:
    installed = {name for name, peer in available().items() if is_installed(peer)}
    assert installed >= ALWAYS_INSTALLED
    with running(tmp_path, installed) as world:
        ensure_equal_answers(world)


@pytest.mark.long("starts peers")
def test_the_hand_written_peers_read_with_one_statement(tmp_path: Path) -> None:
    with running(tmp_path, {"limit", "json"}) as world:
        assert len(world.servers) == 2
        for case in READS:
            sent = [(server, world.sent(case, server, 1)[0]) for server in world.servers]

            def work(sent: list[tuple[Server, Sent]] = sent) -> None:
                for server, (token, body) in sent * 5:
                    send(server, token, body)

            work()  # a driver that prepares a statement may send others, about its types
            assert asyncio.run(counted(world.place, "folio", work)) == 5 * len(world.servers), case.name


@pytest.mark.long("starts a peer")
def test_every_user_of_the_stock_has_posts(tmp_path: Path) -> None:
    with running(tmp_path, {"folio"}) as world:
        requests = world.sent(CASES["user_posts_each"], world.servers[0], SIZE.users)
        empty = [body for token, body in requests if b'"posts":{"nodes":[]}' in send(world.servers[0], token, body)]
    assert (len(requests), empty) == (SIZE.users, [])
