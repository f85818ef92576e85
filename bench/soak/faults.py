"""What goes wrong during a soak, on a schedule that the seed decides. Only what the soak started is ever killed."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

import asyncpg

from bench.soak.oracle import Oracle
from bench.soak.world import WORKERS, World

PAUSE_S = (2.0, 6.0)
LASTS_S = (1.0, 4.0)
DELAY_S = (0.02, 0.3)
CUT_AFTER_BYTES = 4000
RECOVERY_LIMIT_S = 60
WORKER_LIMIT_S = 60
POLL_S = 0.2
BACKENDS = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name LIKE 'folio%'"
_UNREACHABLE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)


class Faults:
    """Makes one fault after another."""

    def __init__(self, world: World, oracle: Oracle, rng: random.Random) -> None:
        """Draw from `rng` what happens when."""
        self._world, self._oracle, self._rng = world, oracle, rng

    async def happen(self, stopping: asyncio.Event) -> None:
        """Make faults until it is time to stop. Each is over before the next begins, the last before this returns."""
        while not await _within(stopping, self._rng.uniform(*PAUSE_S)):
            kind = self._rng.choices(list(self.KINDS), [share for share, _ in self.KINDS.values()])[0]
            number = self._oracle.faults.begin(kind)
            try:
                await self.KINDS[kind][1](self)
            finally:
                self._world.proxy.pass_on()
                self._oracle.faults.end(number)
            self._oracle.counts["faults"] += 1
            self._oracle.counts[f"fault: {kind}"] += 1

    async def _lasting(self) -> None:
        await asyncio.sleep(self._rng.uniform(*LASTS_S))

    # ------------------------------------------------------------ the network

    async def _delay(self) -> None:
        self._world.proxy.delay(self._rng.uniform(*DELAY_S))
        await self._lasting()

    async def _hold(self) -> None:
        self._world.proxy.hold()
        await self._lasting()

    async def _black_hole(self) -> None:
        self._world.proxy.black_hole()
        await self._lasting()

    async def _refuse(self) -> None:
        self._world.proxy.refuse()
        await self._world.proxy.cut()
        await self._lasting()

    async def _cut(self) -> None:
        await self._world.proxy.cut()

    async def _cut_midway(self) -> None:
        self._world.proxy.cut_after(self._rng.choice((0, self._rng.randrange(CUT_AFTER_BYTES))))
        await self._lasting()

    # ------------------------------------------------------------ processes

    async def _backends(self) -> list[int]:
        try:
            async with self._world.superuser() as connection:
                return [row[0] for row in await connection.fetch(BACKENDS)]
        except _UNREACHABLE as error:
            self._oracle.violation("PostgreSQL cannot be reached past the proxy", error=repr(error))
            return []

    async def _terminate(self) -> None:
        async with self._world.superuser() as connection:
            pids = [row[0] for row in await connection.fetch(BACKENDS)]
            victims = pids if self._rng.random() < 0.3 else pids[:1]  # noqa: PLR2004 - all of them now and then
            await connection.execute("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid", victims)

    async def _crash(self) -> None:
        """Kill a backend: PostgreSQL ends all others, and recovers."""
        pids = await self._backends()
        if not pids:
            return
        os.kill(self._rng.choice(pids), signal.SIGKILL)
        deadline = time.monotonic() + RECOVERY_LIMIT_S
        await asyncio.sleep(POLL_S)
        while time.monotonic() < deadline:
            try:
                async with self._world.superuser() as connection:
                    await connection.fetchval("SELECT 1")
                    return
            except _UNREACHABLE:
                await asyncio.sleep(POLL_S)
        self._oracle.violation("PostgreSQL does not recover", seconds=RECOVERY_LIMIT_S)

    async def _kill_worker(self) -> None:
        """Kill a worker, and wait for the next."""
        workers = self._world.workers()
        if len(workers) < WORKERS:
            return
        victim = self._rng.choice(workers)
        os.kill(victim, signal.SIGKILL)
        deadline = time.monotonic() + WORKER_LIMIT_S
        while time.monotonic() < deadline:
            now = self._world.workers()
            if len(now) == WORKERS and victim not in now:
                return
            await asyncio.sleep(POLL_S)
        self._oracle.violation("no new worker comes up", seconds=WORKER_LIMIT_S)

    KINDS: Mapping[str, tuple[int, Callable[["Faults"], Awaitable[None]]]] = MappingProxyType(
        {
            "delay": (2, _delay),
            "hold": (2, _hold),
            "black hole": (3, _black_hole),
            "refuse": (2, _refuse),
            "cut": (3, _cut),
            "cut midway": (4, _cut_midway),
            "terminate": (3, _terminate),
            "crash": (2, _crash),
            "kill worker": (2, _kill_worker),
        }
    )


async def _within(stopping: asyncio.Event, seconds: float) -> bool:
    """Wait, and say whether it is time to stop."""
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return False
    return True
