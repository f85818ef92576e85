"""That a server is as it was before something broke: ready, no slower, and holding on to nothing."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from db.connections.leases import Driver
from tests.db.support.backends import POLL_S, POLLS_MAX, connected_superuser
from tests.faults import operations
from tests.faults.operations import Stopped
from tests.faults.served import OURS, Town, told
from tests.faults.storms import ensure_ready

ASKED = 100
# A connection that was quiet for a second, on a busy machine, takes a transaction for what is one statement else.
MORE = 1.1
KINDS: Sequence[Stopped] = [*operations.READS, *operations.SNAPSHOTS, *operations.SINGLE_STATEMENTS]
_GAUGES = re.compile(r"^(\w+(?:\{[^}]*\})?) ([0-9.e+]+)$", re.MULTILINE)

_LOCKS = f"SELECT count(*) FROM pg_locks WHERE pid IN (SELECT pid {OURS})"  # noqa: S608 - the words above
_WORKER = re.compile(r',?worker="\d+"')


@dataclass(frozen=True)
class Health:
    """A server in a process of its own, with what it took before anything broke.

    Attributes:
        town: whose people call it.
        url: of its database, past whatever breaks.
        connections_max: how many its pool may have.
        statements: how many ASKED requests took.
    """

    town: Town
    url: str
    connections_max: int
    statements: float

    @classmethod
    async def of(cls, town: Town, url: str, connections_max: int) -> "Health":
        """Return how it is with a server that is well."""
        await statements_of_some(town)  # at first sight an operation is not compiled yet
        return cls(town, url, connections_max, await statements_of_some(town))

    async def ensure_recovered(self, fault: str) -> None:
        """Demand that the server gets well by itself after `fault`.

        Its next requests all succeed and take as many statements as before, and nothing is left of the fault.
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
        """Return what is there and should not be, once all is over."""
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
    """Return what `/metrics` says, by name and labels; the server has one worker."""
    page = (await town.client.http.get("/metrics")).text
    return {_WORKER.sub("", name).replace("{}", ""): float(value) for name, value in _GAUGES.findall(page)}


async def statements_of_some(town: Town) -> float:
    """Ask ASKED times, one after the other, demand that nothing fails, and return how many statements that took."""
    before = await metrics(town)
    for number in range(ASKED):
        kind = KINDS[number % len(KINDS)]
        body = await kind.ask(town)
        assert told([body]) == {}, f"{kind.name}, request {number}"
    return (await metrics(town))["folio_statements_total"] - before["folio_statements_total"]
