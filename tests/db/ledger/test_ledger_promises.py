"""The promises of docs/MONEY.md that need no fault to show: overdrafts, keys, deadlocks, and the rows of the ledger."""

import asyncio
import dataclasses
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from db.access import Viewer
from db.connections.database import Database
from db.connections.leases import Driver
from db.errors import Refusal
from db.ledger.settlement import Movement, Settlement
from db.settings import Settings
from tests.db.support.backends import OpenDatabase
from tests.db.support.ledgers import assert_balanced, balances, ledger
from tests.db.support.rows import ADMIN, deposit, move, new_account, transfer
from tests.graph.support.served_app import until, waiting
from tests.running.amounts import examples

RUN = 50
STORM = 20
ROUNDS = 3
CONNECTIONS = 10


# ---------------------------------------------------------------- overdrafts


@pytest.mark.parametrize("processes", [1, 2])
async def test_exactly_one_of_fifty_simultaneous_transfers_of_the_whole_balance_is_made(
    database: Database,
    open_database: OpenDatabase,
    superuser: Driver,
    payer: Viewer,
    payer_account: int,
    payee_account: int,
    processes: int,
) -> None:
    # Two pools, like two processes, wait for each other only in PostgreSQL; within one pool writers queue, too.
    pools = [open_database(pool_size=CONNECTIONS, pool_max_overflow=0, pool_timeout_s=30) for _ in range(processes)]
    for number in range(1, ROUNDS + 1):
        async with held_rows(superuser, payer_account):
            settling = asyncio.gather(
                *(
                    move(pools[n % processes], payer, transfer(payer_account, payee_account, "100.00"))
                    for n in range(RUN)
                )
            )
            await until_waiting(superuser, processes)
        settlements = await settling
        codes = Counter(settlement.refusal and settlement.refusal.code for settlement in settlements)
        assert codes == {None: 1, "INSUFFICIENT_FUNDS": RUN - 1}
        after = await balances(database)
        assert (after[payer_account], after[payee_account]) == (0, number * 10_000)
        await move(database, ADMIN, deposit(payer_account, "100.00"))
    await assert_balanced(database)


@asynccontextmanager
async def held_rows(superuser: Driver, *accounts: int) -> AsyncIterator[None]:
    """Lock accounts; all statements that wait for them continue at the same instant when the block ends."""
    async with superuser.transaction():
        await superuser.execute("SELECT FROM accounts WHERE id = ANY($1::bigint[]) FOR UPDATE", list(accounts))
        yield


async def until_waiting(superuser: Driver, count: int) -> None:
    """Return as soon as `count` statements wait for a lock."""

    async def all_wait() -> bool:
        await superuser.execute("SELECT pg_stat_clear_snapshot()")  # which would stay the same for a whole transaction
        return await waiting(superuser) >= count

    await until(all_wait, "a wait for the rows")


# ---------------------------------------------------------------- keys

MEMOS = st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
AMOUNTS = st.decimals(min_value="0.01", max_value="99.99", places=2) | st.decimals(
    allow_nan=False, allow_infinity=False, min_value=-(10**45), max_value=10**45
)
IDS = st.integers(1, 2**63 - 1)
MOVEMENTS = st.builds(
    Movement, from_id=st.none() | IDS, to_id=IDS, amount=AMOUNTS, memo=MEMOS, key=st.just(uuid.UUID(int=1))
)
CHANGES: dict[str, st.SearchStrategy[Any]] = {
    "from_id": st.none() | IDS,
    "to_id": IDS,
    "amount": AMOUNTS,
    "memo": MEMOS,
}


@given(movement=MOVEMENTS, data=st.data())
def test_fingerprint_changes_with_every_field_and_with_nothing_else(movement: Movement, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(CHANGES)))
    changed = dataclasses.replace(movement, **{name: data.draw(CHANGES[name])})
    is_same = getattr(movement, name) == getattr(changed, name)
    assert (movement.request_hash() == changed.request_hash()) == is_same
    rewritten = dataclasses.replace(movement, amount=with_zeros(movement.amount), key=uuid.uuid4())
    assert rewritten.request_hash() == movement.request_hash()


def with_zeros(amount: Decimal) -> Decimal:
    """Return the same number with further trailing zeros."""
    sign, digits, exponent = amount.as_tuple()
    assert isinstance(exponent, int)
    return Decimal((sign, (*digits, 0, 0), exponent - 2))


