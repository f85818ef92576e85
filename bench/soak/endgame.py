"""Checks after the faults have ended: the pool, the memory, and fast responses."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from bench.soak.oracle import Oracle
from bench.soak.world import POOL_OVERFLOW, POOL_SIZE, World, memory_mib, metrics

WARM_UP_S = 20
MEMORY_GROWTH_MAX_MIB = 64
QUIET_S = 20  # connections that a black hole has left behind end by the server's own timeouts within 15 s
BURST_EACH, BURST_LIMIT_S = 5, 10.0  # on a busy machine, too; a connection that hangs takes longer


@dataclass
class Memory:
    """The memory of each worker in MiB, from the end of its warm-up."""

    first_seen: dict[int, float] = field(default_factory=dict)
    warm: dict[int, float] = field(default_factory=dict)

    async def watch(self, world: World, stopping: asyncio.Event) -> None:
        """Measure once a second, until `stopping` is set."""
        while not stopping.is_set():
            now = time.monotonic()
            for pid in world.workers():
                mib = memory_mib(pid)
                if mib is not None and now - self.first_seen.setdefault(pid, now) >= WARM_UP_S:
                    self.warm.setdefault(pid, mib)
            await asyncio.sleep(1)

    def growth(self, world: World) -> dict[int, float]:
        """Return the growth in MiB of each worker that still runs and has warmed up."""
        now = {pid: memory_mib(pid) for pid in world.workers()}
        return {pid: mib - self.warm[pid] for pid, mib in now.items() if mib is not None and pid in self.warm}


async def burst(request: Sequence[Callable[[], Awaitable[object]]], oracle: Oracle) -> None:
    """Let all clients send operations concurrently, and check that there are no errors and no slow responses."""

    async def some(one: Callable[[], Awaitable[object]]) -> float:
        slowest = 0.0
        for _ in range(BURST_EACH):
            started_at = time.monotonic()
            await one()
            slowest = max(slowest, time.monotonic() - started_at)
        return slowest

    worded = oracle.counts["worded errors"]
    slowest = max(await asyncio.gather(*map(some, request)))
    if slowest > BURST_LIMIT_S:
        oracle.violation("slow after all is quiet", slowest_s=slowest)
    if oracle.counts["worded errors"] > worded:
        oracle.violation("errors after all is quiet", counts=dict(oracle.counts))


async def check_workers(world: World, oracle: Oracle, memory: Memory) -> None:
    """Check the workers' metrics, PostgreSQL's view of their connections, and their memory."""
    pages = await metrics(world)
    if set(pages) != set(world.workers()):
        oracle.violation("not all workers answer", answering=sorted(pages), running=world.workers())
    for pid, text in pages.items():
        in_flight = _sum(text, "folio_requests_in_flight")
        connections = _sum(text, "folio_pool_connections")
        used = _sum(text, "folio_pool_connections", 'state="in_use"')
        if in_flight or used or connections > POOL_SIZE + POOL_OVERFLOW:
            oracle.violation(
                "a worker holds on to something", worker=pid, in_flight=in_flight, in_use=used, connections=connections
            )
    async with world.superuser() as connection:
        states = Counter(
            row[0]
            for row in await connection.fetch("SELECT state FROM pg_stat_activity WHERE application_name LIKE 'folio%'")
        )
    if states.total() > len(pages) * (POOL_SIZE + POOL_OVERFLOW) or set(states) - {"idle"}:
        oracle.violation("the database's connections are not as they should be", states=dict(states))
    for pid, mib in memory.growth(world).items():
        if mib > MEMORY_GROWTH_MAX_MIB:
            oracle.violation("a worker has grown", worker=pid, mib=round(mib), warm=round(memory.warm[pid]))


def _sum(text: str, name: str, label: str = "") -> float:
    lines = re.findall(rf"^{name}(\{{[^}}]*\}})? ([0-9.e+]+)$", text, re.MULTILINE)
    return sum(float(value) for labels, value in lines if label in labels)
