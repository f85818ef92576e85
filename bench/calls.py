"""Counts the calls of Folio's own functions that one request makes: how long the path of a request is.

    python -m bench.calls [--requests 50] [--engine compiled|ordinary] [--functions FLOW]

These requests are sent to a server in this process, over a socket: a post with its author, a page of posts with their
authors, a user with their posts, a post with its author and the author's posts, the next page of a feed, a transfer, a
changed post, a new post and a new comment. Each is sent some times before it is counted, so that its plan and its
statements are cached. `sys.setprofile` then sees each call event of a function whose file is in db/ or graph/; a
coroutine that is resumed is a call, too. The command prints the median of calls, of different functions and of files
for each flow. These numbers do not depend on the machine. `--functions` lists what one flow calls, and how often.
`tests/bench/test_calls.py` holds the numbers.
"""

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import orjson
import uvicorn
import uvloop
from pydantic import SecretStr

from bench.stock import OwnAccount, Place, Size, Stock, drawn_from, stocked
from db.settings import Settings
from graph.app import create_app

ROOT = Path(__file__).parents[1]
OWN = tuple(f"{ROOT / package}/" for package in ("db", "graph"))
WARM = 20
SIZE = Size(users=50, posts=1000, accounts=50)

Engine = Literal["compiled", "ordinary"]
Calls = Counter[tuple[str, str]]
"""How often each function was called, by its file and its name."""

FLOWS = {
    "post, author": "query ($id: ID!) { post(id: $id) { title views author { username } } }",
    "page, authors": (
        "query ($after: String) { posts(first: 20, after: $after) { nodes { title author { username } } } }"
    ),
    "user, posts": (
        "query ($user: ID!) { user(id: $user) { username createdAt "
        "posts(first: 15) { nodes { title views createdAt } } } }"
    ),
    "post, author, posts": (
        "query ($id: ID!) { post(id: $id) { title content author { username posts(first: 5) { nodes { title } } } } }"
    ),
    "feed": (
        "query ($after: String) { posts(first: 20, after: $after, orderBy: [{ field: CREATED_AT, direction: DESC }], "
        "filter: { published: true }) { nodes { title author { username } } pageInfo { hasNextPage endCursor } } }"
    ),
    "transfer": (
        "mutation ($input: TransferInput!) { transfer(input: $input) { transaction { id } userErrors { code } } }"
    ),
    "update post": (
        "mutation ($input: UpdatePostInput!) { updatePost(input: $input) { post { id title } userErrors { code } } }"
    ),
    "create post": (
        "mutation ($input: CreatePostInput!) { createPost(input: $input) { post { id title } userErrors { code } } }"
    ),
    "create comment": (
        "mutation ($input: CreateCommentInput!) "
        "{ createComment(input: $input) { comment { id body } userErrors { code } } }"
    ),
}
MUTATIONS = tuple(flow for flow, text in FLOWS.items() if text.startswith("mutation"))


PLACE_IN_FEED = "{ posts(first: 20, filter: { published: true }) { pageInfo { endCursor } } }"


def main() -> None:
    """Count, and print."""
    parser = argparse.ArgumentParser(description="Count the calls of Folio's own functions that one request makes.")
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--engine", choices=["compiled", "ordinary"], default="compiled")
    parser.add_argument("--functions", choices=list(FLOWS), help="list the functions of one flow")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, stocked(Path(directory), SIZE) as place:
        flows = [chosen.functions] if chosen.functions else list(FLOWS)
        for flow, runs in uvloop.run(counted(place, flows, chosen.requests, chosen.engine)).items():
            _print(flow, runs, by_function=chosen.functions is not None)


