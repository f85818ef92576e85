"""Batches of transfers: compared with the same transfers one after the other, and with the ledger."""

import asyncio
import uuid
from collections.abc import Sequence

import pytest

from db.access import Viewer
from db.connections.database import Database
from db.connections.leases import Driver
from db.errors import Refusal
from db.ledger.batches import BATCH_MAX, settle_batch
from db.ledger.settlement import Movement, Settlement
from tests.db.ledger.test_ledger_promises import held_rows
from tests.db.support.backends import OpenDatabase
from tests.db.support.ledgers import assert_balanced, balances, ledger
from tests.db.support.rows import ADMIN, SETTLED, deposit, move, new_account, new_user, transfer

OTHER = "OTHER_TRANSFER_REFUSED"


async def batch(
    database: Database, viewer: Viewer, transfers: Sequence[Movement], *, is_one: bool = False
) -> list[Settlement]:
    return await settle_batch(database, viewer, SETTLED, transfers, is_one=is_one)


def codes(settlements: Sequence[Settlement]) -> list[str | None]:
    return [one.refusal.code if one.refusal else None for one in settlements]


def shown(settlements: Sequence[Settlement]) -> list[list[object] | None]:
    """Return the rows as clients see them."""
    return [None if one.row is None else [one.row[name] for name in SETTLED] for one in settlements]


