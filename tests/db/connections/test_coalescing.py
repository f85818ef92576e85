"""Request coalescing: concurrent calls share one statement, and each caller receives its own result.

The tests record the statements that reach the connections; statements that have to wait wait for real locks.
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
from db.connections.statements import Statement, by_column
from db.connections.statistics import QueryStatistics, query_statistics
from db.query.cursors import Order
from db.query.pages import PageRequest
from db.repositories.posts import CREATED_AT, ID, POSTS
from tests.db.support.backends import increment, states, waiting_backend
from tests.graph.support.recording import recorded

pytestmark = pytest.mark.usefixtures("boxes_table")

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
    answer: Mapping[int, Record] = await database.mapped_rows(statement, values, by_column("id"), keys)
    return answer


async def test_concurrent_calls_are_one_statement_with_each_key_once(database: Database) -> None:
    with recorded() as queries:
        answers = await asyncio.gather(*(keyed(database, keys) for keys in ([1], [2], [2, 1], [3])))
    assert [(query.query, query.args) for query in queries] == [(BY_ID.sql, ([1, 2, 3],))]
    assert [{key: tuple(row) for key, row in answer.items()} for answer in answers] == [{1: (1, 0), 2: (2, 0)}] * 4


async def test_each_coalesced_call_counts_one_statement_and_its_own_rows(database: Database) -> None:
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


async def test_equal_calls_are_one_statement_and_share_its_result(
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


async def test_calls_that_map_their_rows_differently_share_nothing(database: Database) -> None:
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
    await database.write(lambda transaction: increment(transaction, 1))
    late = asyncio.create_task(keyed(database, [1], GATED))
    await asyncio.sleep(HELD_BACK_MAX_S)
    await closed_gate.execute("SELECT pg_advisory_unlock_all()")
    assert [(await early)[1]["n"], (await late)[1]["n"]] == [0, 1]


async def test_call_does_not_wait_for_the_previous_statement(database: Database, closed_gate: Driver) -> None:
    early = asyncio.create_task(keyed(database, [1], GATED))
    first = await waiting_backend(closed_gate)
    late = asyncio.create_task(keyed(database, [2], GATED))
    assert await waiting_backend(closed_gate, without=first) != first
    await closed_gate.execute("SELECT pg_advisory_unlock_all()")
    assert [set(await early), set(await late)] == [{1}, {2}]


async def test_other_callers_get_their_rows_when_one_is_cancelled(database: Database, closed_gate: Driver) -> None:
    leaving, staying = (asyncio.create_task(keyed(database, [key], GATED)) for key in (1, 2))
    await waiting_backend(closed_gate)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await closed_gate.execute("SELECT pg_advisory_unlock_all()")
    assert set(await staying) == {1, 2}


async def test_remaining_caller_gets_its_rows_however_many_are_cancelled_and_whenever(
    database: Database, closed_gate: Driver
) -> None:
    # A caller that leaves runs the statement itself, or has just received its result, or only waits.
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
        assert vars(database)["_shared"].queues == {}
        await closed_gate.execute("SELECT pg_advisory_lock(1)")


async def test_waiting_calls_that_are_cancelled_send_nothing(database: Database, closed_gate: Driver) -> None:
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
    assert vars(database)["_shared"].queues == {}


async def test_cancelling_the_last_caller_cancels_the_statement(database: Database, closed_gate: Driver) -> None:
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


async def test_callers_cancelled_before_anything_is_sent_send_nothing_and_delay_no_other_caller(
    database: Database,
) -> None:
    with recorded() as queries:
        for turns in range(4):
            leaving = asyncio.create_task(keyed(database, [1]))
            for _ in range(turns):
                await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            await asyncio.sleep(0.05)
            assert vars(database)["_shared"].queues == {}
    assert len(queries) <= 1  # that of the caller that waited until it was sent


async def test_error_reaches_all_coalesced_calls_and_each_counts_it(database: Database) -> None:
    async def failed() -> tuple[type[BaseException], int]:
        own = QueryStatistics()
        query_statistics.set(own)
        with pytest.raises(asyncpg.DivisionByZeroError) as caught:
            await keyed(database, [1], FAILING)
        return caught.type, own.statements

    with recorded() as queries:
        ends = await asyncio.gather(*(failed() for _ in range(3)))
    assert (ends, len(queries)) == ([(asyncpg.DivisionByZeroError, 1)] * 3, 1)
    assert vars(database)["_shared"].queues == {}


async def test_statement_takes_no_further_calls_once_it_has_its_share_of_keys(database: Database) -> None:
    with recorded() as queries:
        await asyncio.gather(*(keyed(database, [key]) for key in range(KEYS_MAX + 1)))
    assert sorted(query.args for query in queries) == [(list(range(KEYS_MAX)),), ([KEYS_MAX],)]


# ---------------------------------------------------------------- subscribers


class Subscriber:
    """A subscriber to the rows of a key: it receives them by callback instead of awaiting them."""

    def __init__(self, database: Database, key: int, statement: Statement = BY_ID) -> None:
        self.called = asyncio.Event()
        self.answer: Any = None
        self.error: Exception | None = None
        self._reading = database.mapped_rows(statement, {}, by_column("id"), [key])
        self._reading.subscribe(self)

    def on_result(self, answer: Any, error: Exception | None, elapsed_ns: int) -> None:
        assert elapsed_ns > 0
        assert not self.called.is_set()
        self.answer, self.error = answer, error
        self.called.set()

    def leave(self) -> None:
        self._reading.unsubscribe(self)

    async def keys(self) -> set[int]:
        async with asyncio.timeout(5):
            await self.called.wait()
        assert self.error is None
        return set(self.answer)


async def test_subscribers_share_a_statement_with_callers_that_await_it(database: Database) -> None:
    with recorded() as queries:
        waiting = asyncio.create_task(keyed(database, [2]))
        await asyncio.sleep(0)
        subscriber = [Subscriber(database, key) for key in (1, 1, 3)]
        assert set(await waiting) == {1, 2}
        assert [await one.keys() for one in subscriber] == [{1, 2}] * 3
    assert [query.args for query in queries] == [([2, 1, 3],)]
    assert vars(database)["_shared"].queues == {}


async def test_subscriber_sees_what_was_written_before_it_subscribed(database: Database, closed_gate: Driver) -> None:
    early = Subscriber(database, 1, GATED)
    await waiting_backend(closed_gate)
    await database.write(lambda transaction: increment(transaction, 1))
    late = [Subscriber(database, 1, GATED), Subscriber(database, 2, GATED)]
    await asyncio.sleep(HELD_BACK_MAX_S)
    await closed_gate.execute("SELECT pg_advisory_unlock_all()")
    assert (await early.keys(), [await one.keys() for one in late]) == ({1}, [{1, 2}] * 2)
    assert [early.answer[1]["n"], late[0].answer[1]["n"]] == [0, 1]


async def test_subscribers_get_their_rows_when_the_running_caller_is_cancelled(
    database: Database, closed_gate: Driver
) -> None:
    for turns in range(4):
        leading = asyncio.create_task(keyed(database, [1], GATED))
        await asyncio.sleep(0)
        subscriber = Subscriber(database, 2, GATED)
        for _ in range(turns):
            await asyncio.sleep(0)
        if turns == 3:
            await waiting_backend(closed_gate)
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)
        await waiting_backend(closed_gate)
        await closed_gate.execute("SELECT pg_advisory_unlock_all()")
        assert 2 in await subscriber.keys()
        assert vars(database)["_shared"].queues == {}
        await closed_gate.execute("SELECT pg_advisory_lock(1)")


async def test_unsubscribed_callback_is_not_called_and_the_last_one_ends_the_statement(
    database: Database, closed_gate: Driver
) -> None:
    one, two = Subscriber(database, 1, GATED), Subscriber(database, 2, GATED)
    await waiting_backend(closed_gate)
    one.leave()
    assert "active" in await states(closed_gate)
    two.leave()
    async with asyncio.timeout(5):
        while "active" in await states(closed_gate) or database.leases.in_use:
            await asyncio.sleep(0.01)
    assert [one.called.is_set(), two.called.is_set()] == [False, False]
    assert vars(database)["_shared"].queues == {}
    assert await Subscriber(database, 1).keys() == {1}


async def test_running_caller_and_subscribers_may_leave_at_the_same_time(
    database: Database, closed_gate: Driver
) -> None:
    leading = asyncio.create_task(keyed(database, [1], GATED))
    await asyncio.sleep(0)
    subscriber = Subscriber(database, 2, GATED)
    await waiting_backend(closed_gate)
    leading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leading
    subscriber.leave()
    async with asyncio.timeout(5):
        while "active" in await states(closed_gate) or database.leases.in_use:
            await asyncio.sleep(0.01)
    assert vars(database)["_shared"].queues == {}


async def test_subscriber_that_leaves_before_anything_is_sent_sends_nothing_and_delays_no_other_caller(
    database: Database,
) -> None:
    with recorded() as queries:
        Subscriber(database, 1).leave()
        await asyncio.sleep(0.05)
        assert vars(database)["_shared"].queues == {}
        Subscriber(database, 1).leave()
        staying = Subscriber(database, 2)
        assert 2 in await staying.keys()
    assert len(queries) == 1


async def test_error_reaches_all_subscribers(database: Database) -> None:
    with recorded() as queries:
        subscriber = [Subscriber(database, key, FAILING) for key in (1, 2)]
        for one in subscriber:
            async with asyncio.timeout(5):
                await one.called.wait()
    assert ([type(one.error) for one in subscriber], len(queries)) == ([asyncpg.DivisionByZeroError] * 2, 1)
    assert vars(database)["_shared"].queues == {}


async def test_exception_of_one_subscriber_is_logged_and_does_not_affect_the_others(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    faulty, other = Subscriber(database, 1), Subscriber(database, 2)
    faulty.called.set()  # so that its callback fails
    with caplog.at_level(logging.ERROR, "db.connections.coalescing"):
        assert await other.keys() == {1, 2}
    assert [record.message for record in caplog.records] == ["a subscriber failed to take its answer"]


async def test_batch_of_subscribers_takes_no_more_than_its_share_of_keys(database: Database) -> None:
    with recorded() as queries:
        subscriber = [Subscriber(database, key) for key in range(KEYS_MAX + 1)]
        for one in subscriber:
            await one.keys()
    assert sorted(len(query.args[0]) for query in queries) == [1, KEYS_MAX]
