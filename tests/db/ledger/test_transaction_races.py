"""Concurrent movements: the outcomes are those of some sequential order."""

import asyncio
import uuid
from collections import Counter

import pytest

from db.access import Viewer
from db.connections.database import Database
from db.errors import Refusal
from tests.db.support.backends import OpenDatabase
from tests.db.support.ledgers import (
    SYSTEM_ACCOUNTS,
    assert_balanced,
    balances,
    ledger,
)
from tests.db.support.rows import ADMIN, deposit, move, new_account, transfer
from tests.running.repeating import Cases


@pytest.fixture
def large_pool(open_database: OpenDatabase) -> Database:
    """A pool of twelve connections, for as many concurrent movements."""
    return open_database(pool_size=12, pool_max_overflow=0, pool_timeout_s=30)


async def test_fifty_simultaneous_transfers_under_one_key_are_one_row(
    database: Database, large_pool: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    movement = transfer(payer_account, payee_account, "1.50")
    settlements = await asyncio.gather(*(move(large_pool, payer, movement) for _ in range(50)))
    assert Counter(settlement.replayed for settlement in settlements) == {False: 1, True: 49}
    assert len({settlement.row for settlement in settlements}) == 1
    assert (await ledger(database))[1:] == [(payer_account, payee_account, 150, None)]
    assert (await balances(database))[payer_account] == 9850
    assert large_pool.counters.retries == 0


async def test_simultaneous_different_transfers_under_one_key_are_one_row_and_refusals(
    database: Database, large_pool: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    key = uuid.uuid4()
    movements = [transfer(payer_account, payee_account, f"{number}.00", key=key) for number in range(1, 13)]
    answers = await asyncio.gather(*(move(large_pool, payer, each) for each in movements), return_exceptions=True)
    codes = Counter(answer.code for answer in answers if isinstance(answer, Refusal))
    assert codes == {"IDEMPOTENCY_KEY_REUSED": 11}
    assert len(await ledger(database)) == 2
    await assert_balanced(database)


async def test_simultaneous_refusals_under_one_key_are_one_refusal(
    database: Database, large_pool: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    movement = transfer(payer_account, payee_account, "100.01")
    settlements = await asyncio.gather(*(move(large_pool, payer, movement) for _ in range(12)))
    assert Counter(settlement.replayed for settlement in settlements) == {False: 1, True: 11}
    assert {settlement.refusal.code for settlement in settlements if settlement.refusal} == {"INSUFFICIENT_FUNDS"}
    assert len(await ledger(database)) == 1


async def test_opposite_transfers_at_once_wait_for_each_other_without_a_deadlock(
    database: Database, large_pool: Database, payer: Viewer, payee: Viewer, payer_account: int, payee_account: int
) -> None:
    await move(database, ADMIN, deposit(payee_account, "100.00"))
    outward = [move(large_pool, payer, transfer(payer_account, payee_account, "0.03")) for _ in range(25)]
    returning = [move(large_pool, payee, transfer(payee_account, payer_account, "0.01")) for _ in range(25)]
    settlements = await asyncio.gather(*(each for pair in zip(outward, returning, strict=True) for each in pair))
    assert [settlement.refusal for settlement in settlements] == [None] * 50
    after = await balances(database)
    assert (after[payer_account], after[payee_account]) == (9950, 10050)
    assert large_pool.counters.retries == 0


async def test_account_that_many_transfers_empty_at_once_never_goes_below_zero(
    database: Database, large_pool: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    settlements = await asyncio.gather(
        *(move(large_pool, payer, transfer(payer_account, payee_account, "30.00")) for _ in range(12))
    )
    codes = Counter(settlement.refusal and settlement.refusal.code for settlement in settlements)
    assert codes == {None: 3, "INSUFFICIENT_FUNDS": 9}
    after = await balances(database)
    assert (after[payer_account], after[payee_account]) == (1000, 9000)


@pytest.mark.parametrize("accounts", [2, 10])
async def test_two_hundred_simultaneous_transfers_leave_the_balances_that_the_ledger_adds_up_to(
    database: Database, large_pool: Database, payer: Viewer, cases: Cases, accounts: int
) -> None:
    chances = cases.random()
    ids = [await new_account(database, payer, holding="20.00") for _ in range(accounts)]
    movements = []
    for _ in range(200):
        from_id, to_id = chances.sample(ids, 2)
        movements.append(transfer(from_id, to_id, f"{chances.randint(1, 900)}E-2"))
    settlements = await asyncio.gather(*(move(large_pool, payer, movement) for movement in movements))
    codes = Counter(settlement.refusal and settlement.refusal.code for settlement in settlements)
    assert codes.keys() <= {None, "INSUFFICIENT_FUNDS"}
    assert len(await ledger(database)) == accounts + codes[None]
    after = await balances(database)
    assert sum(after[account] for account in ids) == 2000 * accounts
    await assert_balanced(database)
    assert large_pool.counters.retries == 0


async def test_simultaneous_first_deposits_in_a_currency_make_one_system_account(
    database: Database, large_pool: Database, payer: Viewer
) -> None:
    accounts = [await new_account(database, payer, "CHF") for _ in range(12)]
    settlements = await asyncio.gather(*(move(large_pool, ADMIN, deposit(account, "1.25")) for account in accounts))
    assert [settlement.refusal for settlement in settlements] == [None] * 12
    assert [tuple(row) for row in await database.fetch(SYSTEM_ACCOUNTS, {})] == [("CHF", -1500)]
    await assert_balanced(database)
