"""The results as tables: on the terminal, and as Markdown."""

import asyncio
import datetime
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import asyncpg
import orjson
from rich.console import Console
from rich.table import Table

from bench.cases import CASES
from bench.load import Round, load_generator
from bench.servers import NODE, PEERS_DIR, Peer
from bench.stock import OPTIONS, Place, Size

WIDTH = 160
HEADINGS = (
    "",
    "requests/s",
    "p99 ms",
    "CPU us server",
    "Folio is",
    "min-max",
    "p50 ms",
    "CPU us database",
    "statements",
    "MiB",
)
FIGURES = "requests per second, the 99th percentile of the latency, and the server's processor time per request"
# The cases in the plot and in the project's README: first those whose requests differ.
SHOWN = (
    "user_posts_each",
    "post_author_posts_each",
    "feed_each",
    "search_each",
    "users_posts_each",
    "users_posts_equal",
    "posts_authors_equal",
)
GROUPS = {
    "Each request is another one": [name for name, case in CASES.items() if case.each],
    "Equal requests": [name for name, case in CASES.items() if case.equal],
    "No rows, and writes": [name for name, case in CASES.items() if not case.each and not case.equal],
}


@dataclass
class Results:
    """All rounds, by case, connections and peer."""

    description: list[tuple[str, str]]
    peers: list[Peer]
    rounds: dict[tuple[str, int, str], list[Round]] = field(default_factory=dict)
    statements: dict[tuple[str, str], float] = field(default_factory=dict)

    def add(self, case: str, connections: int, peer: str, measured: Round) -> None:
        """Add the result of one round."""
        self.rounds.setdefault((case, connections, peer), []).append(measured)

    def sections(self) -> list[tuple[str, int]]:
        """Return each case and number of connections, in the order of measurement."""
        return list(dict.fromkeys((case, connections) for case, connections, _ in self.rounds))

    def rate(self, case: str, connections: int, peer: str) -> float | None:
        """Return the median requests per second."""
        rounds = self.rounds.get((case, connections, peer))
        return statistics.median(one.rate for one in rounds) if rounds else None

    def median(self, case: str, connections: int, peer: str, figure: str) -> float:
        """Return the median of one figure of the rounds, an attribute of `Round`."""
        values: list[float] = [getattr(one, figure) for one in self.rounds[case, connections, peer]]
        return statistics.median(values)

    def ratios(self, case: str, connections: int, peer: str) -> list[float]:
        """Return Folio's rate as a multiple of the rate of `peer`, one number for each round."""
        own, other = (self.rounds.get((case, connections, name), []) for name in ("folio", peer))
        return [mine.rate / theirs.rate for mine, theirs in zip(own, other, strict=False) if theirs.rate]

    def line(self, case: str, connections: int) -> str:
        """Return one line about the progress."""
        measured = [peer.name for peer in self.peers if (case, connections, peer.name) in self.rounds]
        return f"{case} x{connections}: " + "  ".join(
            f"{name} {self.cell(case, connections, name)}" for name in measured
        )

    def cell(self, case: str, connections: int, peer: str) -> str:
        """Return the three most important figures: requests/s, 99th percentile, the server's processor time."""
        if (case, connections, peer) not in self.rounds:
            return ""
        rate, p99_us, server_us = (
            self.median(case, connections, peer, figure) for figure in ("rate", "p99_us", "server_us")
        )
        return f"{rate:,.0f}/s, {p99_us / 1000:.1f} ms, {server_us:,.0f} us"


def _python() -> str:
    """Return version and build of the interpreter. The build changes the speed of Python peers by about a fifth."""
    is_shared = "libpython" in Path("/proc/self/maps").read_text(encoding="utf-8")
    linked = "in a shared library" if is_shared else "linked statically"
    return f"{platform.python_version()} ({platform.python_compiler()}, {linked})"


def described(place: Place, size: Size, rounds: int, seconds: float) -> list[tuple[str, str]]:
    """Return the description of the run: machine, versions and sizes."""
    packages = ("strawberry-graphql", "sqlalchemy", "asyncpg", "fastapi", "uvicorn", "uvloop", "httptools", "orjson")
    lines = [
        ("date", datetime.datetime.now(datetime.UTC).date().isoformat()),
        (
            "machine",
            f"{_processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB, Linux {platform.release()}",
        ),
        (
            "PostgreSQL",
            f"{asyncio.run(_postgres(place))}; " + ", ".join(f"{key}={value}" for key, value in OPTIONS.items()),
        ),
        ("Python", f"{_python()}: " + ", ".join(f"{name} {version(name)}" for name in packages)),
        ("generator", load_generator()),
        ("rows", f"{size.users:,} users, {size.posts:,} posts, {size.accounts:,} accounts"),
        ("rounds", f"{rounds} of {seconds} s for each peer, alternating; medians, with the least and the most"),
    ]
    if NODE.exists():
        node = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 - ours
        lock = orjson.loads((PEERS_DIR / "package-lock.json").read_bytes())["packages"]
        names = ("mercurius", "fastify", "pg", "postgraphile", "graphql")
        lines.insert(
            4, ("Node", f"{node}: " + ", ".join(f"{name} {lock[f'node_modules/{name}']['version']}" for name in names))
        )
    return lines


