"""Measures the cost of telemetry: one worker with everything off, with the defaults, and with tracing.

    python bench/observability.py [--rounds 20] [--seconds 0.5]

It starts an embedded PostgreSQL and one server for each variant, and measures them in alternating rounds. It prints the
median requests per second, and the processor time of a request in the server's process (including its exporter's
thread), each with its ratio to `off`. Generator, database and server share the cores, so only the ratios are
meaningful; if other processes use the machine too, only the ratio of processor times is. It needs Linux, for /proc.

- off: no metrics, and only errors are logged.
- defaults: a line of JSON for each operation (to /dev/null), query statistics, metrics.
- tracing: the defaults, and spans to a collector that does not exist, the worst case for the exporter's queue.
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import orjson
from alembic import command

from db.embedded.server import embedded_postgres
from db.setup.schema_version import alembic_config

CONNECTIONS = 16
START_TIMEOUT_S = 60
QUERIES = {
    "{ __typename }": "{ __typename }",
    "one post": 'query Post { post(id: "post_1") { title views author { username } } }',
}
VARIANTS = {
    "off": {"FOLIO_METRICS": "off", "FOLIO_LOG_LEVEL": "error"},
    "defaults": {"FOLIO_METRICS": "on", "FOLIO_LOG_FORMAT": "json"},
    "tracing": {"FOLIO_METRICS": "on", "FOLIO_LOG_FORMAT": "json", "FOLIO_OTLP_ENDPOINT": "http://127.0.0.1:9"},
}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="Measures the cost of telemetry.")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=0.5)
    chosen = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="folio-bench-")))
        directory.chmod(0o755)  # root's PostgreSQL runs as another account
        server = stack.enter_context(embedded_postgres(directory / "postgres"))
        command.upgrade(alembic_config(server.url()), "head")
        asyncio.run(_fill(server.url()))
        servers = {name: stack.enter_context(_served(server.url(), extra)) for name, extra in VARIANTS.items()}
        for title, query in QUERIES.items():
            _report(title, _measured(servers, query, chosen.rounds, chosen.seconds))


async def _fill(url: str) -> None:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    await connection.execute("INSERT INTO users (email, username, hashed_password) VALUES ('a@b.example', 'ada', 'x')")
    await connection.execute(
        "INSERT INTO posts (title, content, published, author_id) "
        "SELECT 'Title', 'Content', true, id FROM users WHERE username = 'ada'"
    )
    await connection.close()


@dataclass(frozen=True)
class Server:
    """The running server of one variant."""

    port: int
    pid: int

    @property
    def cpu_us(self) -> float:
        """The processor time of its process so far, in microseconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") * 1e6


@dataclass
class Result:
    """The results of one variant."""

    rates: list[float] = field(default_factory=list)
    requests: int = 0
    cpu_us: float = 0

    @property
    def rate(self) -> float:
        """The median requests per second."""
        return statistics.median(self.rates)

    @property
    def cost_us(self) -> float:
        """The processor time of one request, in microseconds."""
        return self.cpu_us / self.requests


@contextmanager
def _served(url: str, extra: dict[str, str]) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("FOLIO_")}
    variables |= {"FOLIO_DATABASE_URL": url, "FOLIO_COST_PER_MINUTE_MAX": "0", **extra}
    program = [sys.executable, "-c", "from graph.cli import main; main()", "serve", "--port", str(port)]
    process = subprocess.Popen(program, env=variables, stderr=subprocess.DEVNULL)  # noqa: S603 - this project's own command
    try:
        _await_port(port)
        yield Server(port, process.pid)
    finally:
        process.terminate()
        process.wait()


def _await_port(port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"nothing listens on {port}")


def _measured(servers: dict[str, Server], query: str, rounds: int, seconds: float) -> dict[str, Result]:
    results = {name: Result() for name in servers}
    for server in servers.values():
        asyncio.run(_requests(server.port, query, seconds))  # warm
    for _ in range(rounds):
        for name, server in servers.items():
            before_us, result = server.cpu_us, results[name]
            requests = asyncio.run(_requests(server.port, query, seconds))
            result.rates.append(requests / seconds)
            result.requests += requests
            result.cpu_us += server.cpu_us - before_us
    return results


def _report(title: str, results: dict[str, Result]) -> None:
    off = results["off"]
    for name, result in results.items():
        rate = f"{result.rate:6.0f}/s ({result.rate / off.rate:.2f})"
        cost = f"{result.cost_us:6.0f} us of CPU ({result.cost_us / off.cost_us:.2f})"
        sys.stdout.write(f"{title:16} {name:9} {rate}  {cost}\n")
    sys.stdout.flush()


async def _requests(port: int, query: str, seconds: float) -> int:
    body = orjson.dumps({"query": query})
    head = f"POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    until = time.perf_counter() + seconds
    return sum(await asyncio.gather(*(_send_requests(port, head.encode() + body, until) for _ in range(CONNECTIONS))))


async def _send_requests(port: int, request: bytes, until: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    count = 0
    while time.perf_counter() < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        answer = await reader.readexactly(length)
        if not answer.startswith(b'{"data":{') or b"null" in answer:
            raise RuntimeError(answer.decode())
        count += 1
    writer.close()
    return count


if __name__ == "__main__":
    main()