@hypothesis_settings(max_examples=examples(30))
@given(data=st.data())
async def test_key_is_refused_for_a_change_of_any_field_and_is_unused_for_another_user(
    database: Database, payer: Viewer, payee: Viewer, payer_account: int, payee_account: int, data: st.DataObject
) -> None:
    other = await new_account(database, payer, holding="5.00")
    first = transfer(payer_account, payee_account, "0.01", memo="rent")
    other_fields: dict[str, st.SearchStrategy[Any]] = {
        "from_id": st.sampled_from([other, payee_account, 10**9]),
        "to_id": st.sampled_from([other, 10**9]),
        "amount": AMOUNTS.filter(lambda amount: amount != first.amount),
        "memo": MEMOS.filter(lambda memo: memo != first.memo),
    }
    name = data.draw(st.sampled_from(sorted(other_fields)))
    changed = dataclasses.replace(first, **{name: data.draw(other_fields[name])})
    settled = await move(database, payer, first)
    before = await balances(database), await ledger(database)
    with pytest.raises(Refusal) as caught:
        await move(database, payer, changed)
    assert caught.value.code == "IDEMPOTENCY_KEY_REUSED"
    assert (await balances(database), await ledger(database)) == before
    # The same key of another user is a new key, for any movement.
    returning = await move(database, payee, dataclasses.replace(first, from_id=payee_account, to_id=payer_account))
    assert (returning.refusal, returning.replayed) == (None, False)
    again = await move(database, payer, first)
    assert (again.row, again.replayed) == (settled.row, True)


# ---------------------------------------------------------------- deadlocks

_DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


async def test_storms_of_opposite_transfers_from_two_processes_meet_no_deadlock(
    database: Database,
    open_database: OpenDatabase,
    superuser: Driver,
    payer: Viewer,
    payee: Viewer,
    payer_account: int,
    payee_account: int,
) -> None:
    pools = [open_database(pool_size=CONNECTIONS, pool_max_overflow=0, pool_timeout_s=30) for _ in range(2)]
    await move(database, ADMIN, deposit(payee_account, "100.00"))
    before = await superuser.fetchval(_DEADLOCKS)
    settlements: list[object] = []
    for _ in range(ROUNDS):
        async with held_rows(superuser, payer_account, payee_account):
            outward = [move(pools[0], payer, transfer(payer_account, payee_account, "0.01")) for _ in range(STORM)]
            returning = [move(pools[1], payee, transfer(payee_account, payer_account, "0.01")) for _ in range(STORM)]
            settling = asyncio.gather(*outward, *returning, return_exceptions=True)
            # One transfer of each process: locked in the order of the transfer, they would wait for different rows.
            await until_waiting(superuser, 2)
        settlements += await settling
    for pool in pools:
        await pool.close()  # a backend reports its counts at its end at the latest
    await superuser.execute("SELECT pg_stat_clear_snapshot()")
    assert await superuser.fetchval(_DEADLOCKS) - before == 0, "there were deadlocks"
    assert [one for one in settlements if not isinstance(one, Settlement) or one.refusal] == []
    assert [pool.counters.retries for pool in pools] == [0, 0]
    after = await balances(database)
    assert (after[payer_account], after[payee_account]) == (10_000, 10_000)


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE transactions SET amount = amount",
        "UPDATE transactions SET memo = 'corrected' WHERE id = 1",
        "DELETE FROM transactions",
        "TRUNCATE transactions",
        "INSERT INTO transactions (from_id, to_id, amount) VALUES (1, 2, 1) ON CONFLICT (id) DO UPDATE SET amount = 1",
        "MERGE INTO transactions USING accounts ON accounts.id = transactions.to_id WHEN MATCHED THEN DELETE",
        "DELETE FROM idempotency_keys",
        "TRUNCATE idempotency_keys, transactions",
        "UPDATE idempotency_keys SET request_hash = request_hash",
        "UPDATE idempotency_keys SET key = gen_random_uuid(), refusal_code = NULL",
    ],
)
async def test_role_of_the_application_may_not_change_the_ledger(
    settings: Settings, database: Database, payer_account: int, statement: str
) -> None:
    assert settings.database_url is not None
    before = await ledger(database)
    connection = await asyncpg.connect(settings.database_url.get_secret_value().replace("+asyncpg", ""))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError) as caught:
            await connection.execute(statement)
    finally:
        await connection.close()
    assert caught.value.sqlstate == "42501"
    assert await ledger(database) == before != []
