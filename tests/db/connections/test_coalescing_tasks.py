"""The one task of a coalesced statement: who starts it, whose share counts it, what ends it, and what it leaves."""

import asyncio
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

import db
from db.connections import coalescing
from db.connections.database import Database
from db.connections.leases import Driver
from db.connections.statements import Statement, by_column
from db.errors import Unavailable
from tests.db.support.backends import OpenDatabase, fill, states, waiting_backend
from tests.graph.support.garbage import collected_types
from tests.graph.support.recording import recorded

pytestmark = pytest.mark.usefixtures("boxes_table")

BY_ID = Statement(text("SELECT id, n FROM boxes WHERE id = ANY(:ids)"))
GATED_TEXT = "SELECT id, n, pg_advisory_xact_lock_shared(1) FROM boxes WHERE id = ANY(:ids)"
GATED = Statement(text(GATED_TEXT))
FAILING = Statement(text("SELECT id, 1 / (n * 0) FROM boxes WHERE id = ANY(:ids)"))
ROOM = str(Path(db.__file__).parent / "connections")
CALLS_MAX = 15


class Subscriber:
    """A subscriber to the rows of a key."""

    def __init__(self, database: Database, key: int, statement: Statement = BY_ID, caller: str | None = None) -> None:
        self.called = asyncio.Event()
        self.error: Exception | None = None
        self.reading = database.mapped_rows(statement, {}, by_column("id"), [key])
        self.reading.subscribe(self, caller)

    def on_result(self, answer: Any, error: Exception | None, elapsed_ns: int) -> None:
        self.error = error
        self.called.set()


async def rows(database: Database, key: int, statement: Statement = BY_ID) -> set[int]:
    return set(await database.mapped_rows(statement, {}, by_column("id"), [key]))


