"""Behind a proxy: which peers may name the client's address, and which budget a request is charged to."""

import asyncio
import re
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import httpx
import orjson
import pytest
from typer.testing import CliRunner

from graph.cli.app import app
from tests.graph.cli.test_serving import ROOT, free_port
from tests.graph.support.forked import forked
from tests.graph.support.served_app import until_minute_has_left

README = ROOT / "README.md"

# Addresses of this machine, from which its own clients may connect.
PROXY, STRANGER = "127.0.0.2", "127.0.0.3"
QUERY = "{ users(first: 1) { nodes { username } } }"
BUDGET, ATTEMPTS_MAX = 500, 400
# More seconds than a test takes on a busy machine. Each one more makes waits for the next minute more frequent.
TEST_S = 10

needs_loopback_network = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="has one loopback address")


def batched(raw: bytes, parts: int) -> list[bytes]:
    """Split bytes into `parts` parts; the last one begins within the trailers."""
    cuts = [0, *(len(raw) - 40 * number for number in range(parts - 1, 0, -1)), len(raw)]
    return [raw[start:stop] for start, stop in pairwise(cuts)]


class Clients:
    """Sends requests to a server from different addresses."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._url = f"http://127.0.0.1:{port}/graphql"
        self._from = {
            one: httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(local_address=one), timeout=30)
            for one in (PROXY, STRANGER)
        }

    async def status(self, peer: str, *forwarded: str, get: bool = False) -> int:
        """Send a query from an address, with one header X-Forwarded-For for each value, and return the status."""
        headers = [("accept", "application/json"), *(("x-forwarded-for", one) for one in forwarded)]
        http = self._from[peer]
        if get:
            return (await http.get(self._url, params={"query": QUERY}, headers=headers)).status_code
        return (await http.post(self._url, json={"query": QUERY}, headers=headers)).status_code

    async def chunked(self, peer: str, head: list[str], trailers: list[str], *, parts: int) -> list[int]:
        """Send a query twice on a connection, chunked and with trailers, and return the statuses."""
        lines = ["POST /graphql HTTP/1.1", "host: x", "content-type: application/json", "transfer-encoding: chunked"]
        body = orjson.dumps({"query": QUERY})
        behind = ["", f"{len(body):x}", body.decode(), "0", *trailers, "", ""]
        raw = "\r\n".join([*lines, *head, *behind]).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(peer, 0))
        statuses = []
        async with asyncio.timeout(30):
            for _ in range(2):
                for part in batched(raw, parts):
                    writer.write(part)
                    await asyncio.sleep(0.05)
                answer = await reader.readuntil(b"\r\n\r\n")
                statuses.append(int(answer.split(b" ")[1]))
                await reader.readexactly(int(answer.lower().split(b"content-length: ")[1].split(b"\r")[0]))
        writer.close()
        return statuses

    async def spend_budget(self, peer: str, *forwarded: str) -> None:
        """Send queries until the budget of the address is spent."""
        for _ in range(ATTEMPTS_MAX):
            if await self.status(peer, *forwarded) == 429:
                return
        pytest.fail("the budget has no end")

    async def aclose(self) -> None:
        for http in self._from.values():
            await http.aclose()


@pytest.fixture
async def clients(database_url: str, tmp_path: Path) -> AsyncIterator[Clients]:
    """Clients of a server that trusts one address and one network to name the client's address."""
    port = free_port()
    variables = {
        "FOLIO_DATABASE_URL": database_url,
        "FOLIO_COST_PER_MINUTE_MAX": "0",
        "FOLIO_COST_PER_MINUTE_PER_ADDRESS_MAX": str(BUDGET),
        "FORWARDED_ALLOW_IPS": f"{PROXY}, 127.0.1.0/24",
    }
    async with forked("serve", cwd=tmp_path, port=port, **variables), aclosing(Clients(port)) as opened:
        await until_minute_has_left(TEST_S)
        yield opened


@needs_loopback_network
async def test_clients_of_a_trusted_proxy_have_a_budget_each(clients: Clients) -> None:
    await clients.spend_budget(PROXY, "192.0.2.1")
    for get in (False, True):
        assert await clients.status(PROXY, "192.0.2.1", get=get) == 429
        assert await clients.status(PROXY, "192.0.2.2", get=get) == 200
    assert await clients.status(PROXY, "192.0.2.1:4711") == 429
    assert await clients.status(PROXY) == 200  # the proxy's own request
    await clients.spend_budget(PROXY, "2001:db8::1")
    assert await clients.status(PROXY, "2001:db8::2") == 429
    assert await clients.status(PROXY, "2001:db8:0:1::2") == 200


@needs_loopback_network
async def test_client_of_a_trusted_proxy_does_not_choose_its_address(clients: Clients) -> None:
    """A proxy appends its client's address to the header that the client sends: only the last address counts."""
    await clients.spend_budget(PROXY, "192.0.2.1")
    assert await clients.status(PROXY, "192.0.2.7, 192.0.2.1") == 429
    assert await clients.status(PROXY, "192.0.2.7", "192.0.2.1") == 429
    assert await clients.status(PROXY, f"{PROXY}, 192.0.2.1") == 429
    # Two proxies in a row: the second names the first, which is trusted.
    assert await clients.status(PROXY, "192.0.2.7, 192.0.2.1, 127.0.1.9") == 429
    assert await clients.status(PROXY, "192.0.2.7") == 200


