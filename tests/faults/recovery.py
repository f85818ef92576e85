"""The check that a server has recovered from a fault: ready, no slower, and without leaks."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from db.connections.leases import Driver
from tests.db.support.backends import POLL_S, POLLS_MAX, connected_superuser
from tests.faults import operations
from tests.faults.operations import BlockedOperation
from tests.faults.served import OURS, Town, error_counts
from tests.faults.storms import ensure_ready

SAMPLE = 100
# On a busy machine, a connection that was idle for a second runs a transaction instead of a single statement.
MORE = 1.1
KINDS: Sequence[BlockedOperation] = [*operations.READS, *operations.SNAPSHOTS, *operations.SINGLE_STATEMENTS]
_GAUGES = re.compile(r"^(\w+(?:\{[^}]*\})?) ([0-9.e+]+)$", re.MULTILINE)

_LOCKS = f"SELECT count(*) FROM pg_locks WHERE pid IN (SELECT pid {OURS})"  # noqa: S608 - the constants above
_WORKER = re.compile(r',?worker="\d+"')


@dataclass(frozen=True)
class Health:
    """A server in a separate process, with its number of statements before any fault.

    Attributes:
        town: whose users call the server.
        url: the URL of the database, not through the faulty network.
        connections_max: the maximum size of its pool.
        statements: the number of statements that SAMPLE requests took.
    """

    town: Town
    url: str
    connections_max: int
    statements: float

    @classmethod
    async def of(cls, town: Town, url: str, connections_max: int) -> "Health":
        """Return the state of a healthy server."""
        await statements_of_some(town)  # the first execution of an operation is not compiled yet
        return cls(town, url, connections_max, await statements_of_some(town))

    async def ensure_recovered(self, fault: str) -> None:
        """Require that the server recovers from `fault` without intervention.

        Its next requests all succeed and take as many statements as before, and the fault leaves nothing behind.
        """
        await ensure_ready(self.town.client)
        statements = await statements_of_some(self.town)
        assert statements <= self.statements * MORE, fault
        left: dict[str, object] = {}
        async with connected_superuser(self.url) as superuser:
            for _ in range(POLLS_MAX):
                left = await self.left(superuser)
                if not left:
                    return
                await asyncio.sleep(POLL_S)
        raise AssertionError(f"after {fault} something is left: {left}")

    async def left(self, superuser: Driver) -> dict[str, object]:
        """Return everything that a recovered server must not have, by name."""
        gauges = await metrics(self.town)
        states = [row[0] for row in await superuser.fetch(f"SELECT state {OURS}")]
        locks = await superuser.fetchval(_LOCKS)
        held = {
            "requests in flight": gauges["folio_requests_in_flight"],
            "connections in use": gauges['folio_pool_connections{state="in_use"}'],
            "connections that are being opened": gauges['folio_pool_connections{state="opening"}'],
            "connections that are being closed": gauges['folio_pool_connections{state="closing"}'],
            "requests that wait for a connection": gauges["folio_pool_waiting"],
            "connections beyond the pool": max(len(states) - self.connections_max, 0),
            "connections that the pool does not know": len(states) - gauges['folio_pool_connections{state="idle"}'],
            "backends that are not idle": [state for state in states if state != "idle"],
            "locks": locks,
        }
        return {name: value for name, value in held.items() if value}


async def metrics(town: Town) -> dict[str, float]:
    """Return the values of `/metrics` by name and labels; the server has one worker."""
    page = (await town.client.http.get("/metrics")).text
    return {_WORKER.sub("", name).replace("{}", ""): float(value) for name, value in _GAUGES.findall(page)}


async def statements_of_some(town: Town) -> float:
    """Send SAMPLE requests one after the other, require that none fails, and return the number of their statements."""
    before = await metrics(town)
    for number in range(SAMPLE):
        kind = KINDS[number % len(KINDS)]
        body = await kind.send(town)
        assert error_counts([body]) == {}, f"{kind.name}, request {number}"
    return (await metrics(town))["folio_statements_total"] - before["folio_statements_total"]
