"""Request coalescing: equal concurrent calls are one statement, and every caller receives the right answer.

The tests record every statement that a connection sends to PostgreSQL. Statements wait for real locks.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import pytest
from asyncpg import Record
from sqlalchemy import text

from db.access import ANONYMOUS, Viewer
from db.connections.coalescing import HELD_BACK_MAX_S, KEYS_MAX
from db.connections.database import Database
from db.connections.leases import Driver
from db.connections.statements import Statement
from db.connections.statistics import QueryStatistics, query_statistics
from db.query.cursors import Order
from db.query.pages import PageRequest
from db.repositories.posts import CREATED_AT, ID, POSTS
from tests.db.support.backends import put_into, states, waiting_backend
from tests.graph.support.recording import recorded

pytestmark = pytest.mark.usefixtures("two_boxes")

BY_ID = Statement(text("SELECT id, n FROM boxes WHERE id = ANY(:ids)"))
GATED = Statement(text("SELECT id, n, pg_advisory_xact_lock_shared(1) FROM boxes WHERE id = ANY(:ids)"))
VIEWED = Statement(text("SELECT id, CAST(:viewer_id AS int) AS viewer FROM boxes WHERE id = ANY(:ids)"))
FROM = Statement(text("SELECT id FROM boxes WHERE id >= :least ORDER BY id"))
FAILING = Statement(text("SELECT id, 1 / (n * 0) FROM boxes WHERE id = ANY(:ids)"))


def numbers(rows: Sequence[Record]) -> list[int]:
    return [row["id"] for row in rows]


async def keyed(
    database: Database, keys: Sequence[int], statement: Statement = BY_ID, **values: object
) -> Mapping[int, Record]:
    return await database.keyed(statement, values, keys, "id")


async def test_concurrent_calls_are_one_statement_with_each_key_once(database: Database) -> None:
    with recorded() as queries:
        answers = await asyncio.gather(*(keyed(database, keys) for keys in ([1], [2], [2, 1], [3])))
    assert [(query.query, query.args) for query in queries] == [(BY_ID.sql, ([1, 2, 3],))]
    assert [{key: tuple(row) for key, row in answer.items()} for answer in answers] == [{1: (1, 0), 2: (2, 0)}] * 4


async def test_each_of_those_who_share_counts_one_statement_and_its_own_rows(database: Database) -> None:
    async def counted(keys: Sequence[int]) -> tuple[int, int]:
        own = QueryStatistics()
        query_statistics.set(own)
        await keyed(database, keys)
        return own.statements, own.rows

    with recorded() as queries:
        counts = await asyncio.gather(*(counted(keys) for keys in ([1], [1, 2], [3])))
    assert (counts, len(queries)) == ([(1, 1), (1, 2), (1, 0)], 1)


async def test_different_viewers_never_share_a_statement(database: Database) -> None:
    with recorded() as queries:
        answers = await asyncio.gather(*(keyed(database, [1], VIEWED, viewer_id=viewer) for viewer in (7, 8, 7, 9)))
    assert sorted(query.args for query in queries) == [(7, [1]), (8, [1]), (9, [1])]
    assert [answer[1]["viewer"] for answer in answers] == [7, 8, 7, 9]


async def test_calls_that_do_not_differ_are_one_statement_and_share_its_answer(
    database: Database,
) -> None:
    async def counted(least: int) -> tuple[list[int], int, int]:
        own = QueryStatistics()
        query_statistics.set(own)
        answer = await database.mapped_rows(FROM, {"least": least}, numbers)
        return answer, own.statements, own.rows

    with recorded() as queries:
        answers = await asyncio.gather(*map(counted, (1, 2, 1, 1)))
    assert answers == [([1, 2], 1, 2), ([2], 1, 1), ([1, 2], 1, 2), ([1, 2], 1, 2)]
    assert sorted(query.args for query in queries) == [(1,), (2,)]
    assert answers[0][0] is answers[2][0]


async def test_calls_that_arrange_their_rows_differently_share_nothing(database: Database) -> None:
    with recorded() as queries:
        listed, counted = await asyncio.gather(
            database.mapped_rows(FROM, {"least": 1}, numbers), database.mapped_rows(FROM, {"least": 1}, len)
        )
    assert (listed, counted, len(queries)) == ([1, 2], 2, 2)


async def test_equal_pages_are_one_statement_but_not_those_of_different_viewers(database: Database) -> None:
    request = PageRequest(Order("posts", [(CREATED_AT, True), (ID, True)]), 10)
    viewers = (ANONYMOUS, ANONYMOUS, Viewer(7), Viewer(8), Viewer(7))
    with recorded() as queries:
        pages = await asyncio.gather(*(POSTS.page(database, viewer, ("id",), {}, request) for viewer in viewers))
    assert sorted(query.args for query in queries) == [(), (7,), (8,)]
    assert pages[0] is pages[1]
    assert pages[2] is pages[4]
    assert pages[2] is not pages[3]


async def test_call_after_the_statement_was_sent_sees_its_own_write(database: Database, closed_gate: Driver) -> None:
    early = asyncio.create_task(keyed(database, [1], GATED))
    await waiting_backend(closed_gate)
    await database.write(lambda transaction: put_into(transaction, 1))
    late = asyncio.create_task(keyed(database, [1], GATED))
    await asyncio.sleep(HELD_BACK_MAX_S)
    await closed_gate.execute("SELECT pg_advisory_unlock_all()")
    assert [(await early)[1]["n"], (await late)[1]["n"]] == [0, 1]


async def test_call_is_not_held_back_until_the_statement_before_it_ends(
    database: Database, closed_gate: Driver
) -> None:
    early = asyncio.create_task(keyed(database, [1], GATED))
    first = await waiting_backend(closed_gate)
    late = asyncio.create_task(keyed(database, [2], GATED))
    assert await waiting_backend(closed_gate, but=first) != first
    await closed_gate.execute("SELECT pg_advisory_unlock_all()")
    assert [set(await early), set(await late)] == [{1}, {2}]


async def test_caller_that_leaves_leaves_the_others_their_rows(database: Database, closed_gate: Driver) -> None:
    leaving, staying = (asyncio.create_task(keyed(database, [key], GATED)) for key in (1, 2))
    await waiting_backend(closed_gate)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await closed_gate.execute("SELECT pg_advisory_unlock_all()")
    assert set(await staying) == {1, 2}


async def test_caller_who_stays_gets_their_rows_however_many_leave_and_whenever(
    database: Database, closed_gate: Driver
) -> None:
    # A call that leaves runs the statement, or has just become the leader, or only waits.
    for turns in range(8):
        callers = [asyncio.create_task(keyed(database, [key], GATED)) for key in (1, 2, 1)]
        await waiting_backend(closed_gate)
        for leaving in callers[:2]:
            leaving.cancel()
            for _ in range(turns):
                await asyncio.sleep(0)
        await asyncio.gather(*callers[:2], return_exceptions=True)
        assert [caller.cancelled() for caller in callers] == [True, True, False]
        await closed_gate.execute("SELECT pg_advisory_unlock_all()")
        async with asyncio.timeout(5):
            assert set(await callers[2]) == {1, 2}
        assert vars(vars(database)["_shared"])["_queues"] == {}
        await closed_gate.execute("SELECT pg_advisory_lock(1)")


async def test_calls_that_wait_for_a_statement_and_leave_ask_nothing(database: Database, closed_gate: Driver) -> None:
    early = asyncio.create_task(keyed(database, [1], GATED))
    await waiting_backend(closed_gate)
    with recorded() as queries:
        late = asyncio.create_task(keyed(database, [2], GATED))
        await asyncio.sleep(0)
        late.cancel()
        await asyncio.gather(late, return_exceptions=True)
        await asyncio.sleep(2 * HELD_BACK_MAX_S)
        await closed_gate.execute("SELECT pg_advisory_unlock_all()")
        assert set(await early) == {1}
    assert queries == []
    assert vars(vars(database)["_shared"])["_queues"] == {}


async def test_last_caller_to_leave_cancels_the_statement(database: Database, closed_gate: Driver) -> None:
    callers = [asyncio.create_task(keyed(database, [key], GATED)) for key in (1, 2)]
    await waiting_backend(closed_gate)
    for caller in callers:
        caller.cancel()
    ends = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(end) for end in ends] == [asyncio.CancelledError] * 2
    async with asyncio.timeout(5):
        while "active" in await states(closed_gate) or database.leases.in_use:
            await asyncio.sleep(0.01)
    assert {key: row["n"] for key, row in (await keyed(database, [1])).items()} == {1: 0}


async def test_callers_that_leave_before_anything_is_sent_ask_nothing_and_hold_nobody_up(database: Database) -> None:
    with recorded() as queries:
        for turns in range(4):
            leaving = asyncio.create_task(keyed(database, [1]))
            for _ in range(turns):
                await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            await asyncio.sleep(0.05)
            assert vars(vars(database)["_shared"])["_queues"] == {}
    assert len(queries) <= 1  # the statement of a call that stayed until it was sent


async def test_error_reaches_all_who_share_and_is_counted_by_each(database: Database) -> None:
    async def failed() -> tuple[type[BaseException], int]:
        own = QueryStatistics()
        query_statistics.set(own)
        with pytest.raises(asyncpg.DivisionByZeroError) as caught:
            await keyed(database, [1], FAILING)
        return caught.type, own.statements

    with recorded() as queries:
        ends = await asyncio.gather(*(failed() for _ in range(3)))
    assert (ends, len(queries)) == ([(asyncpg.DivisionByZeroError, 1)] * 3, 1)
    assert vars(vars(database)["_shared"])["_queues"] == {}


async def test_statement_takes_no_further_calls_once_it_has_its_share_of_keys(database: Database) -> None:
    with recorded() as queries:
        await asyncio.gather(*(keyed(database, [key]) for key in range(KEYS_MAX + 1)))
    assert sorted(query.args for query in queries) == [(list(range(KEYS_MAX)),), ([KEYS_MAX],)]


# ---------------------------------------------------------------- subscribers


class Told:
    """A subscriber to the rows of a key."""

    def __init__(self, database: Database, key: int, statement: Statement = BY_ID) -> None:
        self.is_told = asyncio.Event()
        self.answer: Any = None
        self.error: Exception | None = None
        self._reading = database.keyed(statement, {}, [key], "id")
        self._reading.subscribe(self)

    def on_result(self, answer: Any, error: Exception | None, elapsed_ns: int) -> None:
        assert elapsed_ns > 0
        assert not self.is_told.is_set()
        self.answer, self.error = answer, error
        self.is_told.set()

    def leave(self) -> None:
        self._reading.unsubscribe(self)

    async def keys(self) -> set[int]:
        async with asyncio.timeout(5):
            await self.is_told.wait()
        assert self.error is None
        return set(self.answer)


async def test_those_who_are_told_share_a_statement_with_those_who_await_it(database: Database) -> None:
    with recorded() as queries:
        waiting = asyncio.create_task(keyed(database, [2]))
        await asyncio.sleep(0)
        told = [Told(database, key) for key in (1, 1, 3)]
        assert set(await waiting) == {1, 2}
        assert [await one.keys() for one in told] == [{1, 2}] * 3
    assert [query.args for query in queries] == [([2, 1, 3],)]
    assert vars(vars(database)["_shared"])["_queues"] == {}


async def test_who_is_told_later_sees_what_was_written_before_they_asked(
    database: Database, closed_gate: Driver
) -> None:
    early = Told(database, 1, GATED)
    await waiting_backend(closed_gate)
    await database.write(lambda transaction: put_into(transaction, 1))
    late = [Told(database, 1, GATED), Told(database, 2, GATED)]
    await asyncio.sleep(HELD_BACK_MAX_S)
    await closed_gate.execute("SELECT pg_advisory_unlock_all()")
    assert (await early.keys(), [await one.keys() for one in late]) == ({1}, [{1, 2}] * 2)
    assert [early.answer[1]["n"], late[0].answer[1]["n"]] == [0, 1]


async def test_leader_that_leaves_leaves_those_who_are_told_their_rows(database: Database, closed_gate: Driver) -> None:
    for turns in range(4):
        leading = asyncio.create_task(keyed(database, [1], GATED))
        await asyncio.sleep(0)
        told = Told(database, 2, GATED)
        for _ in range(turns):
            await asyncio.sleep(0)
        if turns == 3:
            await waiting_backend(closed_gate)
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)
        await waiting_backend(closed_gate)
        await closed_gate.execute("SELECT pg_advisory_unlock_all()")
        assert 2 in await told.keys()
        assert vars(vars(database)["_shared"])["_queues"] == {}
        await closed_gate.execute("SELECT pg_advisory_lock(1)")


async def test_who_leaves_is_told_nothing_and_the_last_one_ends_the_statement(
    database: Database, closed_gate: Driver
) -> None:
    one, two = Told(database, 1, GATED), Told(database, 2, GATED)
    await waiting_backend(closed_gate)
    one.leave()
    assert "active" in await states(closed_gate)
    two.leave()
    async with asyncio.timeout(5):
        while "active" in await states(closed_gate) or database.leases.in_use:
            await asyncio.sleep(0.01)
    assert [one.is_told.is_set(), two.is_told.is_set()] == [False, False]
    assert vars(vars(database)["_shared"])["_queues"] == {}
    assert await Told(database, 1).keys() == {1}


async def test_leader_and_those_who_are_told_may_leave_at_once(database: Database, closed_gate: Driver) -> None:
    leading = asyncio.create_task(keyed(database, [1], GATED))
    await asyncio.sleep(0)
    told = Told(database, 2, GATED)
    await waiting_backend(closed_gate)
    leading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leading
    told.leave()
    async with asyncio.timeout(5):
        while "active" in await states(closed_gate) or database.leases.in_use:
            await asyncio.sleep(0.01)
    assert vars(vars(database)["_shared"])["_queues"] == {}


async def test_who_leaves_before_anything_is_sent_asks_nothing_and_holds_nobody_up(database: Database) -> None:
    with recorded() as queries:
        Told(database, 1).leave()
        await asyncio.sleep(0.05)
        assert vars(vars(database)["_shared"])["_queues"] == {}
        Told(database, 1).leave()
        staying = Told(database, 2)
        assert 2 in await staying.keys()
    assert len(queries) == 1


async def test_error_is_told_to_all(database: Database) -> None:
    with recorded() as queries:
        told = [Told(database, key, FAILING) for key in (1, 2)]
        for one in told:
            async with asyncio.timeout(5):
                await one.is_told.wait()
    assert ([type(one.error) for one in told], len(queries)) == ([asyncpg.DivisionByZeroError] * 2, 1)
    assert vars(vars(database)["_shared"])["_queues"] == {}


async def test_fault_of_one_who_is_told_is_logged_and_harms_nobody_else(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    faulty, other = Told(database, 1), Told(database, 2)
    faulty.is_told.set()  # so that its second notification fails
    with caplog.at_level(logging.ERROR, "db.connections.coalescing"):
        assert await other.keys() == {1, 2}
    assert [record.message for record in caplog.records] == ["a subscriber failed to take its answer"]


async def test_batch_of_those_who_are_told_takes_no_more_than_its_share_of_keys(database: Database) -> None:
    with recorded() as queries:
        told = [Told(database, key) for key in range(KEYS_MAX + 1)]
        for one in told:
            await one.keys()
    assert sorted(len(query.args[0]) for query in queries) == [1, KEYS_MAX]
