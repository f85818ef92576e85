"""Measures how the server scales with size and time: `python -m bench.growth --help`.

- pages: the first page of 20 posts, compared with page 10,000, which a client reaches by cursors.
- rows: the same requests on 10 thousand posts and on 2 million.
- workers: one process, compared with two.
- endurance: a million requests of all kinds, including writes, and the memory of the server during them.
"""

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
from rich.progress import track
from rich.table import Table

from bench import load
from bench.cases import CASES, Case, bodies, positions
from bench.checks import Sent
from bench.cursors import cursors_of
from bench.report import terminal
from bench.servers import PEERS, Server, send_request, started
from bench.stock import NOBODY, Place, Size, Stock, drawn_from, stocked

WORK = Path(__file__).parent / ".work"
FOLIO = PEERS["folio"]
CONNECTIONS = 8
CONNECTIONS_MANY = 64
PAGE = 20
STEP = 100  # the posts per page on the way to the deep page
READS = (
    "user_posts_each",
    "post_author_posts_each",
    "feed_each",
    "search_each",
    "users_posts_each",
    "filtered_page_each",
)
POSTS_OF_USER = 20  # as in the default size, so that pages are equally full with few rows and with many
MIXED = 5000  # the different requests of the endurance run
SLICE_S = 10
SAMPLES = 12

_PAGE_TEXT = (
    "query Page($first: Int!, $after: String) "
    "{ posts(first: $first, after: $after) { nodes { id title } pageInfo { endCursor } } }"
)

console = terminal()


@dataclass(frozen=True)
class Contender:
    """One side of a comparison: a server, and the file with its requests."""

    server: Server
    postmaster: int
    file: Path