async def test_each_transfer_sees_the_balances_that_the_previous_ones_leave(
    database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    requested = [
        transfer(payer_account, payee_account, "60", memo="first"),
        transfer(payer_account, payee_account, "60"),
        transfer(payer_account, payee_account, "40", memo="third"),
        transfer(payer_account, payer_account, "1"),
        transfer(payer_account, 999_999, "1"),
        transfer(payee_account, payer_account, "1"),
        transfer(payer_account, payee_account, "0.01"),
    ]
    settlements = await batch(database, payer, requested)
    assert codes(settlements) == [
        None,
        "INSUFFICIENT_FUNDS",
        None,
        "SAME_ACCOUNT",
        "INSUFFICIENT_FUNDS",
        "ACCOUNT_NOT_FOUND",
        "INSUFFICIENT_FUNDS",
    ]
    rows = [one.row for one in settlements if one.row is not None]
    assert [(row["from_id"], row["to_id"], row["amount"], row["memo"], row["currency_code"]) for row in rows] == [
        (payer_account, payee_account, 6_000, "first", "EUR"),
        (payer_account, payee_account, 4_000, "third", "EUR"),
    ]
    assert rows[0]["id"] < rows[1]["id"]
    assert (await balances(database))[payer_account] == 0
    await assert_balanced(database)
    again = await batch(database, payer, requested)
    assert codes(again) == codes(settlements)
    assert shown(again) == shown(settlements)
    assert all(one.replayed for one in again)
    # A refused transfer stays refused under its key, even when it is sent alone and the funds have arrived.
    await move(database, ADMIN, deposit(payer_account, "500"))
    alone = await move(database, payer, requested[1])
    assert alone.refusal is not None
    assert (alone.refusal.code, alone.replayed) == ("INSUFFICIENT_FUNDS", True)


async def test_money_that_arrives_in_a_batch_can_be_spent_later_in_it(
    database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    own = await new_account(database, payer)
    requested = [
        transfer(own, payee_account, "1"),
        transfer(payer_account, own, "100"),
        transfer(own, payee_account, "100"),
    ]
    assert codes(await batch(database, payer, requested)) == ["INSUFFICIENT_FUNDS", None, None]
    after = await balances(database)
    assert (after[payer_account], after[own], after[payee_account]) == (0, 0, 10_000)


async def test_all_or_none_batch_makes_all_transfers_or_none(
    database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    before = await balances(database), await ledger(database)
    requested = [
        transfer(payer_account, payee_account, "60"),
        transfer(payer_account, payee_account, "60"),
        transfer(payer_account, payee_account, "1"),
    ]
    refused = await batch(database, payer, requested, is_one=True)
    assert codes(refused) == [OTHER, "INSUFFICIENT_FUNDS", OTHER]
    assert (await balances(database), await ledger(database)) == before
    # The refusal stays when the funds have arrived; all keys of the batch are spent.
    await move(database, ADMIN, deposit(payer_account, "500"))
    again = await batch(database, payer, requested, is_one=True)
    assert codes(again) == codes(refused)
    assert [one.replayed for one in (*refused, *again)] == [False] * 3 + [True] * 3
    movements = [
        transfer(payer_account, payee_account, "60"),
        transfer(payer_account, payee_account, "60"),
        transfer(payer_account, payee_account, "1"),
    ]
    settled = await batch(database, payer, movements, is_one=True)
    assert codes(settled) == [None] * 3
    assert shown(await batch(database, payer, movements, is_one=True)) == shown(settled)
    await assert_balanced(database)


async def test_key_of_an_all_or_none_batch_belongs_to_its_transfer_in_this_batch(
    database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    requested = [transfer(payer_account, payee_account, "1"), transfer(payer_account, payee_account, "2")]
    assert codes(await batch(database, payer, requested, is_one=True)) == [None, None]
    after = await balances(database)
    for others in ([requested[0]], requested[::-1], [*requested, transfer(payer_account, payee_account, "3")]):
        settled = await batch(database, payer, others, is_one=True)
        assert {code for code in codes(settled) if code != OTHER} == {"IDEMPOTENCY_KEY_REUSED"}
    assert codes(await batch(database, payer, requested)) == ["IDEMPOTENCY_KEY_REUSED"] * 2
    with pytest.raises(Refusal, match="IDEMPOTENCY_KEY_REUSED"):
        await move(database, payer, requested[0])
    assert await balances(database) == after


async def test_key_given_twice_in_a_batch_is_one_transfer_or_a_refusal(
    database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    one = transfer(payer_account, payee_account, "1")
    other = transfer(payer_account, payee_account, "2", key=one.key)
    settled = await batch(database, payer, [one, one, other])
    assert codes(settled) == [None, None, "IDEMPOTENCY_KEY_REUSED"]
    assert [settlement.replayed for settlement in settled] == [False, True, False]
    assert settled[0].row == settled[1].row
    assert (await balances(database))[payee_account] == 100
    # In all-or-none mode nothing is transferred, and no key is spent.
    mixed = [transfer(payer_account, payee_account, "5"), transfer(payer_account, payee_account, "6"), one]
    assert codes(await batch(database, payer, [*mixed, other], is_one=True)) == [
        OTHER,
        OTHER,
        OTHER,
        "IDEMPOTENCY_KEY_REUSED",
    ]
    assert codes(await batch(database, payer, mixed[:2])) == [None, None]


async def test_memo_that_is_too_long_spends_no_key(
    database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    long = transfer(payer_account, payee_account, "1", memo="x" * 501)
    fine = transfer(payer_account, payee_account, "1")
    assert codes(await batch(database, payer, [long, fine], is_one=True)) == ["INVALID_MEMO", OTHER]
    assert codes(await batch(database, payer, [long, fine])) == ["INVALID_MEMO", None]
    shorter = transfer(payer_account, payee_account, "1", key=long.key)
    assert codes(await batch(database, payer, [shorter, fine])) == [None, None]
    assert (await balances(database))[payee_account] == 200


async def test_batch_reveals_nothing_to_other_users(
    database: Database, payer: Viewer, payee: Viewer, payer_account: int, payee_account: int
) -> None:
    foreign = [
        transfer(payer_account, payee_account, "1"),
        transfer(payee_account, 999_999, "1"),
        transfer(999_999, payee_account, "1"),
    ]
    assert codes(await batch(database, payee, foreign)) == [
        "ACCOUNT_NOT_FOUND",
        "INSUFFICIENT_FUNDS",
        "ACCOUNT_NOT_FOUND",
    ]
    # Keys belong to their owner: the same key of another owner is a different key.
    one = transfer(payer_account, payee_account, "1")
    assert codes(await batch(database, payer, [one])) == [None]
    assert codes(await batch(database, payee, [transfer(payee_account, payer_account, "1", key=one.key)])) == [None]


async def test_concurrent_batches_with_the_same_keys_make_each_transfer_once(
    open_database: OpenDatabase, database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    pools = [open_database(pool_size=5, pool_max_overflow=0, pool_timeout_s=30) for _ in range(2)]
    requested = [transfer(payer_account, payee_account, "1") for _ in range(10)]
    orders = [requested[n:] + requested[:n] for n in range(10)]
    settled = await asyncio.gather(*(batch(pools[n % 2], payer, order) for n, order in enumerate(orders)))
    rows: dict[uuid.UUID, set[int]] = {one.key: set() for one in requested}
    for order, settlements in zip(orders, settled, strict=True):
        for movement, settlement in zip(order, settlements, strict=True):
            assert settlement.row is not None
            rows[movement.key].add(settlement.row["id"])
    assert {len(ids) for ids in rows.values()} == {1}
    assert sum(not one.replayed for settlements in settled for one in settlements) == len(requested)
    assert (await balances(database))[payee_account] == 1_000


DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


@pytest.fixture
async def plans_of_large_tables(superuser: Driver) -> None:
    """Make the planner of every new connection look rows up one by one, in the order of the argument."""
    name = await superuser.fetchval("SELECT current_database()")
    for off in ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan"):
        await superuser.execute(f'ALTER DATABASE "{name}" SET {off} = off')


@pytest.mark.usefixtures("plans_of_large_tables")
async def test_opposite_batches_and_transfers_meet_no_deadlock(
    open_database: OpenDatabase, database: Database, superuser: Driver
) -> None:
    pools = [open_database(pool_size=6, pool_max_overflow=0, pool_timeout_s=30) for _ in range(2)]
    owner = await new_user(database)
    accounts = [await new_account(database, owner, holding="1000") for _ in range(6)]
    before = await superuser.fetchval(DEADLOCKS)
    pairs = [(a, b) for a in accounts for b in accounts if a != b]

    async def storm(number: int) -> None:
        pool = pools[number % 2]
        for turn in range(5):
            order = pairs[number * 7 + turn :] + pairs[: number * 7 + turn]
            if number % 2 == turn % 2:
                order = order[::-1]
            requested = [transfer(source, target, "0.01") for source, target in order]
            assert codes(await batch(pool, owner, requested, is_one=turn % 2 == 0)) == [None] * len(requested)
            assert (await move(pool, owner, transfer(*order[0], "0.01"))).refusal is None

    await asyncio.gather(*(storm(number) for number in range(4)))
    await superuser.execute("SELECT pg_stat_clear_snapshot()")
    assert await superuser.fetchval(DEADLOCKS) == before
    await assert_balanced(database)


async def test_batches_with_the_same_keys_in_another_order_meet_no_deadlock(
    open_database: OpenDatabase, database: Database, superuser: Driver
) -> None:
    pools = [open_database(pool_size=2, pool_max_overflow=0, pool_timeout_s=30) for _ in range(2)]
    owner = await new_user(database)
    pairs = [(await new_account(database, owner, holding="1000"), await new_account(database, owner)) for _ in pools]
    before = await superuser.fetchval(DEADLOCKS)
    for _ in range(20):
        keys = [uuid.uuid4() for _ in range(200)]
        orders = [keys, keys[::-1]]
        settled = await asyncio.gather(
            *(
                batch(pool, owner, [transfer(*pair, "0.01", key=key) for key in order])
                for pool, pair, order in zip(pools, pairs, orders, strict=True)
            )
        )
        found = [set(codes(one)) for one in settled]
        assert sorted(found, key=str) == [{"IDEMPOTENCY_KEY_REUSED"}, {None}]
    await superuser.execute("SELECT pg_stat_clear_snapshot()")
    assert await superuser.fetchval(DEADLOCKS) == before


async def test_batch_does_not_wait_for_accounts_of_other_users(
    database: Database, superuser: Driver, payee: Viewer, payer_account: int, payee_account: int
) -> None:
    async with held_rows(superuser, payer_account), asyncio.timeout(30):
        assert codes(await batch(database, payee, [transfer(payer_account, payee_account, "1")])) == [
            "ACCOUNT_NOT_FOUND"
        ]


async def test_batch_takes_as_many_statements_as_it_has_steps(
    database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    taken = []
    for count in (2, BATCH_MAX):
        requested = [transfer(payer_account, payee_account, "0.01") for _ in range(count)]
        before = database.counters.statements
        assert codes(await batch(database, payer, requested)) == [None] * count
        taken.append(database.counters.statements - before)
    assert taken == [3, 3]  # the accounts, the keys, the rows
    assert (await balances(database))[payee_account] == 2 + BATCH_MAX