async def counted(place: Place, flows: Sequence[str], requests: int, engine: Engine) -> dict[str, list[Calls]]:
    """Return the calls of each of `requests` warmed requests, by flow."""
    stock = await drawn_from(place)
    found: dict[str, list[Calls]] = {}
    async with _served(place, engine) as (reader, writer):
        start = await _exchanged(reader, writer, orjson.dumps({"query": PLACE_IN_FEED}), None)
        values = {
            "$id": f"post_{stock.published[0]}",
            "$user": f"user_{stock.users[0]}",
            "$after": start["data"]["posts"]["pageInfo"]["endCursor"],
        }
        for flow in flows:
            sent = [_request(flow, FLOWS[flow], stock, values) for _ in range(WARM + requests)]
            found[flow] = [await _calls(reader, writer, *one) for one in sent][WARM:]
    return found


def median(runs: Sequence[Calls]) -> float:
    """Return the median number of calls of these requests."""
    return statistics.median(run.total() for run in runs)


def _print(flow: str, runs: Sequence[Calls], *, by_function: bool) -> None:
    calls, functions = median(runs), statistics.median(len(run) for run in runs)
    files = statistics.median(len({file for file, _ in run}) for run in runs)
    sys.stdout.write(f"{flow:20} {calls:5.0f} calls of {functions:4.0f} functions in {files:3.0f} files\n")
    if by_function:
        for (file, name), times in sorted(runs[-1].items()):
            sys.stdout.write(f"    {times:4} {file} {name}\n")


def _request(flow: str, text: str, stock: Stock, values: dict[str, str]) -> tuple[bytes, str | None]:
    if flow in MUTATIONS:
        given, token = _written(flow, stock)
        return orjson.dumps({"query": text, "variables": {"input": given}}), token
    variables = {name.removeprefix("$"): value for name, value in values.items() if f"{name}:" in text}
    return orjson.dumps({"query": text, "variables": variables}), None


def _written(flow: str, stock: Stock) -> tuple[dict[str, Any], str]:
    """Return the input of a mutation, and the token of the user who sends it."""
    (post, token), text = stock.owned[0], f"the {uuid.uuid4()}"
    if flow == "transfer":
        source, target = stock.pair
        return _transfer(source, target), source.token
    if flow == "update post":
        return {"id": f"post_{post}", "title": text}, token
    if flow == "create post":
        return {"title": text, "content": text, "published": True}, token
    return {"postId": f"post_{stock.published[0]}", "body": text}, token


def _transfer(source: OwnAccount, target: OwnAccount) -> dict[str, Any]:
    return {
        "fromAccountId": f"account_{source.id}",
        "toAccountId": f"account_{target.id}",
        "amount": source.least,
        "idempotencyKey": str(uuid.uuid4()),
    }


async def _calls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes, token: str | None) -> Calls:
    """Send one request; return how often each function was called until its response had come."""
    calls: Calls = Counter()
    with _counting(calls):
        content = await _exchanged(reader, writer, body, token)
    if "errors" in content or any(one and one.get("userErrors") for one in content["data"].values()):
        raise SystemExit(f"a request was refused: {content}")
    return calls


async def _exchanged(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes, token: str | None
) -> dict[str, Any]:
    """Send one request, and return its response."""
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    head = (
        f"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{authorization}"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    content: dict[str, Any] = orjson.loads(await reader.readexactly(int(length.partition(b":")[2])))
    return content


@contextmanager
def _counting(calls: Calls) -> Iterator[None]:
    def on_event(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OWN):
            calls[frame.f_code.co_filename.removeprefix(f"{ROOT}/"), frame.f_code.co_qualname] += 1

    sys.setprofile(on_event)
    try:
        yield
    finally:
        sys.setprofile(None)


@asynccontextmanager
async def _served(place: Place, engine: Engine) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    settings = Settings(
        database_url=SecretStr(place.server.url()),
        secret_key=SecretStr(place.secret_key),
        engine=engine,
        cost_per_minute_max=1_000_000_000,
        cost_per_minute_per_address_max=1_000_000_000,
    )
    config = uvicorn.Config(
        create_app(settings), port=0, http="graph.http.direct:DirectHttpProtocol", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
    finally:
        server.should_exit = True
        await serving


if __name__ == "__main__":
    main()
