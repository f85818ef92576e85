"""One round of load: wrk sends a file of requests, and the round measures what server and database use."""

import json
import random
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.servers import Server, database_cpu_us

SCRIPT = Path(__file__).with_name("load.lua")
SETTLE_STEP_S = 0.05
SETTLE_MAX_S = 10.0


@dataclass(frozen=True)
class Round:
    """The result of one round. Latencies are in microseconds, processor times in microseconds per request."""

    requests: int
    rate: float
    p50_us: float
    p99_us: float
    server_us: float
    database_us: float
    memory_mib: float
    bytes_each: float
    failed: int


def ensure_wrk() -> None:
    """Exit with advice if wrk is not installed."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed: apt-get install wrk, or see https://github.com/wg/wrk")


def load_generator() -> str:
    """Return wrk's name and version. wrk prints both with its usage, and exits with a failure."""
    output = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S607 - from the PATH
    return output.partition(" Copyright")[0]


def write_bodies(file: Path, requests: Sequence[tuple[str, bytes]]) -> Path:
    """Write the requests of a case in the format of `load.lua`."""
    file.write_bytes(b"".join(token.encode() + b"\t" + body + b"\n" for token, body in requests))
    return file


def run(server: Server, postmaster: int, file: Path, connections: int, seconds: float) -> Round:
    """Send the requests in `file` to `server`, over this number of connections, for `seconds`."""
    server.forget_peak()
    server_before, database_before = server.cpu_us(), database_cpu_us(postmaster)
    result = _wrk(server.url, file, connections, seconds)
    memory_mib = server.memory_mib()
    _settle(server)
    server_us, database_us = server.cpu_us() - server_before, database_cpu_us(postmaster) - database_before
    # At the end each connection waits for one more response, which took work too, but was not counted.
    worked_on = result["requests"] + connections
    count = max(result["requests"], 1)
    return Round(
        requests=result["requests"],
        rate=result["requests"] / (result["us"] / 1e6),
        p50_us=result["p50_us"],
        p99_us=result["p99_us"],
        server_us=server_us / worked_on,
        database_us=database_us / worked_on,
        memory_mib=memory_mib,
        bytes_each=result["bytes"] / count,
        failed=result["failed"] + result["broken"],
    )


def _settle(server: Server) -> None:
    """Wait until a server has finished the requests that wrk abandoned, so that they do not disturb the next round."""
    deadline, last = time.monotonic() + SETTLE_MAX_S, -1.0
    while time.monotonic() < deadline and (now := server.cpu_us()) > last:
        last = now
        time.sleep(SETTLE_STEP_S)


def _wrk(url: str, file: Path, connections: int, seconds: float) -> dict[str, int]:
    # wrk counts whole seconds. One thread takes the requests of all connections from one sequence (load.lua); a second
    # one would send the same sequence again.
    length = max(1, round(seconds))
    program = ["wrk", "-t1", f"-c{connections}", f"-d{length}s", "--timeout", "30s", "-s", str(SCRIPT), url, "--"]
    seed = random.SystemRandom().randrange(2**31)
    ended = subprocess.run(  # noqa: S603 - wrk, with our own arguments
        [*program, str(file), str(seed)], capture_output=True, text=True, check=False, timeout=length + 90
    )
    for line in ended.stdout.splitlines():
        if line.startswith("RESULT "):
            parsed: dict[str, int] = json.loads(line.removeprefix("RESULT "))
            return parsed
    raise RuntimeError(f"wrk printed no result: {ended.stdout}{ended.stderr}")