@needs_loopback_network
async def test_untrusted_peer_has_the_address_that_it_connects_from_whatever_it_sends(clients: Clients) -> None:
    for number in range(ATTEMPTS_MAX):
        if await clients.status(STRANGER, f"192.0.2.{number % 256}", f"198.51.100.{number % 256}") == 429:
            break
    assert await clients.status(STRANGER) == 429
    assert await clients.status(STRANGER, PROXY, get=True) == 429
    assert await clients.status(PROXY, "192.0.2.1") == 200  # the address that the proxy names
    assert await clients.status(PROXY, STRANGER) == 429


@needs_loopback_network
@pytest.mark.parametrize("parts", [1, 3], ids=["at once", "in parts"])
async def test_trailers_of_a_trusted_proxy_are_dropped(clients: Clients, parts: int) -> None:
    """Both endpoints ignore them: a client chooses its trailers, and a proxy that sets the header forwards them."""
    await clients.spend_budget(PROXY, "192.0.2.1")
    spent, other = "x-forwarded-for: 192.0.2.1", "x-forwarded-for: 192.0.2.2"
    token = "authorization: Bearer nonsense"
    for head, trailers, expected in (
        ([], [spent, token], 200),
        ([other], [spent, token], 200),
        ([spent], [other], 429),
        ([spent], [f"X-Forwarded-For: {PROXY}", token], 429),
    ):
        assert await clients.chunked(PROXY, head, trailers, parts=parts) == [expected] * 2, (head, trailers)
    assert await clients.status(PROXY, "192.0.2.2") == 200


@needs_loopback_network
async def test_proxy_that_calls_by_ipv4_is_known_to_a_server_that_listens_on_both(
    database_url: str, tmp_path: Path
) -> None:
    try:
        socket.create_server(("::", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    port = free_port()
    variables = {
        "FOLIO_DATABASE_URL": database_url,
        "FOLIO_COST_PER_MINUTE_MAX": "0",
        "FOLIO_COST_PER_MINUTE_PER_ADDRESS_MAX": "20",
        "FORWARDED_ALLOW_IPS": PROXY,
    }
    # Workers share a dual-stack socket, in which an IPv4 client has a mapped IPv6 address.
    async with (
        forked("serve", "--host", "::", "--workers", "2", cwd=tmp_path, port=port, **variables),
        aclosing(Clients(port)) as clients,
    ):
        assert {await clients.status(PROXY, f"192.0.2.{number}") for number in range(60)} == {200}
        assert 429 in [await clients.status(STRANGER, f"192.0.2.{number}") for number in range(60)]


@needs_loopback_network
@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not on the PATH")
async def test_configuration_in_the_readme_gives_each_client_of_nginx_its_budget(
    database_url: str, tmp_path: Path
) -> None:
    found = re.search(r"```nginx\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    port, front = free_port(), free_port()
    site = found[1].replace("127.0.0.1:8000", f"127.0.0.1:{port}").replace("listen 80;", f"listen 127.0.0.1:{front};")
    temporary = "".join(
        f"{one}_temp_path {tmp_path}/{one};" for one in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; user root; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}}"
        f" http {{ access_log off; {temporary} {site} }}"
    )
    variables = {"FOLIO_DATABASE_URL": database_url, "FOLIO_COST_PER_MINUTE_MAX": "0"}
    variables["FOLIO_COST_PER_MINUTE_PER_ADDRESS_MAX"] = str(BUDGET)
    async with forked("serve", cwd=tmp_path, port=port, **variables), aclosing(Clients(front)) as clients:
        nginx = await asyncio.create_subprocess_exec("nginx", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path))
        try:
            async with asyncio.timeout(60):
                while not (tmp_path / "pid").exists():
                    await asyncio.sleep(0.05)
            await until_minute_has_left(TEST_S)
            # Each connects from a separate address, and claims to have another one.
            for number in range(ATTEMPTS_MAX):
                if await clients.status(STRANGER, f"192.0.2.{number % 256}") == 429:
                    break
            assert await clients.status(STRANGER) == 429
            assert await clients.status(PROXY) == 200
            assert await clients.status(PROXY, STRANGER) == 200
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{front}") as http:
                assert (await http.get("/metrics")).status_code == 404
                assert (await http.get("/", headers={"accept": "text/html"})).headers["location"] == "graphql"
        finally:
            nginx.terminate()
            await nginx.wait()


@pytest.mark.parametrize("command", ["serve", "dev"])
@pytest.mark.parametrize(
    ("trusted", "wrong"),
    [
        ("*", "* trusts all clients, so that each one could choose its address"),
        ("10.0.0.5, 0.0.0.0/0", "0.0.0.0/0 trusts all clients, so that each one could choose its address"),
        ("::/0", "::/0 trusts all clients, so that each one could choose its address"),
        ("10.0.0.1/8", "10.0.0.1/8 has host bits set"),
        ("127.0.0.1,proxy.internal", "'proxy.internal' does not appear to be an IPv4 or IPv6 network"),
    ],
)
def test_ambiguous_proxies_prevent_the_start(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trusted: str, wrong: str, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOLIO_DATABASE_URL", database_url)
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", trusted)
    # On a port that is in use: a start that is not refused for the expected reason fails with that one.
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = CliRunner().invoke(app, [command, "--port", str(taken.getsockname()[1])])
    remedy = "name only the proxies in FORWARDED_ALLOW_IPS, for example 10.0.0.5 or 10.0.0.0/24"
    assert (result.exit_code, result.stderr) == (1, f"folio: {wrong}; {remedy}\n")
