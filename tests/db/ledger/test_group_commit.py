"""Group commit: transfers that share a transaction have the same outcomes as if each had its own."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from db.access import Viewer
from db.connections.database import Database, OpenTransaction
from db.connections.leases import Driver
from db.connections.statements import Statement
from db.errors import Refusal, Unavailable
from db.ledger import group_commit
from db.ledger.group_commit import TransferGroups
from db.ledger.settlement import Movement, Settlement
from tests.db.ledger.test_ledger_promises import held_rows
from tests.db.support.backends import OpenDatabase, terminate, waiting_backend
from tests.db.support.ledgers import assert_balanced, balances
from tests.db.support.rows import SETTLED, move, new_account, transfer

MANY = 50


@pytest.fixture
async def groups(database: Database) -> AsyncIterator[TransferGroups]:
    """The transfer groups of a process."""
    transfer_groups = TransferGroups(database)
    async with transfer_groups.running():
        yield transfer_groups


def ignore(may_be_made: bool) -> None:
    """Ignore the notification."""


async def settled(groups: TransferGroups, database: Database, viewer: Viewer, movement: Movement) -> Settlement | str:
    """Request a transfer; return its settlement, or the code of the refusal."""
    try:
        return await groups.settle(database, viewer, SETTLED, movement, ignore)
    except (Refusal, Unavailable) as error:
        return error.code


async def all_at_once(
    groups: TransferGroups, database: Database, viewer: Viewer, movements: Sequence[Movement]
) -> list[Settlement | str]:
    return list(await asyncio.gather(*(settled(groups, database, viewer, one) for one in movements)))


def outcomes(settlements: Sequence[Settlement | str]) -> list[str]:
    """Return `made` for each transfer that was made, else the code of its refusal."""
    return [one if isinstance(one, str) else one.refusal.code if one.refusal else "made" for one in settlements]


async def test_many_concurrent_transfers_take_few_statements_and_each_is_made_once(
    groups: TransferGroups, database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    movements = [transfer(payer_account, payee_account, "1", memo=str(number)) for number in range(MANY)]
    before = database.counters.statements
    settlements = await all_at_once(groups, database, payer, movements)
    assert outcomes(settlements) == ["made"] * MANY
    assert database.counters.statements - before < MANY
    for movement, settlement in zip(movements, settlements, strict=True):
        assert isinstance(settlement, Settlement)
        assert settlement.row is not None
        row = [settlement.row[name] for name in ("from_id", "to_id", "amount", "memo", "currency_code")]
        assert row == [payer_account, payee_account, 100, movement.memo, "EUR"]
        assert not settlement.replayed
    after = await balances(database)
    assert (after[payer_account], after[payee_account]) == (5_000, 5_000)
    again = await all_at_once(groups, database, payer, movements)
    assert [one.row and one.row["id"] for one in again if isinstance(one, Settlement)] == [
        one.row and one.row["id"] for one in settlements if isinstance(one, Settlement)
    ]
    assert all(one.replayed for one in again if isinstance(one, Settlement))
    await assert_balanced(database)


async def test_refusals_in_a_group_are_those_of_separate_transfers(
    groups: TransferGroups, database: Database, payer: Viewer, payee: Viewer, payer_account: int, payee_account: int
) -> None:
    dollars = await new_account(database, payer, "USD")
    before = transfer(payer_account, payee_account, "1")
    await move(database, payer, before)
    requested: list[tuple[Viewer, Movement, str]] = [
        (payer, transfer(payer_account, payee_account, "50"), "made"),
        (payer, transfer(payer_account, payee_account, "1000"), "INSUFFICIENT_FUNDS"),
        (payer, transfer(payer_account, payer_account, "1"), "SAME_ACCOUNT"),
        (payer, transfer(payer_account, dollars, "1"), "CURRENCY_MISMATCH"),
        (payer, transfer(payer_account, payee_account, "0.001"), "INVALID_AMOUNT"),
        (payer, transfer(payer_account, payee_account, "1", memo="x" * 501), "INVALID_MEMO"),
        (payer, transfer(payer_account, 999_999, "1"), "ACCOUNT_NOT_FOUND"),
        (payer, transfer(payee_account, payer_account, "1"), "ACCOUNT_NOT_FOUND"),
        (payee, transfer(payer_account, payee_account, "1"), "ACCOUNT_NOT_FOUND"),
        (payer, transfer(payer_account, payee_account, "2", key=before.key), "IDEMPOTENCY_KEY_REUSED"),
        (payer, before, "made"),
        (payee, transfer(payee_account, payer_account, "0.5", key=before.key), "made"),
    ]
    fillers = [
        transfer(payer_account, payee_account, "0.01") for _ in range(5)
    ]  # the others are not first in their group
    settling = asyncio.gather(all_at_once(groups, database, payer, fillers))
    found = await asyncio.gather(*(settled(groups, database, viewer, movement) for viewer, movement, _ in requested))
    await settling
    assert outcomes(found) == [expected for *_, expected in requested]
    again = [await settled(groups, database, viewer, movement) for viewer, movement, _ in requested]
    assert outcomes(again) == outcomes(found)
    await assert_balanced(database)


async def test_same_key_many_times_at_once_is_one_row(
    groups: TransferGroups, database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    movements = [transfer(payer_account, payee_account, "1") for _ in range(5)]
    settlements = await all_at_once(groups, database, payer, movements * 10)
    assert outcomes(settlements) == ["made"] * MANY
    rows = [one.row["id"] for one in settlements if isinstance(one, Settlement) and one.row is not None]
    assert len(rows) == MANY
    assert len(set(rows)) == len(movements)
    assert [one.replayed for one in settlements if isinstance(one, Settlement)].count(False) == len(movements)
    assert (await balances(database))[payee_account] == 500


async def test_locked_row_delays_only_the_transfers_that_need_it(
    groups: TransferGroups, database: Database, superuser: Driver, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    own, other = [await new_account(database, payer, holding="100") for _ in range(2)]
    held = [transfer(own, payee_account, "1") for _ in range(3)]
    free = [transfer(payer_account, other, "1") for _ in range(20)]
    async with held_rows(superuser, own):
        needing = asyncio.gather(*(settled(groups, database, payer, one) for one in held))
        assert outcomes(await all_at_once(groups, database, payer, free)) == ["made"] * len(free)
        assert not needing.done()
    assert outcomes(await needing) == ["made"] * len(held)
    await assert_balanced(database)


async def test_group_whose_backend_is_killed_is_settled_one_by_one(
    groups: TransferGroups, database: Database, superuser: Driver, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    own = await new_account(database, payer, holding="100")
    movements = [transfer(own, payee_account, "1") for _ in range(MANY)]
    async with held_rows(superuser, own):
        settling = asyncio.gather(all_at_once(groups, database, payer, movements))
        for _ in range(3):
            await terminate(superuser, await waiting_backend(superuser))
    [settlements] = await settling
    assert outcomes(settlements) == ["made"] * MANY
    assert (await balances(database))[payee_account] == 100 * MANY
    await assert_balanced(database)


async def test_lost_answer_to_the_commit_of_a_group_is_settled_by_the_keys(
    database: Database, payer: Viewer, payer_account: int, payee_account: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write: Callable[..., Awaitable[object]] = database.write
    lost: list[object] = []

    async def losing(work: Callable[[OpenTransaction], Awaitable[object]]) -> object:
        done = await write(work)
        if not lost:
            lost.append(done)
            raise Unavailable("DATABASE_UNAVAILABLE", "lost", outcome_unknown=True)
        return done

    groups = TransferGroups(database)
    async with groups.running():
        monkeypatch.setattr(database, "write", losing)
        movements = [transfer(payer_account, payee_account, "1") for _ in range(MANY)]
        settlements = await all_at_once(groups, database, payer, movements)
        monkeypatch.undo()
    assert lost
    assert outcomes(settlements) == ["made"] * MANY
    assert not any(one.replayed for one in settlements if isinstance(one, Settlement))
    assert (await balances(database))[payee_account] == 100 * MANY


async def test_caller_whose_key_cannot_be_looked_up_learns_that_the_money_may_have_moved(
    database: Database, payer: Viewer, payer_account: int, payee_account: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write: Callable[..., Awaitable[object]] = database.write

    async def losing(work: Callable[[OpenTransaction], Awaitable[object]]) -> object:
        await write(work)
        raise Unavailable("DATABASE_UNAVAILABLE", "lost", outcome_unknown=True)

    @asynccontextmanager
    async def busy(keys: Sequence[object]) -> AsyncIterator[None]:
        await asyncio.sleep(0.1)
        if keys:
            raise Unavailable("DATABASE_BUSY", "others write these rows")
        yield

    groups = TransferGroups(database)
    movements = [transfer(payer_account, payee_account, "1") for _ in range(10)]
    async with groups.running():
        monkeypatch.setattr(database, "write", losing)
        monkeypatch.setattr(database, "turn", busy)
        settling = (groups.settle(database, payer, SETTLED, one, ignore) for one in movements)
        answers = await asyncio.gather(*settling, return_exceptions=True)
        monkeypatch.undo()
    known = [isinstance(one, Unavailable) and not one.outcome_unknown for one in answers]
    assert known.count(True) == group_commit.UNGROUPED_MAX  # these were in no group, and were not made
    again = [await settled(groups, database, payer, movement) for movement in movements]
    assert [isinstance(one, Settlement) and one.replayed for one in again] == [not one for one in known]


async def test_transfer_of_a_caller_that_leaves_the_queue_is_not_made(
    groups: TransferGroups, database: Database, superuser: Driver, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    notes: list[bool] = []
    own, other = await new_account(database, payer, holding="100"), await new_account(database, payer)
    async with held_rows(superuser, own):
        # Two run alone, the third waits in a group for the row, and the fourth is queued.
        first = [asyncio.create_task(settled(groups, database, payer, transfer(own, other, "1"))) for _ in range(3)]
        await waiting_backend(superuser)
        gone = asyncio.create_task(
            groups.settle(database, payer, SETTLED, transfer(payer_account, payee_account, "10"), notes.append)
        )
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        # Once the later callers have their answers, the transfer before them would have been made, too.
        after = [transfer(payer_account, payee_account, "0.01") for _ in range(5)]
        assert outcomes(await all_at_once(groups, database, payer, after)) == ["made"] * 5
    assert outcomes([await one for one in first]) == ["made"] * 3
    assert notes == []
    found = await balances(database)
    assert (found[other], found[payee_account]) == (300, 5)


async def test_backend_that_does_not_answer_delays_a_group_no_longer_than_its_limit(
    open_database: OpenDatabase, payer: Viewer, payer_account: int, payee_account: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database(statement_timeout_ms=0)
    monkeypatch.setattr(group_commit, "_WAIT_LITTLE", Statement(text("SELECT pg_sleep(60)")))
    monkeypatch.setattr(group_commit, "GROUP_LIMIT_S", 0.2)
    groups = TransferGroups(database)
    async with groups.running():
        movements = [transfer(payer_account, payee_account, "1") for _ in range(MANY)]
        async with asyncio.timeout(30):
            settlements = await all_at_once(groups, database, payer, movements)
    assert outcomes(settlements) == ["made"] * MANY
    assert (await balances(database))[payee_account] == 100 * MANY


async def test_shutdown_leaves_no_caller_in_the_queue(
    database: Database, superuser: Driver, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    own = await new_account(database, payer, holding="100")
    groups = TransferGroups(database)
    async with held_rows(superuser, own):
        async with groups.running():
            movements = [transfer(own, payee_account, "1") for _ in range(10)]
            settling = asyncio.gather(all_at_once(groups, database, payer, movements))
            await waiting_backend(superuser)
            later = asyncio.gather(
                all_at_once(groups, database, payer, [transfer(payer_account, payee_account, "1") for _ in range(5)])
            )
            for _ in range(5):
                await asyncio.sleep(0)
        assert [task.get_name() for task in asyncio.all_tasks()].count("transfer groups") == 0
    async with asyncio.timeout(30):
        assert outcomes((await settling)[0]) == ["made"] * 10
        assert outcomes((await later)[0]) == ["made"] * 5
    assert (await balances(database))[payee_account] == 1_500


async def test_transfers_run_alone_when_the_task_of_the_groups_has_ended(
    groups: TransferGroups, database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    [task] = [one for one in asyncio.all_tasks() if one.get_name() == "transfer groups"]
    settling = asyncio.gather(
        all_at_once(groups, database, payer, [transfer(payer_account, payee_account, "1") for _ in range(10)])
    )
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(30):
        assert outcomes((await settling)[0]) == ["made"] * 10
        later = await all_at_once(
            groups, database, payer, [transfer(payer_account, payee_account, "1") for _ in range(10)]
        )
    assert outcomes(later) == ["made"] * 10
    assert (await balances(database))[payee_account] == 2_000


async def test_bug_in_a_group_is_logged_and_each_transfer_is_settled_alone(
    database: Database,
    payer: Viewer,
    payer_account: int,
    payee_account: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(*_: object) -> None:
        raise LookupError("a fault of ours")

    monkeypatch.setattr(group_commit, "settle_requests", broken)
    groups = TransferGroups(database)
    with caplog.at_level(logging.ERROR, logger="db.ledger.group_commit"):
        async with groups.running():
            settlements = await all_at_once(
                groups, database, payer, [transfer(payer_account, payee_account, "1") for _ in range(10)]
            )
    assert outcomes(settlements) == ["made"] * 10
    assert any("settled one by one" in record.message for record in caplog.records)
