"""The clients that front ends use, in Node: graphql-ws, graphql-sse, Apollo Client and urql."""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.graph.cli.test_serving import free_port, started
from tests.graph.support.callers import Client, Person
from tests.graph.support.live import publish, until_open

PACKAGE = Path(__file__).parents[3] / "live_clients"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
LIMIT_S = 120  # Node starts slowly on a busy machine
CLIENTS = [
    "graphql-ws",
    "graphql-sse",
    "graphql-sse, single connection",
    "apollo",
    "urql",
    "urql over HTTP",
]
# Those that connect again without help, and send their variables again.
RESUMING = ["graphql-ws", "graphql-sse", "graphql-sse, single connection"]


@pytest.fixture(scope="session")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the scripts, with the packages that they need; nothing is written into the checkout."""
    tools = {name: shutil.which(name) for name in ("node", "npm")}
    missing = [name for name, path in tools.items() if path is None]
    # `make test` needs no more than Python, make and git. Where Node is expected, its absence is a failure.
    if "node" in missing and os.environ.get("CI") != "true":
        pytest.skip("node is not on the PATH; install Node.js 20 or later to test the clients of live updates")
    assert missing == [], f"the clients of live updates need {' and '.join(missing)}; install Node.js 20 with npm"
    directory = tmp_path_factory.mktemp("live_clients")
    for name in ("package.json", ".npmrc", "subscribe.mjs"):
        shutil.copy(PACKAGE / name, directory)
    command = [str(tools["npm"]), "install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(directory)]
    trusted = {"NODE_EXTRA_CA_CERTS": str(AUTHORITIES)} if AUTHORITIES.exists() else {}
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, check=False, cwd=directory, env={**trusted, **os.environ}
    )
    assert done.returncode == 0, f"npm install of {PACKAGE / 'package.json'} failed: {done.stdout}{done.stderr}"
    return directory


class Node:
    """A client in a process of Node."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def next(self) -> Any:
        """Return the next line that it prints."""
        assert self._process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            line = await self._process.stdout.readline()
        assert line, "the client has ended"
        return orjson.loads(line)

    async def titles(self, count: int) -> list[str]:
        """Return the titles of the next posts."""
        found = []
        for _ in range(count):
            line = await self.next()
            assert "data" in line, line
            found.append(line["data"]["postPublished"]["post"]["title"])
        return found


@asynccontextmanager
async def node(scripts: Path, kind: str, url: str, *, by: Person | None = None) -> AsyncIterator[Node]:
    """Run a client."""
    process = await asyncio.create_subprocess_exec(
        "node", "subscribe.mjs", kind, url, *([by.token] if by else []), cwd=scripts, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Node(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.long("Node is started")
@pytest.mark.parametrize("kind", CLIENTS)
async def test_client_receives_events_in_order(scripts: Path, client: Client, ida: Person, kind: str) -> None:
    url = str(client.http.base_url.join("/graphql"))
    async with node(scripts, kind, url) as one:
        await until_open(client, 1)
        await publish(client, ida, "a", "b", "c")
        assert await one.titles(3) == ["a", "b", "c"]
    await until_open(client, 0)


@pytest.mark.long("Node is started")
async def test_query_runs_over_a_socket_as_the_user_of_its_token(scripts: Path, client: Client, ida: Person) -> None:
    async with node(scripts, "graphql-ws, run", str(client.http.base_url.join("/graphql")), by=ida) as one:
        assert await one.next() == {"ran": {"viewer": {"username": "ida"}}}


@pytest.mark.long("Node and several servers are started")
@pytest.mark.parametrize("kind", RESUMING)
async def test_client_continues_behind_its_last_event_after_a_restart_of_the_server(
    scripts: Path, client: Client, ida: Person, database_url: str, tmp_path: Path, kind: str
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/graphql"

    async def is_subscribed() -> bool:
        async with httpx.AsyncClient() as http:
            page = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
        lines = [line for line in page.splitlines() if line.startswith('folio_subscriptions{field="postPublished"')]
        return any(line.endswith(" 1.0") for line in lines)

    async def until_subscribed() -> None:
        async with asyncio.timeout(LIMIT_S):
            while not await is_subscribed():
                await asyncio.sleep(0.1)

    async with node(scripts, kind, url) as one:
        for round_ in ("x", "y"):
            async with started("serve", cwd=tmp_path, port=port, FOLIO_DATABASE_URL=database_url) as process:
                if round_ == "y":
                    assert await one.titles(2) == ["missed", "missed too"]
                await until_subscribed()
                await publish(client, ida, f"{round_}1", f"{round_}2")
                assert await one.titles(2) == [f"{round_}1", f"{round_}2"]
                process.terminate()
                assert await asyncio.wait_for(process.wait(), LIMIT_S) == 0
            if round_ == "x":
                await publish(client, ida, "missed", "missed too")


# ---------------------------------------------------------------- the README

README = (Path(__file__).parents[4] / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```(js|sh)\n(.*?)```", README.partition("## Live updates")[2].partition("\n## ")[0], re.DOTALL)
# What a page has and Node does not: WebSockets, and the application's function for its token.
PRELUDE = """import WebSocket from 'ws';
globalThis.WebSocket = WebSocket;
globalThis.accessToken = async () => process.env.ACCESS_TOKEN;
"""


def test_readme_has_three_snippets_for_live_updates() -> None:
    assert [kind for kind, _ in SNIPPETS] == ["js", "js", "sh"]


@pytest.mark.long("Node is started")
@pytest.mark.parametrize("number", range(3))
async def test_snippet_of_the_readme_prints_titles(scripts: Path, client: Client, ida: Person, number: int) -> None:
    kind, text = SNIPPETS[number]
    text = text.replace("127.0.0.1:8000", f"{client.http.base_url.host}:{client.http.base_url.port}")
    command = ["sh", "-c", f"exec {text}"]  # without it the shell would end and leave curl
    if kind == "js":
        (scripts / "prelude.mjs").write_text(PRELUDE, encoding="utf-8")
        (scripts / f"snippet_{number}.mjs").write_text(text, encoding="utf-8")
        command = ["node", "--import", "./prelude.mjs", f"snippet_{number}.mjs"]
    elif shutil.which("curl") is None:
        pytest.skip("curl is not on the PATH")
    process = await asyncio.create_subprocess_exec(
        *command, cwd=scripts, stdout=asyncio.subprocess.PIPE, env={**os.environ, "ACCESS_TOKEN": ida.token}
    )
    assert process.stdout is not None
    try:
        await until_open(client, 1)
        await publish(client, ida, "printed")
        async with asyncio.timeout(LIMIT_S):
            while b"printed" not in (line := await process.stdout.readline()):
                assert line, "the snippet has ended"
    finally:
        process.terminate()
        await process.wait()
