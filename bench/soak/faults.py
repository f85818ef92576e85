"""Faults, on a schedule that the seed determines. They affect only processes that the world has started.

A function that takes the `Faults` makes a fault, and returns when the fault has ended. `SOAK` and `ALL` name the
faults, each with its relative frequency.
"""

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import asyncpg

from bench.soak.network_proxy import Proxy
from bench.soak.oracle import OF_CLIENTS, Oracle
from bench.soak.processes import frozen_process
from bench.soak.world import WORKERS, World

DELAY_S = (0.02, 0.3)
SLOW_BYTES_PER_S = (500, 20_000)
CUT_AFTER_BYTES = 4000
CUT_EVERY_S = 0.1
RECOVERY_LIMIT_S = 60
WORKER_LIMIT_S = 60
POLL_S = 0.2
BACKENDS = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name LIKE 'folio%'"
LOCKED_ROWS = "SELECT FROM accounts WHERE id IN (SELECT id FROM accounts ORDER BY random() LIMIT 4) FOR UPDATE"
UNREACHABLE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)


@dataclass(frozen=True)
class Pace:
    """The pause before a fault and the duration of a fault: minimum and maximum in seconds."""

    pause_s: tuple[float, float] = (2.0, 6.0)
    lasts_s: tuple[float, float] = (1.0, 4.0)


class Faults:
    """Makes one fault after another."""

    def __init__(
        self, world: World, oracle: Oracle, rng: random.Random, kinds: Mapping[str, "Kind"], pace: Pace
    ) -> None:
        """Draw kinds and times of faults from `rng`."""
        self.world, self.oracle, self.rng = world, oracle, rng
        self._kinds, self._pace = kinds, pace
        self._deck: list[str] = []

    async def happen(self, stopping: asyncio.Event) -> None:
        """Make faults, one after another, until `stopping` is set. The last one has ended when this returns.

        At the end all half-open connections are reset: PostgreSQL keeps the sessions of a dead server until their
        connections end.
        """
        while not await _within(stopping, self.rng.uniform(*self._pace.pause_s)):
            kind = self._drawn()
            number = self.oracle.faults.begin(kind)
            try:
                await self._kinds[kind].make(self)
            finally:
                self.world.pass_through()
                self.oracle.faults.end(number)
            self.oracle.counts["faults"] += 1
            self.oracle.counts[f"fault: {kind}"] += 1
        self.world.end_half_open()

    def _drawn(self) -> str:
        """Return the next kind from a shuffled deck, so that all kinds occur with their frequencies."""
        if not self._deck:
            self._deck = [kind for kind, one in self._kinds.items() for _ in range(one.share)]
            self.rng.shuffle(self._deck)
        return self._deck.pop()

    def duration_s(self) -> float:
        """Draw the duration of a fault."""
        return self.rng.uniform(*self._pace.lasts_s)

    async def lasting(self) -> None:
        """Wait for the duration of a fault."""
        await asyncio.sleep(self.duration_s())

    async def backends(self) -> list[int]:
        """Return the process ids of the PostgreSQL backends that serve the pools."""
        try:
            async with self.world.superuser() as connection:
                return [row[0] for row in await connection.fetch(BACKENDS)]
        except UNREACHABLE as error:
            self.oracle.violation("PostgreSQL cannot be reached past the proxy", error=repr(error))
            return []

    async def recovered(self) -> None:
        """Wait until PostgreSQL serves again."""
        deadline = time.monotonic() + RECOVERY_LIMIT_S
        while time.monotonic() < deadline:
            try:
                async with self.world.superuser() as connection:
                    await connection.fetchval("SELECT 1")
                    return
            except UNREACHABLE:
                await asyncio.sleep(POLL_S)
        self.oracle.violation("PostgreSQL does not recover", seconds=RECOVERY_LIMIT_S)


@dataclass(frozen=True)
class Kind:
    """A kind of fault: its relative frequency, and the function that makes it."""

    share: int
    make: Callable[[Faults], Awaitable[None]]


# ---------------------------------------------------------------- the network


async def _delay(faults: Faults, proxy: Proxy) -> None:
    proxy.delay(faults.rng.uniform(*DELAY_S))
    await faults.lasting()


async def _slow(faults: Faults, proxy: Proxy) -> None:
    proxy.slow(faults.rng.randint(*SLOW_BYTES_PER_S))
    await faults.lasting()


async def _hold(faults: Faults, proxy: Proxy) -> None:
    proxy.hold()
    await faults.lasting()


async def _black_hole(faults: Faults, proxy: Proxy) -> None:
    proxy.black_hole()
    await faults.lasting()


async def _refuse(faults: Faults, proxy: Proxy) -> None:
    proxy.refuse()
    await proxy.cut()
    await faults.lasting()


async def _cut(faults: Faults, proxy: Proxy) -> None:
    await proxy.cut()


async def _cut_midway(faults: Faults, proxy: Proxy) -> None:
    """Cut connections, one after another, after some bytes from the server."""
    await _repeatedly(faults, lambda: proxy.cut_after(_random_byte_count(faults)))


async def _cut_requests(faults: Faults, proxy: Proxy) -> None:
    """Cut connections, one after another, after some bytes from the clients."""
    await _repeatedly(faults, lambda: proxy.cut_after(to_server=_random_byte_count(faults)))


async def _cut_commit(faults: Faults, proxy: Proxy, *, answer: bool) -> None:
    await _repeatedly(faults, lambda: proxy.cut_at(b"COMMIT", answer=answer))