async def test_warmed_read_on_an_idle_server_is_a_short_way(database: Database) -> None:
    calls: Counter[str] = Counter()

    def on_event(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(ROOM):
            calls[frame.f_code.co_qualname] += 1

    for _ in range(3):
        await Subscriber(database, 1, caller="ada").called.wait()
    sys.setprofile(on_event)
    try:
        await Subscriber(database, 1, caller="ada").called.wait()
    finally:
        sys.setprofile(None)
    assert 5 < calls.total() < CALLS_MAX, calls  # the statistics of a request are one call more


@pytest.mark.parametrize("turns", range(4))
async def test_statement_is_sent_once_also_if_the_caller_that_opened_it_leaves(
    database: Database, closed_gate: Driver, turns: int
) -> None:
    await fill(database, 2)
    with recorded() as queries:
        opening, *staying = (asyncio.create_task(rows(database, key, GATED)) for key in (1, 2, 1))
        for _ in range(turns):
            await asyncio.sleep(0)
        if turns == 3:
            await waiting_backend(closed_gate)
        opening.cancel()
        await waiting_backend(closed_gate)
        await closed_gate.execute("SELECT pg_advisory_unlock_all()")
        async with asyncio.timeout(5):
            assert await asyncio.gather(*staying) == [{1, 2}] * 2
    assert (opening.cancelled(), len(queries)) == (True, 1)


async def test_calls_during_a_statement_share_the_next_one_which_is_sent_when_it_ends(
    database: Database, closed_gate: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coalescing, "HELD_BACK_MAX_S", 60)
    with recorded() as queries:
        running = Subscriber(database, 1, GATED)
        await waiting_backend(closed_gate)
        later = []
        for _ in range(3):
            later.append(Subscriber(database, 2, GATED))
            await asyncio.sleep(0.01)
        assert len(queries) == 1
        await closed_gate.execute("SELECT pg_advisory_unlock_all()")
        async with asyncio.timeout(5):
            for one in (running, *later):
                await one.called.wait()
    assert [query.args for query in queries] == [([1],), ([2],)]


async def test_full_statement_is_sent_while_another_one_of_its_kind_runs(
    database: Database, closed_gate: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coalescing, "HELD_BACK_MAX_S", 60)
    await fill(database, 2)
    running = Subscriber(database, 1, GATED)
    first = await waiting_backend(closed_gate)
    later = [Subscriber(database, key, GATED) for key in range(coalescing.KEYS_MAX)]
    assert await waiting_backend(closed_gate, without=first) != first
    await closed_gate.execute("SELECT pg_advisory_unlock_all()")
    async with asyncio.timeout(5):
        for one in (running, *later):
            await one.called.wait()


async def test_close_answers_every_call_and_leaves_no_task(open_database: OpenDatabase, closed_gate: Driver) -> None:
    database = open_database(pool_size=3, pool_max_overflow=0)
    await fill(database, 3)
    before = asyncio.all_tasks()
    running = Subscriber(database, 1, GATED)
    await waiting_backend(closed_gate)
    held_back, waiting = Subscriber(database, 2, GATED), asyncio.create_task(rows(database, 2, GATED))
    async with asyncio.timeout(10):
        await database.close()
        assert asyncio.all_tasks() - {waiting} <= before
        with pytest.raises(Unavailable):
            await waiting
    assert [isinstance(one.error, Unavailable) for one in (running, held_back)] == [True] * 2
    late = Subscriber(database, 1)
    await late.called.wait()
    assert isinstance(late.error, Unavailable)


async def test_connection_of_a_batch_counts_for_the_caller_that_opened_it(
    database: Database, closed_gate: Driver
) -> None:
    shares = database.shares
    statements = [Statement(text(GATED_TEXT)) for _ in range(shares.of_caller_max + 1)]
    opened = [Subscriber(database, 1, one, "ada") for one in statements]
    joined = [Subscriber(database, 2, one, "eve") for one in statements]
    async with asyncio.timeout(10):
        while (await states(closed_gate)).count("active") < shares.of_caller_max:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert (database.leases.in_use, list(shares.callers)) == (shares.of_caller_max, ["ada"])
    await closed_gate.execute("SELECT pg_advisory_unlock_all()")
    async with asyncio.timeout(10):
        for one in (*opened, *joined):
            await one.called.wait()
    assert (len(shares), [one.error for one in (*opened, *joined)]) == (0, [None] * 2 * len(statements))


async def test_connection_of_an_awaited_batch_counts_for_the_operation_that_opened_it(
    database: Database, closed_gate: Driver
) -> None:
    callers = []
    for caller in ("ada", "eve"):
        database.shares.begin_operation(caller)
        callers.append(asyncio.create_task(rows(database, 1, GATED)))
    opening, joining = callers
    await waiting_backend(closed_gate)
    assert list(database.shares.callers) == ["ada"]
    opening.cancel()  # the connection is still used, so it still counts
    await asyncio.sleep(0.02)
    assert list(database.shares.callers) == ["ada"]
    await closed_gate.execute("SELECT pg_advisory_unlock_all()")
    assert await joining == {1}
    assert len(database.shares) == 0


async def test_each_call_receives_its_own_copy_of_an_error(database: Database) -> None:
    subscribers = [Subscriber(database, key, FAILING) for key in (1, 2)]
    ends = await asyncio.gather(*(rows(database, key, FAILING) for key in (1, 2)), return_exceptions=True)
    for one in subscribers:
        await one.called.wait()
    errors = [*ends, *(one.error for one in subscribers)]
    assert [type(one) for one in errors] == [asyncpg.DivisionByZeroError] * 4
    assert len({id(one) for one in errors}) == 4
    assert [one.error and one.error.__traceback__ for one in subscribers] == [None, None]


async def test_ended_and_cancelled_statements_leave_nothing_to_the_cycle_collector(
    database: Database, closed_gate: Driver
) -> None:
    async def cancelled() -> None:
        calls = [asyncio.create_task(rows(database, key, GATED)) for key in (1, 2)]
        await waiting_backend(closed_gate)
        for one in calls:
            one.cancel()
        await asyncio.wait(calls)
        while "active" in await states(closed_gate) or database.leases.closing:
            await asyncio.sleep(0.01)

    async def ended(statement: Statement) -> None:
        with suppress(asyncpg.DivisionByZeroError):
            await rows(database, 1, statement)
        await Subscriber(database, 1, statement).called.wait()
        await asyncio.sleep(0)  # until then the event loop refers to what resumed this task

    for work in (cancelled, lambda: ended(BY_ID), lambda: ended(FAILING)):
        await work()
        with collected_types() as left:
            await work()
        assert left.isdisjoint({"_Batch", "_Queue", "PendingRead", "Record", "Subscriber", "traceback", "frame"})
