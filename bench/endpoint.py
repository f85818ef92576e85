"""Measures the HTTP endpoint: the processor time of one request, without socket, execution and database.

    python bench/endpoint.py [--rounds 15] [--requests 2000] [--query '{ __typename }'] [--profile]

It calls the application in this process like an ASGI server, and for comparison a bare ASGI application that reads the
body and returns as many bytes. Both are called in alternating rounds. It prints the median microseconds per request, in
processor time of the process, so that other processes on the machine hardly matter. The data of `{ __typename }` is
cached after the first request, so that nothing is executed. Another query is possible if it needs no database. Logs,
metrics and traces are on, and the log goes to /dev/null.
"""

import argparse
import asyncio
import cProfile
import logging.config
import pstats
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import orjson
import uvloop
from pydantic import SecretStr

from db.settings import Settings
from graph.app import create_app
from graph.telemetry.logs import log_config

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

# Approximately the headers of a browser's fetch() or of a Python client behind a proxy.
HEADERS = [
    (b"host", b"api.example.org"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
    (b"user-agent", b"python-httpx/0.28.1"),
    (b"content-type", b"application/json"),
]
PROFILED_REQUESTS = 20_000


def main() -> None:
    """Measure, and print the results."""
    parser = argparse.ArgumentParser(description="Measures the HTTP endpoint.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--query", default="{ __typename }")
    parser.add_argument("--profile", action="store_true", help="show where the time goes, function by function")
    chosen = parser.parse_args()
    with Path("/dev/null").open("w", encoding="utf-8") as nowhere, redirect_stderr(nowhere):
        uvloop.run(_measure(chosen))


async def _measure(chosen: argparse.Namespace) -> None:
    settings = Settings(
        database_url=SecretStr("postgresql+asyncpg://nobody@127.0.0.1:1/nothing"),
        secret_key=SecretStr("0123456789abcdef0123456789abcdef"),
        cost_per_minute_max=1_000_000_000,
        cost_per_minute_per_address_max=1_000_000_000,
    )
    logging.config.dictConfig(log_config("INFO", json=True))
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        await _compare(app, chosen)


async def _compare(app: Application, chosen: argparse.Namespace) -> None:
    body = orjson.dumps({"query": chosen.query})
    answer = await _call(app, body)
    sys.stdout.write(f"{answer.decode()}\n")

    async def bare(scope: Message, receive: Receive, send: Send) -> None:
        orjson.loads((await receive())["body"])
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    if chosen.profile:
        profile = cProfile.Profile()
        profile.enable()
        await _spent_us(app, body, PROFILED_REQUESTS)
        profile.disable()
        pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(45)
        return
    await _spent_us(app, body, chosen.requests)  # warm
    spent: dict[str, list[float]] = {"bare": [], "folio": []}
    for _ in range(chosen.rounds):
        spent["bare"].append(await _spent_us(bare, body, chosen.requests))
        spent["folio"].append(await _spent_us(app, body, chosen.requests))
    for name, each in spent.items():
        sys.stdout.write(f"{name:6} {statistics.median(each):6.1f} us (least {min(each):.1f})\n")


async def _spent_us(app: Application, body: bytes, requests: int) -> float:
    """Return the processor time of one request in microseconds; each runs in a task, as under an ASGI server."""
    loop = asyncio.get_running_loop()
    started = time.process_time()
    for _ in range(requests):
        await loop.create_task(_call(app, body))
    return (time.process_time() - started) / requests * 1e6


async def _call(app: Application, body: bytes) -> bytes:
    scope: Message = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/graphql",
        "raw_path": b"/graphql",
        "root_path": "",
        "query_string": b"",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50_000),
        "headers": [*HEADERS, (b"content-length", b"%d" % len(body))],
        "state": {},
    }
    answered = bytearray()

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        answered.extend(message.get("body", b""))

    await app(scope, receive, send)
    return bytes(answered)


if __name__ == "__main__":
    main()