def main() -> None:
    """Run the chosen parts."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description="Measures scaling with size and time.")
    parser.add_argument("--parts", default="pages,rows,workers,endurance", help="comma-separated")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of one round")
    parser.add_argument("--few", type=int, default=10_000, help="posts")
    parser.add_argument("--many", type=int, default=2_000_000, help="posts")
    parser.add_argument("--page", type=int, default=10_000, help="the number of the deep page")
    parser.add_argument("--requests", type=int, default=1_000_000, help="after which the endurance run ends")
    parser.add_argument("--minutes", type=float, default=60, help="after which it ends in any case")
    parser.add_argument("--work", type=Path, default=WORK, help="where databases and logs are kept")
    given = parser.parse_args()
    load.ensure_wrk()
    parts = {"pages": pages, "rows": rows, "workers": workers, "endurance": run_long}
    for name in given.parts.split(","):
        parts[name](given)


# ---------------------------------------------------------------- parts


def pages(given: argparse.Namespace) -> None:
    """Compare the first page with a deep one."""
    with _folio(given, _sized(given.many)) as (place, _, server):
        deep = _cursor_before(server, given.page)
        contenders: dict[str, Contender] = {}
        for title, after in {"page 1": None, f"page {given.page:,}": deep}.items():
            body = orjson.dumps({"query": _PAGE_TEXT, "variables": {"first": PAGE, "after": after}})
            file = load.write_bodies(given.work / f"growth.{len(contenders)}", [(NOBODY, body)])
            contenders[title] = Contender(server, place.postmaster, file)
        _compare(f"a page of {PAGE} of {given.many:,} posts", contenders, given)


def _cursor_before(server: Server, page: int) -> str | None:
    cursor: str | None = None
    missing = (page - 1) * PAGE
    for start in track(range(0, missing, STEP), "walking to the deep page", console=console, transient=True):
        variables = {"first": min(STEP, missing - start), "after": cursor}
        answer = orjson.loads(send_request(server, orjson.dumps({"query": _PAGE_TEXT, "variables": variables}), NOBODY))
        cursor = answer["data"]["posts"]["pageInfo"]["endCursor"]
        if cursor is None:
            raise SystemExit(f"there are not enough published posts for page {page:,}; choose a lower --page")
    return cursor


def rows(given: argparse.Namespace) -> None:
    """Compare few posts with many."""
    with ExitStack() as stack:
        sides = {
            f"{count:,} posts": stack.enter_context(_folio(given, _sized(count))) for count in (given.few, given.many)
        }
        for name in READS:
            contenders = {
                title: Contender(server, place.postmaster, _file(given, server, CASES[name], stock, title))
                for title, (place, stock, server) in sides.items()
            }
            _compare(CASES[name].title, contenders, given)


def workers(given: argparse.Namespace) -> None:
    """Compare one worker with two."""
    with ExitStack() as stack:
        place = stack.enter_context(stocked(given.work, Size()))
        stock = asyncio.run(drawn_from(place))
        servers = {
            f"{count} workers" if count > 1 else "1 worker": stack.enter_context(
                started(FOLIO, place, given.work / f"folio-{count}.log", "--workers", str(count))
            )
            for count in (1, 2)
        }
        for name in (*READS, "transfer_1000"):
            file = _file(given, servers["1 worker"], CASES[name], stock, "workers")
            contenders = {title: Contender(server, place.postmaster, file) for title, server in servers.items()}
            _compare(CASES[name].title, contenders, given, CONNECTIONS_MANY)


def run_long(given: argparse.Namespace) -> None:
    """Send requests of all kinds for a long time, and measure the memory."""
    with _folio(given, Size()) as (place, stock, server):
        file = _mixed(given, server, stock)
        samples = [(0.0, 0, server.memory_mib("VmRSS"))]
        done = failed = 0
        started_at = time.monotonic()
        while done < given.requests and time.monotonic() - started_at < given.minutes * 60:
            measured = load.run(server, place.postmaster, file, CONNECTIONS, min(SLICE_S, given.minutes * 60))
            done, failed = done + measured.requests, failed + measured.failed
            samples.append((time.monotonic() - started_at, done, server.memory_mib("VmRSS")))
    step = max(1, len(samples) // SAMPLES)
    shown = dict.fromkeys([samples[0], *samples[1::step], samples[-1]])
    table = Table(title=f"{done:,} mixed requests, {failed} failed", title_justify="left")
    for heading in ("minutes", "requests", "memory MiB"):
        table.add_column(heading, justify="right")
    for seconds, count, memory in shown:
        table.add_row(f"{seconds / 60:.1f}", f"{count:,}", f"{memory:.1f}")
    console.print(table)
    settled = samples[len(samples) // 2 :]  # the caches are full in the second half
    grown = settled[-1][2] - settled[0][2]
    console.print(f"memory in the second half: {grown:+.1f} MiB over {settled[-1][1] - settled[0][1]:,} requests")


# ---------------------------------------------------------------- shared parts


@contextmanager
def _folio(given: argparse.Namespace, size: Size) -> Iterator[tuple[Place, Stock, Server]]:
    with stocked(given.work, size) as place, started(FOLIO, place, given.work / f"folio-{size.posts}.log") as server:
        yield place, asyncio.run(drawn_from(place)), server


def _sized(posts: int) -> Size:
    return Size(users=posts // POSTS_OF_USER, posts=posts)


def _sent(server: Server, case: Case, stock: Stock) -> Sequence[Sent]:
    requests = case.draw(stock, random.Random(case.name))  # noqa: S311 - the same requests in each run
    return bodies(case, FOLIO.dialect, requests, cursors_of(server, positions(requests)))


def _file(given: argparse.Namespace, server: Server, case: Case, stock: Stock, title: str) -> Path:
    name = f"growth.{case.name}.{title.replace(' ', '-')}"
    return load.write_bodies(given.work / name, _sent(server, case, stock))


def _mixed(given: argparse.Namespace, server: Server, stock: Stock) -> Path:
    chance = random.Random("mixed")  # noqa: S311 - the same requests in each run
    drawn = {name: _sent(server, case, stock) for name, case in CASES.items()}
    names = chance.choices(list(drawn), k=MIXED)
    return load.write_bodies(given.work / "growth.mixed", [chance.choice(drawn[name]) for name in names])


def _compare(
    title: str, contenders: Mapping[str, Contender], given: argparse.Namespace, connections: int = CONNECTIONS
) -> None:
    rounds: dict[str, list[load.Round]] = {name: [] for name in contenders}
    for number in range(given.rounds + 1):
        for name, one in contenders.items():
            seconds = given.seconds if number else 1  # the first round is the warm-up
            measured = load.run(one.server, one.postmaster, one.file, connections, seconds)
            if number:
                rounds[name].append(measured)
    table = Table(title=f"{title}, {connections} connections", title_justify="left")
    for heading in (
        "",
        "requests/s",
        "min-max",
        "p50 ms",
        "p99 ms",
        "CPU us server",
        "CPU us database",
        "failed",
        "ratio",
    ):
        table.add_column(heading, justify="right" if heading else "left")
    first = next(iter(rounds.values()))
    for name, measured_rounds in rounds.items():
        rates = [one.rate for one in measured_rounds]
        ratio = statistics.median(one.rate / other.rate for one, other in zip(measured_rounds, first, strict=True))
        table.add_row(
            name,
            f"{statistics.median(rates):,.0f}",
            f"{min(rates):,.0f}-{max(rates):,.0f}",
            f"{statistics.median(one.p50_us for one in measured_rounds) / 1000:.2f}",
            f"{statistics.median(one.p99_us for one in measured_rounds) / 1000:.2f}",
            f"{statistics.median(one.server_us for one in measured_rounds):,.0f}",
            f"{statistics.median(one.database_us for one in measured_rounds):,.0f}",
            str(sum(one.failed for one in measured_rounds)),
            f"{ratio:.2f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
