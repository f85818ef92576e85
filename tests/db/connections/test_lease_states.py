"""The pool of connections in every state that callers and faults can cause, on real backends of PostgreSQL.

Callers arrive, return or break their connection, give up waiting, or are interrupted in a statement, in any order.
After each step the test checks the invariants of `db.connections.leases`, and the server's own count of its backends.
"""

import asyncio
import os
from collections.abc import Coroutine
from typing import Any, TypeVar

import asyncpg
from hypothesis import Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from pydantic import SecretStr

from db.connections.database import Database
from db.connections.leased_connection import LeasedConnection
from db.embedded.server import EmbeddedServer
from db.errors import Unavailable
from db.settings import Settings, async_url
from tests.conftest import superuser_execute
from tests.running.amounts import examples

KEPT, OVERFLOW = 2, 1
PATIENCE_S = 0.15
EXAMPLES, STEPS = 50, 30
# No shrinking: a run takes time, and is not reproducible.
PHASES = [Phase.explicit, Phase.generate]
T = TypeVar("T")


class Pool(RuleBasedStateMachine):
    """One pool, the connections that callers hold, and the callers that wait.

    Rules have no preconditions: the state depends on time, and what Hypothesis draws must not depend on time.
    """

    url: str  # of the test's database

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.waiting: list[asyncio.Task[LeasedConnection]] = []
        self.held: list[LeasedConnection] = []
        self.refused = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize()
    def open(self) -> None:
        async def opened() -> tuple[Database, Any]:
            settings = Settings(
                database_url=SecretStr(async_url(self.url)),
                pool_size=KEPT,
                pool_max_overflow=OVERFLOW,
                pool_timeout_s=PATIENCE_S,
            )
            watcher = await asyncpg.connect(
                self.url.replace("+asyncpg", "").replace("//folio@", "//postgres@"), statement_cache_size=0
            )
            return Database(settings), watcher

        self.database, self.watcher = self.run(opened())
        self.leases = self.database.leases

    @rule(callers=st.integers(1, 4), turns=st.integers(0, 3))
    def arrive(self, callers: int, turns: int) -> None:
        async def take() -> None:
            self.waiting += [asyncio.ensure_future(self.leases.take()) for _ in range(callers)]
            for _ in range(turns):
                await asyncio.sleep(0)

        self.run(take())

    @rule(which=st.integers(0, 7))
    def give_back(self, which: int) -> None:
        if not self.held:
            return

        async def return_one() -> None:
            self.leases.give_back(self.held.pop(which % len(self.held)))

        self.run(return_one())

    @rule(which=st.integers(0, 7))
    def give_up(self, which: int) -> None:
        if not self.waiting:
            return

        async def cancel() -> None:
            self.waiting[which % len(self.waiting)].cancel()

        self.run(cancel())

    @rule(which=st.integers(0, 7))
    def break_one(self, which: int) -> None:
        if not self.held:
            return

        async def terminate() -> None:
            pid = self.held[which % len(self.held)].driver.get_server_pid()
            await self.watcher.execute("SELECT pg_terminate_backend($1, 2000)", pid)

        if not self.held[which % len(self.held)].driver.is_closed():
            self.run(terminate())

    @rule()
    def break_all(self) -> None:
        self.run(
            self.watcher.execute(
                "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename = 'folio'"
            )
        )

    @rule(which=st.integers(0, 7), begins=st.booleans())
    def interrupt(self, which: int, begins: bool) -> None:
        if not self.held:
            return
        connection = self.held[which % len(self.held)]

        async def interrupted() -> None:
            if begins:
                await connection.execute("BEGIN")
            statement = asyncio.ensure_future(connection.fetch("SELECT pg_sleep(10)", []))
            await asyncio.sleep(0.001)
            statement.cancel()
            await asyncio.wait([statement])

        is_usable = not (connection.is_interrupted or connection.driver.is_closed())
        if is_usable:
            self.run(interrupted())
            assert connection.is_interrupted
            self.held.remove(connection)

            async def return_one() -> None:
                self.leases.give_back(connection)

            self.run(return_one())

    @rule(for_s=st.sampled_from([0.002, 0.02, 0.12, 0.2]))
    def wait(self, for_s: float) -> None:
        self.run(asyncio.sleep(for_s))

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "leases"):
            return
        self.run(asyncio.sleep(0))
        self._check_waiting()
        leases = self.leases
        assert leases.open <= KEPT + OVERFLOW
        assert leases.idle + leases.in_use + leases.opening + leases.closing == leases.open
        assert leases.in_use >= len(self.held)
        assert not (leases.waiting and leases.idle)
        assert leases.idle <= KEPT

    def _check_waiting(self) -> None:
        for task in [task for task in self.waiting if task.done()]:
            self.waiting.remove(task)
            if task.cancelled():
                continue
            error = task.exception()
            if error is None:
                assert not task.result().is_interrupted
                self.held.append(task.result())
            else:
                assert isinstance(error, Unavailable)
                self.refused += 1

    async def _backends(self) -> int:
        rows = await self.watcher.fetch(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = 'folio'"
        )
        return len(rows)

    def teardown(self) -> None:
        if not hasattr(self, "leases"):
            self.runner.close()
            return

        async def end() -> None:
            for task in self.waiting:
                task.cancel()
            results = await asyncio.gather(*self.waiting, return_exceptions=True)
            for connection in [*self.held, *(one for one in results if isinstance(one, LeasedConnection))]:
                self.leases.give_back(connection)
            async with asyncio.timeout(10):
                while self.leases.opening or self.leases.closing:
                    await asyncio.sleep(0.005)
            # The state is that of the start: no caller waits, no connection is leased, and every new caller is served.
            assert (self.leases.waiting, self.leases.in_use) == (0, 0)
            assert self.leases.open == self.leases.idle <= KEPT
            async with asyncio.timeout(10):
                while await self._backends() > self.leases.open:
                    await asyncio.sleep(0.005)
            served = await asyncio.gather(*(self.leases.take() for _ in range(KEPT)))
            for connection in served:
                assert [tuple(row) for row in await connection.fetch("SELECT 1", [])] == [(1,)]
                self.leases.give_back(connection)
            await self.database.close()
            await self.watcher.close()

        self.run(end())
        self.runner.close()


def test_pool_keeps_its_invariants_whatever_callers_and_faults_do(server: EmbeddedServer, template: str) -> None:
    name = f"states_{os.getpid()}"
    asyncio.run(superuser_execute(server, f"CREATE DATABASE {name} TEMPLATE {template} OWNER folio"))

    class Machine(Pool):
        url = server.url(name)

    run_state_machine_as_test(
        Machine,
        settings=hypothesis_settings(
            max_examples=examples(EXAMPLES), stateful_step_count=STEPS, deadline=None, phases=PHASES
        ),
    )
    asyncio.run(superuser_execute(server, f"DROP DATABASE {name} WITH (FORCE)"))