async def _half_open(faults: Faults, proxy: Proxy, *, clients_stay: bool) -> None:
    await proxy.half_open(clients_stay=clients_stay)
    await faults.lasting()


def _random_byte_count(faults: Faults) -> int:
    return faults.rng.choice((0, faults.rng.randrange(CUT_AFTER_BYTES)))


async def _repeatedly(faults: Faults, arm: Callable[[], None]) -> None:
    until = time.monotonic() + faults.duration_s()
    while time.monotonic() < until:
        arm()
        await asyncio.sleep(CUT_EVERY_S)


# ---------------------------------------------------------------- processes


async def _terminate(faults: Faults) -> None:
    async with faults.world.superuser() as connection:
        pids = [row[0] for row in await connection.fetch(BACKENDS)]
        victims = pids if faults.rng.random() < 0.3 else pids[:1]  # noqa: PLR2004 - sometimes all of them
        await connection.execute("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid", victims)


async def _crash(faults: Faults) -> None:
    """Kill a backend: PostgreSQL ends all others, and recovers."""
    pids = await faults.backends()
    if not pids:
        return
    os.kill(faults.rng.choice(pids), signal.SIGKILL)
    await asyncio.sleep(POLL_S)
    await faults.recovered()


async def _crash_cluster(faults: Faults) -> None:
    """Kill all of PostgreSQL at once, and start it again."""
    await asyncio.to_thread(faults.world.cluster.kill)
    await asyncio.sleep(POLL_S)
    await asyncio.to_thread(faults.world.cluster.start)
    await faults.recovered()


async def _freeze_backend(faults: Faults) -> None:
    pids = await faults.backends()
    if pids:
        with frozen_process(faults.rng.choice(pids)):
            await faults.lasting()


async def _freeze_cluster(faults: Faults) -> None:
    with faults.world.cluster.frozen():
        await faults.lasting()


async def _lock_rows(faults: Faults) -> None:
    """Lock the rows of some accounts, like a forgotten session of an operator."""
    async with faults.world.superuser() as connection, connection.transaction():
        await connection.execute(LOCKED_ROWS)
        await faults.lasting()


async def _kill_worker(faults: Faults) -> None:
    """Kill a worker, and wait for its replacement."""
    workers = faults.world.workers()
    if len(workers) < WORKERS:
        return
    victim = faults.rng.choice(workers)
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + WORKER_LIMIT_S
    while time.monotonic() < deadline:
        now = faults.world.workers()
        if len(now) == WORKERS and victim not in now:
            return
        await asyncio.sleep(POLL_S)
    faults.oracle.violation("no new worker comes up", seconds=WORKER_LIMIT_S)


# ---------------------------------------------------------------- all of them


def _of_database(share: int, make: Callable[[Faults, Proxy], Awaitable[None]]) -> Kind:
    return Kind(share, lambda faults: make(faults, faults.world.proxy))


def _of_clients(share: int, make: Callable[[Faults, Proxy], Awaitable[None]]) -> Kind:
    async def run(faults: Faults) -> None:
        assert faults.world.front is not None
        await make(faults, faults.world.front)

    return Kind(share, run)


SOAK: Mapping[str, Kind] = MappingProxyType(
    {
        "delay": _of_database(2, _delay),
        "hold": _of_database(2, _hold),
        "black hole": _of_database(3, _black_hole),
        "refuse": _of_database(2, _refuse),
        "cut": _of_database(3, _cut),
        "cut midway": _of_database(4, _cut_midway),
        "terminate": Kind(3, _terminate),
        "crash": Kind(2, _crash),
        "kill worker": Kind(2, _kill_worker),
    }
)
ALL: Mapping[str, Kind] = MappingProxyType(
    {
        **{kind: Kind(1, one.make) for kind, one in SOAK.items()},
        "slow": _of_database(1, _slow),
        "cut requests": _of_database(1, _cut_requests),
        "commit lost": _of_database(2, partial(_cut_commit, answer=False)),
        "commit unanswered": _of_database(2, partial(_cut_commit, answer=True)),
        "half-open, the database is gone": _of_database(1, partial(_half_open, clients_stay=True)),
        "half-open, the server is gone": _of_database(1, partial(_half_open, clients_stay=False)),
        "crash cluster": Kind(2, _crash_cluster),
        "freeze backend": Kind(1, _freeze_backend),
        "freeze cluster": Kind(1, _freeze_cluster),
        "lock rows": Kind(1, _lock_rows),
        f"{OF_CLIENTS}delay": _of_clients(1, _delay),
        f"{OF_CLIENTS}slow": _of_clients(1, _slow),
        f"{OF_CLIENTS}hold": _of_clients(1, _hold),
        f"{OF_CLIENTS}black hole": _of_clients(1, _black_hole),
        f"{OF_CLIENTS}refuse": _of_clients(1, _refuse),
        f"{OF_CLIENTS}cut": _of_clients(1, _cut),
        f"{OF_CLIENTS}cut midway": _of_clients(2, _cut_midway),
        f"{OF_CLIENTS}cut requests": _of_clients(1, _cut_requests),
        f"{OF_CLIENTS}half-open, the server is gone": _of_clients(1, partial(_half_open, clients_stay=True)),
        f"{OF_CLIENTS}half-open, the client is gone": _of_clients(1, partial(_half_open, clients_stay=False)),
    }
)


async def _within(stopping: asyncio.Event, seconds: float) -> bool:
    """Wait for `seconds`, or until `stopping` is set; return whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return False
    return True
