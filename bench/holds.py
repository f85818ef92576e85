"""Measures how long one operation blocks the event loop, so that no other client is served: `python -m bench.holds`.

Each operation is within the limits, or just above one, and the hardest of its kind. It is sent three times: as a new
document, as one that is compiled, and as a cached one. The result is the longest iteration of the event loop in these
times, in processor time of its thread, so that other processes on the machine hardly matter. The loop is asyncio's own,
whose iterations can be measured; the work within an iteration is the same on uvloop.
"""

import argparse
import asyncio
import http.client
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import uvicorn
from graphql import get_introspection_query
from rich.table import Table

from bench.report import terminal
from db.settings import Settings
from graph.cli.support.worker import served_app
from graph.http.direct import DirectHttpProtocol

MEASUREMENTS = 3
LEAVES = "id title published views createdAt updatedAt version"


def _aliases(count: int, field: str) -> str:
    return " ".join(f"a{number}: {field}" for number in range(count))


def _posts(selection: str) -> str:
    return f"posts(first: 100) {{ nodes {{ {selection} }} }}"


def _of_users(selection: str) -> str:
    return f"users(first: 100) {{ nodes {{ username {_posts(selection)} }} }}"


def _documents() -> Iterator[tuple[str, str]]:
    """Yield the name and the selection of each case."""
    yield "100 posts of 100 users", _of_users(LEAVES)
    yield "the same, 40 aliases", _of_users(f"{LEAVES} {_aliases(40, 'title')}")
    yield "posts, author, posts", _posts(f"id author {{ id username {_posts(LEAVES)} }}")
    info, order = "pageInfo { hasNextPage hasPreviousPage endCursor }", "orderBy: [{field: TITLE, direction: ASC}]"
    edges = f"posts(first: 100, {order}) {{ edges {{ cursor node {{ {LEAVES} }} }} {info} }}"
    yield "edges with cursors", f"users(first: 100) {{ edges {{ cursor node {{ {edges} }} }} }}"
    yield "20 lists side by side", " ".join(f"r{number}: {_posts(LEAVES)}" for number in range(20))
    yield "an error in much data", f'bad: posts(after: "x") {{ nodes {{ id }} }} {_of_users(LEAVES)}'
    yield "100 contents, 20 aliases", _posts(_aliases(20, "content"))
    yield "introspection with much data", f"__schema {{ queryType {{ name }} }} {_of_users(LEAVES)}"
    yield "480 fields of one name", _posts(" ".join(["title"] * 480))
    yield "160 wrong arguments", " ".join(["posts(first: 1, zz: 1) { nodes { id } }"] * 160)
    for count in (1_900, 9_000):
        ids = ", ".join(['"x"'] * count)
        yield f"{count} values in the document", f"nodes(ids: [{ids}]) {{ id }}"


def operations() -> Iterator[tuple[str, bytes]]:
    """Yield the name of each case and the body of its request."""
    for name, selection in _documents():
        yield name, orjson.dumps({"query": f"{{ {selection} }}"})
    yield "introspection", orjson.dumps({"query": get_introspection_query()})
    unused = ", ".join(f"$v{number}: Int" for number in range(2_000))
    yield "2,000 unused variables", orjson.dumps({"query": f"query ({unused}) {{ posts {{ nodes {{ id }} }} }}"})
    brackets = b",".join([b"[]"] * 400_000)
    yield "a megabyte of brackets", b'{"query": "{ __typename }", "variables": {"x": [' + brackets + b"]}}"
    query = "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }"
    yield "19,000 ids in variables", orjson.dumps({"query": query, "variables": {"ids": ["user_1"] * 19_000}})


class MeasuringSelector(selectors.DefaultSelector):
    """The selector of an event loop, which measures the longest iteration between two waits, in processor seconds."""

    longest = 0.0
    _began: float | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """End an iteration, wait, and begin the next one."""
        if self._began is not None:
            self.longest = max(self.longest, time.thread_time() - self._began)
        found = super().select(timeout)
        self._began = time.thread_time()
        return found


@dataclass
class Measurement:
    """One response: its status and size in bytes, its time, and the longest iteration of the loop, in seconds."""

    status: int
    size: int
    elapsed_s: float
    turn_s: float


def measured(turns: MeasuringSelector, port: int, body: bytes) -> Measurement:
    """Send a request, and measure it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    turns.longest, began = 0.0, time.perf_counter()
    connection.request("POST", "/graphql", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    size, elapsed_s = len(answer.read()), time.perf_counter() - began
    connection.close()
    time.sleep(0.05)  # work after the response counts as well
    return Measurement(answer.status, size, elapsed_s, turns.longest)


def report(turns: MeasuringSelector, port: int) -> None:
    """Send all operations, and print the table."""
    table = Table(
        "operation", "response", "total", *("first time", "second", "third"), title="longest iteration of the loop"
    )
    for name, body in operations():
        measurements = [measured(turns, port, body) for _ in range(MEASUREMENTS)]
        last = measurements[-1]
        longest = [f"{measurement.turn_s * 1000:.0f} ms" for measurement in measurements]
        table.add_row(name, f"{last.status}, {last.size:,} bytes", f"{last.elapsed_s * 1000:.0f} ms", *longest)
    terminal().print(table)


def main() -> None:
    """Make a database, serve it in this process, and report."""
    parser = argparse.ArgumentParser(prog="python -m bench.holds", description=__doc__)
    parser.add_argument("--posts", type=int, default=30_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folio = str(Path(sys.executable).with_name("folio"))
        environment = {**os.environ, "FOLIO_DATA_DIR": work}
        # Both run this project's own command.
        subprocess.run([folio, "migrate", "upgrade"], env=environment, check=True)  # noqa: S603 - see above
        size = ["--users", "200", "--posts", str(given.posts), "--accounts", "10"]
        subprocess.run([folio, "seed", *size], env=environment, check=True)  # noqa: S603 - see above
        settings = Settings(data_dir=Path(work), cost_per_minute_max=0, cost_per_minute_per_address_max=0)
        turns = MeasuringSelector()
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(turns)) as runner:
            runner.run(_served(settings, turns))


async def _served(settings: Settings, turns: MeasuringSelector) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(served_app(settings), http=DirectHttpProtocol, log_config=None))

    def send_request() -> None:
        try:
            while not server.started:
                time.sleep(0.05)
            report(turns, port)
        finally:
            server.should_exit = True

    threading.Thread(target=send_request, daemon=True).start()
    await server.serve(sockets=[listener])


if __name__ == "__main__":
    main()