async def _postgres(place: Place) -> str:
    connection = await asyncpg.connect(place.dsn())
    try:
        durable = await connection.fetch(
            "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes')"
        )
        number = await connection.fetchval("SHOW server_version")
    finally:
        await connection.close()
    return f"{number}; " + ", ".join(f"{row['name']}={row['setting']}" for row in durable)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


# ---------------------------------------------------------------- tables


def rows_of(results: Results, case: str, connections: int) -> list[Sequence[str]]:
    """Return the rows of one table, one for each peer."""
    rows: list[Sequence[str]] = []
    for peer in results.peers:
        rounds = results.rounds.get((case, connections, peer.name))
        if not rounds:
            rows.append((peer.title, "takes no part", *("" for _ in HEADINGS[2:])))
            continue
        rates = [one.rate for one in rounds]
        failed = sum(one.failed for one in rounds)
        rows.append(
            (
                peer.title,
                f"{statistics.median(rates):,.0f}" + (f" ({failed} failed)" if failed else ""),
                f"{results.median(case, connections, peer.name, 'p99_us') / 1000:.2f}",
                f"{results.median(case, connections, peer.name, 'server_us'):,.0f}",
                _times(results.ratios(case, connections, peer.name)) if peer.name != "folio" else "",
                f"{min(rates):,.0f}-{max(rates):,.0f}",
                f"{results.median(case, connections, peer.name, 'p50_us') / 1000:.2f}",
                f"{results.median(case, connections, peer.name, 'database_us'):,.0f}",
                f"{results.statements.get((case, peer.name), 0):.1f}",
                f"{max(one.memory_mib for one in rounds):.0f}",
            )
        )
    return rows


def _times(ratios: Sequence[float]) -> str:
    if not ratios:
        return ""
    return f"{statistics.median(ratios):.2f} x ({min(ratios):.2f}-{max(ratios):.2f})"


def summary_rows(
    results: Results, cases: Sequence[str], peers: Sequence[str]
) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return headings and rows of a table with the most important figures of `cases`, in their order."""
    shown = [peer for peer in results.peers if peer.name in peers]
    rows = [
        (f"`{case}` x{connections}", *(results.cell(case, connections, peer.name) for peer in shown))
        for name in cases
        for case, connections in results.sections()
        if case == name
    ]
    return ["", *(peer.title for peer in shown)], rows


def ratio_rows(results: Results) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return headings and rows of the most important table: Folio's rate divided by each peer's."""
    others = [peer for peer in results.peers if peer.name != "folio"]
    headings = ["Folio's rate over that of", *(peer.title for peer in others)]
    rows = [
        (f"{case} x{connections}", *(_times(results.ratios(case, connections, peer.name)) for peer in others))
        for case, connections in results.sections()
    ]
    return headings, rows


def section_title(case: str, connections: int) -> str:
    """Return the title of a section: the case, and the number of connections."""
    return f"{CASES[case].title}, {connections} connection{'s' if connections > 1 else ''}"


def terminal() -> Console:
    """Return the console for tables. It is wide if the output is not a terminal."""
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    return console


def to_terminal(results: Results, console: Console) -> None:
    """Print all tables."""
    for case, connections in results.sections():
        _print(console, section_title(case, connections), HEADINGS, rows_of(results, case, connections))
    for title, cases in GROUPS.items():
        headings, rows = summary_rows(results, cases, [peer.name for peer in results.peers])
        if rows:
            _print(console, title, headings, rows)
    headings, rows = ratio_rows(results)
    if len(headings) > 1:
        _print(console, "ratios", headings, rows)


def _print(console: Console, title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def markdown(results: Results) -> str:
    """Return all results as one Markdown document."""
    parts = [
        "# Folio compared with its peers",
        "[README.md](README.md) explains the figures and the rules.",
        "![](plot.svg)",
    ]
    parts.append("\n".join(f"- {name}: {text}" for name, text in results.description))
    parts.append(f"In the next tables: {FIGURES}.")
    for title, cases in GROUPS.items():
        headings, rows = summary_rows(results, cases, [peer.name for peer in results.peers])
        if rows:
            parts += [f"## {title}", markdown_table(headings, rows)]
    headings, rows = ratio_rows(results)
    if len(headings) > 1:
        parts += ["## Ratios", markdown_table(headings, rows)]
    for case, connections in results.sections():
        parts += [
            f"## {section_title(case, connections)}",
            markdown_table(HEADINGS, rows_of(results, case, connections)),
        ]
    return "\n\n".join(parts) + "\n"


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return one table in Markdown; all columns but the first are aligned right."""
    lines = [headings, ["---", *("---:" for _ in headings[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
