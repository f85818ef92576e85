"""Compares Folio with its peers, on one database, in alternating rounds of one run: `python -m bench --help`."""

import argparse
import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench import drawing, load, readme, report
from bench.cases import CASES, Case, bodies, positions, takes_part
from bench.checks import Sent, compared, ensure_different, send
from bench.cursors import cursors_of
from bench.report import Results
from bench.servers import Server, available, ensure_installed, started
from bench.stock import Place, Size, Stock, changes, counted, drawn_from, ensure_right_balances, stocked

BENCH_DIR = Path(__file__).parent
COUNTED = 20  # requests over which statements are counted
WARM_UP_S = 1

console = Console(stderr=True)


@dataclass(frozen=True)
class Bench:
    """The parameters of a measurement, and its results."""

    place: Place
    stock: Stock
    work: Path
    connections: Sequence[int]
    rounds: int
    seconds: float
    results: Results


def main() -> None:
    """Set up, compare the responses, measure, report."""
    given = _arguments()
    peers = [available()[name] for name in given.peers]
    load.ensure_wrk()
    ensure_installed(peers)
    with ExitStack() as stack:
        size = Size(given.users, given.posts, given.accounts)
        place = stack.enter_context(stocked(given.work, size))
        stock = asyncio.run(drawn_from(place))
        servers = [stack.enter_context(started(peer, place, given.work / f"{peer.name}.log")) for peer in peers]
        results = Results(
            report.described(place, size, given.rounds, given.seconds), [server.peer for server in servers]
        )
        bench = Bench(place, stock, given.work, given.connections, given.rounds, given.seconds, results)
        for name in given.cases:
            _measure(bench, CASES[name], servers)
        asyncio.run(ensure_right_balances(place))
    report.to_terminal(results, report.terminal())
    if given.readme:
        readme.write_table(results, given.readme)
    if given.write:
        given.write.mkdir(parents=True, exist_ok=True)
        (given.write / "results.md").write_text(report.markdown(results), encoding="utf-8")
        (given.write / "plot.svg").write_text(drawing.svg(results), encoding="utf-8")
        console.print(f"results.md and plot.svg are in {given.write}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Folio compared with its peers.")
    peers = available()
    parser.add_argument("--cases", type=_names(CASES), default=list(CASES), help=", ".join(CASES))
    parser.add_argument("--peers", type=_names(peers), default=list(peers), help=", ".join(peers))
    parser.add_argument("--connections", type=lambda text: [int(part) for part in text.split(",")], default=[8, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of one round")
    parser.add_argument("--users", type=int, default=Size.users)
    parser.add_argument("--posts", type=int, default=Size.posts)
    parser.add_argument("--accounts", type=int, default=Size.accounts)
    parser.add_argument("--work", type=Path, default=BENCH_DIR / ".work", help="where database and logs are kept")
    parser.add_argument("--write", type=Path, help="the directory to write results.md and plot.svg to")
    parser.add_argument("--readme", type=Path, help="the file in which to replace the table")
    return parser.parse_args()


def _names(known: Iterable[str]) -> Callable[[str], list[str]]:
    def parsed(text: str) -> list[str]:
        names = text.split(",")
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not among {', '.join(known)}")
        return names

    return parsed


# ---------------------------------------------------------------- one case


def _measure(bench: Bench, case: Case, servers: Sequence[Server]) -> None:
    taking_part = [one for one in servers if takes_part(case, one.peer.dialect, writes=one.peer.writes)]
    requests = case.draw(bench.stock, random.Random(case.name))  # noqa: S311 - the same requests in each run
    sent = {
        server.peer.name: bodies(case, server.peer.dialect, requests, cursors_of(server, positions(requests)))
        for server in taking_part
    }
    for own in sent.values():
        ensure_different(case, own, max(bench.connections))
    sizes = compared(case, taking_part, sent)
    files = {}
    for server in taking_part:
        name = server.peer.name
        files[name] = load.write_bodies(bench.work / f"{case.name}.{name}", sent[name])
        bench.results.statements[case.name, name] = _statements(bench, server, sent[name])
        load.run(server, bench.place.postmaster, files[name], max(bench.connections), WARM_UP_S)
    for connections in bench.connections:
        for number in range(bench.rounds):
            # Each server begins a round in turn.
            turn = number % len(taking_part)
            for server in (*taking_part[turn:], *taking_part[:turn]):
                name = server.peer.name
                measured = _round(bench, case, server, files[name], connections)
                if measured.requests and measured.bytes_each < sizes[name] / 2:
                    raise RuntimeError(
                        f"{case.name}: {name} answers {measured.bytes_each:.0f} bytes, not {sizes[name]}"
                    )
                bench.results.add(case.name, connections, name, measured)
        console.print(bench.results.line(case.name, connections), soft_wrap=True)


def _round(bench: Bench, case: Case, server: Server, file: Path, connections: int) -> load.Round:
    before = asyncio.run(changes(bench.place)) if case.writes else 0
    measured = load.run(server, bench.place.postmaster, file, connections, bench.seconds)
    if measured.failed:
        console.print(f"[red]{case.name}: {server.peer.title}: {measured.failed} requests failed[/]")
    if case.writes:
        happened = asyncio.run(changes(bench.place)) - before
        if happened < measured.requests - measured.failed:
            raise RuntimeError(f"{case.name}: {server.peer.title} answered {measured.requests}, and did {happened}")
    return measured


def _statements(bench: Bench, server: Server, sent: Sequence[Sent]) -> float:
    chosen = [sent[number % len(sent)] for number in range(COUNTED)]

    def work() -> None:
        for token, body in chosen:
            send(server, token, body)

    work()  # afterwards each connection has prepared its statements
    return asyncio.run(counted(bench.place, server.peer.role, work)) / COUNTED


if __name__ == "__main__":
    main()
