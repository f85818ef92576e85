"""The ledger: a movement happens once for its key or not at all, and the balances are the sums of the ledger."""

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import TypeVar

import pytest
from asyncpg import Record

from db.access import ANONYMOUS, Viewer
from db.connections import leased_connection
from db.connections.database import Database
from db.connections.statements import Reader, Statement, Writer
from db.errors import Refusal, Unavailable
from db.fields import MEMO
from db.ledger.settlement import settle, turns, with_claim
from db.money import BALANCE_MINOR_MAX
from db.repositories.transactions import transaction_by_key, transactions_by_ids
from tests.db.support.ledgers import (
    SYSTEM_ACCOUNTS,
    assert_balanced,
    balances,
    ledger,
    refused,
)
from tests.db.support.rows import ADMIN, SETTLED, deposit, move, new_account, new_user, transfer

T = TypeVar("T")


@pytest.fixture(params=["at once", "by steps"], autouse=True)
def settlement_variant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test with single-statement transfers, and with an untrusted connection, which forces the steps."""
    if request.param == "by steps":
        monkeypatch.setattr(leased_connection, "TRUSTED_S", 0)


# ---------------------------------------------------------------- movements


async def test_transfer_moves_exactly_its_amount(
    database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    settlement = await move(database, payer, transfer(payer_account, payee_account, "12.50", memo="for the book"))
    assert settlement.row is not None
    assert dict(settlement.row) == {
        "id": settlement.row["id"],
        "from_id": payer_account,
        "to_id": payee_account,
        "amount": 1250,
        "memo": "for the book",
        "currency_code": "EUR",
    }
    assert (settlement.refusal, settlement.replayed) == (None, False)
    after = await balances(database)
    assert (after[payer_account], after[payee_account]) == (8750, 1250)
    assert (await ledger(database))[1:] == [(payer_account, payee_account, 1250, "for the book")]
    await assert_balanced(database)


async def test_deposit_comes_from_the_system_account_of_the_currency(
    database: Database, payer: Viewer, payer_account: int
) -> None:
    yen = await new_account(database, payer, "JPY")
    settlement = await move(database, ADMIN, deposit(yen, "500"))
    assert (settlement.refusal, settlement.replayed) == (None, False)
    assert (await balances(database))[yen] == 500
    system = [tuple(row) for row in await database.fetch(SYSTEM_ACCOUNTS, {})]
    assert system == [("EUR", -10000), ("JPY", -500)]
    await assert_balanced(database)


async def test_whole_balance_can_be_transferred(
    database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    assert (await move(database, payer, transfer(payer_account, payee_account, "100"))).refusal is None
    after = await balances(database)
    assert (after[payer_account], after[payee_account]) == (0, 10000)


async def test_administrator_transfers_from_any_account(
    database: Database, payer_account: int, payee_account: int
) -> None:
    assert (await move(database, ADMIN, transfer(payer_account, payee_account, "1"))).refusal is None
    assert (await balances(database))[payee_account] == 100


async def test_longest_memo_is_taken(database: Database, payer: Viewer, payer_account: int, payee_account: int) -> None:
    memo = "é" * MEMO.length_max
    settlement = await move(database, payer, transfer(payer_account, payee_account, "1", memo=memo))
    assert settlement.row is not None
    assert settlement.row["memo"] == memo


# ---------------------------------------------------------------- keys


async def test_same_key_returns_the_same_row_and_moves_nothing_again(
    database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    movement = transfer(payer_account, payee_account, "12.50", memo="once")
    first = await move(database, payer, movement)
    before = await balances(database)
    again = await move(database, payer, movement)
    assert again.row == first.row
    assert (again.refusal, again.replayed) == (None, True)
    assert await balances(database) == before
    assert len(await ledger(database)) == 2


async def test_same_key_for_another_movement_is_refused(
    database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    key = uuid.uuid4()
    other = await new_account(database, payer, holding="5.00")
    await move(database, payer, transfer(payer_account, payee_account, "12.50", memo="once", key=key))
    before = await balances(database), await ledger(database)
    for changed in (
        transfer(payer_account, payee_account, "12.51", memo="once", key=key),
        transfer(payer_account, payee_account, "12.50", memo="twice", key=key),
        transfer(payer_account, payee_account, "12.50", memo="", key=key),
        transfer(payer_account, payee_account, "12.50", key=key),
        transfer(payer_account, other, "12.50", memo="once", key=key),
        transfer(other, payee_account, "12.50", memo="once", key=key),
        # Digits beyond the precision of the default decimal context count, too.
        transfer(payer_account, payee_account, "12.50000000000000000000000000000000001", memo="once", key=key),
    ):
        with pytest.raises(Refusal) as caught:
            await move(database, payer, changed)
        assert (caught.value.code, caught.value.field) == ("IDEMPOTENCY_KEY_REUSED", ("idempotencyKey",))
    assert (await balances(database), await ledger(database)) == before


async def test_same_key_for_a_deposit_and_a_transfer_is_refused(
    database: Database, payer_account: int, payee_account: int
) -> None:
    movement = deposit(payee_account, "12.50")
    await move(database, ADMIN, movement)
    with pytest.raises(Refusal) as caught:
        await move(database, ADMIN, transfer(payer_account, payee_account, "12.50", key=movement.key))
    assert caught.value.code == "IDEMPOTENCY_KEY_REUSED"
    assert (await balances(database))[payee_account] == 1250


async def test_same_amount_in_another_notation_is_the_same_movement(
    database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    key = uuid.uuid4()
    first = await move(database, payer, transfer(payer_account, payee_account, "12.5", key=key))
    for amount in ("12.50", "1.25E+1"):
        again = await move(database, payer, transfer(payer_account, payee_account, amount, key=key))
        assert (again.row, again.replayed) == (first.row, True)


async def test_key_belongs_to_its_owner_only(
    database: Database, payer: Viewer, payee: Viewer, payer_account: int, payee_account: int
) -> None:
    key = uuid.uuid4()
    await move(database, payer, transfer(payer_account, payee_account, "10", key=key))
    back = await move(database, payee, transfer(payee_account, payer_account, "4", key=key))
    assert (back.refusal, back.replayed) == (None, False)
    after = await balances(database)
    assert (after[payer_account], after[payee_account]) == (9400, 600)
    mine = await transaction_by_key(database, payer, ("amount",), key)
    theirs = await transaction_by_key(database, payee, ("amount",), key)
    assert (mine and mine["amount"], theirs and theirs["amount"]) == (1000, 400)
    assert await transaction_by_key(database, ADMIN, ("amount",), key) is None
    assert await transaction_by_key(database, ANONYMOUS, ("amount",), key) is None


async def test_refusal_under_a_key_stays_when_the_funds_arrive(
    database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    movement = transfer(payer_account, payee_account, "100.01")
    first = await move(database, payer, movement)
    await move(database, ADMIN, deposit(payer_account, "50"))
    again = await move(database, payer, movement)
    assert first.refusal is not None
    assert again.refusal is not None
    assert (first.replayed, again.replayed) == (False, True)
    for refusal in (first.refusal, again.refusal):
        assert (refusal.code, refusal.field, refusal.message) == (
            "INSUFFICIENT_FUNDS",
            ("amount",),
            "the balance of the account is less than this amount",
        )
    assert (await balances(database))[payee_account] == 0
    assert (await move(database, payer, transfer(payer_account, payee_account, "100.01"))).refusal is None
    assert await transaction_by_key(database, payer, ("id",), movement.key) is None


class FailingDatabase(Writer):
    """Does the whole work, and fails before the commit."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def write(self, work: Callable[[Reader], Awaitable[T]]) -> T:
        async def failing(transaction: Reader) -> T:
            await work(transaction)
            raise LookupError

        return await self.database.write(failing)

    async def autocommit_write(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        return ()


class AnswerLosingDatabase(Writer):
    """Does the work, and loses the first answer: the caller does not learn whether it was done."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.is_lost = False

    async def write(self, work: Callable[[Reader], Awaitable[T]]) -> T:
        done = await self.database.write(work)
        self._lose()
        return done

    async def autocommit_write(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        rows = await self.database.autocommit_write(statement, values)
        self._lose()
        return rows

    def _lose(self) -> None:
        if not self.is_lost:
            self.is_lost = True
            raise Unavailable("DATABASE_UNAVAILABLE", "lost", outcome_unknown=True)


async def test_movement_whose_answer_was_lost_is_settled_by_its_key_and_is_no_replay(
    database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    paid, brought, refused_ = (
        transfer(payer_account, payee_account, "10"),
        deposit(payer_account, "5"),
        transfer(payer_account, payee_account, "1000"),
    )
    for viewer, movement in ((payer, paid), (ADMIN, brought), (payer, refused_)):
        settlement = await settle(AnswerLosingDatabase(database), viewer, SETTLED, movement)
        assert ((settlement.row is None), settlement.replayed) == (movement is refused_, False)
    for viewer, movement in ((payer, paid), (ADMIN, brought), (payer, refused_)):
        settlement = await settle(AnswerLosingDatabase(database), viewer, SETTLED, movement)
        assert ((settlement.row is None), settlement.replayed) == (movement is refused_, True)
    assert (await balances(database))[payee_account] == 1000


async def test_outcome_stays_unknown_when_the_turn_to_look_it_up_is_too_late(
    open_database: Callable[..., Database], payer: Viewer, payer_account: int, payee_account: int
) -> None:
    database, paid = open_database(lock_timeout_ms=50), with_claim(transfer(payer_account, payee_account, "10"))
    await move(database, payer, paid)  # its answer is lost
    async with database.turn(turns(payer, paid)), database.turn(turns(payer, paid)):
        with pytest.raises(Unavailable) as caught:
            await settle(database, payer, SETTLED, paid, is_unknown=True)
    assert (caught.value.code, caught.value.outcome_unknown) == ("DATABASE_BUSY", True)
    settlement = await settle(database, payer, SETTLED, paid, is_unknown=True)
    assert (settlement.row is None, settlement.replayed) == (False, False)
    assert (await balances(database))[payee_account] == 1000


async def test_key_of_a_write_that_failed_is_free_again(
    database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    movement = transfer(payer_account, payee_account, "10")
    with pytest.raises(LookupError):
        await settle(FailingDatabase(database), payer, SETTLED, movement)
    settlement = await move(database, payer, movement)
    assert (settlement.refusal, settlement.replayed) == (None, False)
    assert (await balances(database))[payee_account] == 1000


# ---------------------------------------------------------------- refusals


async def test_account_of_another_user_is_not_found(
    database: Database, payee: Viewer, payer_account: int, payee_account: int
) -> None:
    not_found = ("ACCOUNT_NOT_FOUND", ("fromAccountId",))
    assert await refused(database, payee, transfer(payer_account, payee_account, "1")) == not_found
    assert await refused(database, payee, transfer(10**9, payee_account, "1")) == not_found


async def test_system_account_is_not_found(database: Database, payer: Viewer, payer_account: int) -> None:
    [system_account] = [account for account, balance in (await balances(database)).items() if balance < 0]
    assert await refused(database, payer, transfer(system_account, payer_account, "1")) == (
        "ACCOUNT_NOT_FOUND",
        ("fromAccountId",),
    )


async def test_missing_receiving_account_is_not_found(database: Database, payer: Viewer, payer_account: int) -> None:
    assert await refused(database, payer, transfer(payer_account, 10**9, "1")) == (
        "ACCOUNT_NOT_FOUND",
        ("toAccountId",),
    )
    assert await refused(database, ADMIN, deposit(10**9, "1")) == ("ACCOUNT_NOT_FOUND", ("accountId",))


async def test_deposit_into_a_system_account_is_not_found(database: Database, payer_account: int) -> None:
    [system_account] = [account for account, balance in (await balances(database)).items() if balance < 0]
    assert await refused(database, ADMIN, deposit(system_account, "1")) == ("ACCOUNT_NOT_FOUND", ("accountId",))


async def test_transfer_to_the_same_account_is_refused(database: Database, payer: Viewer, payer_account: int) -> None:
    assert await refused(database, payer, transfer(payer_account, payer_account, "1")) == (
        "SAME_ACCOUNT",
        ("toAccountId",),
    )


async def test_transfer_to_another_currency_is_refused(database: Database, payer: Viewer, payer_account: int) -> None:
    yen = await new_account(database, payer, "JPY")
    assert await refused(database, payer, transfer(payer_account, yen, "1")) == ("CURRENCY_MISMATCH", ("toAccountId",))


async def test_amount_that_the_currency_does_not_allow_is_refused(
    database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    no_numbers = ("NaN", "sNaN", "-Infinity", "1E+999999999999", "-1E-999999999999")
    for amount in ("0", "0.00", "-1", "0.001", "1.000", *no_numbers):
        assert await refused(database, payer, transfer(payer_account, payee_account, amount)) == (
            "INVALID_AMOUNT",
            ("amount",),
        )
        assert await refused(database, ADMIN, deposit(payee_account, amount)) == ("INVALID_AMOUNT", ("amount",))


async def test_transfer_of_more_than_the_account_holds_is_refused(
    database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    insufficient = ("INSUFFICIENT_FUNDS", ("amount",))
    assert await refused(database, payer, transfer(payer_account, payee_account, "100.01")) == insufficient
    assert await refused(database, payer, transfer(payee_account, payer_account, "0.01")) == (
        "ACCOUNT_NOT_FOUND",
        ("fromAccountId",),
    )
    assert await refused(database, payer, transfer(payer_account, payee_account, "9" * 30)) == insufficient


async def test_balance_beyond_the_limit_is_refused(
    database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    room = Decimal(BALANCE_MINOR_MAX - 10000).scaleb(-2)
    exceeded = ("BALANCE_LIMIT_EXCEEDED", ("amount",))
    assert await refused(database, ADMIN, deposit(payer_account, str(room + Decimal("0.01")))) == exceeded
    assert (await move(database, ADMIN, deposit(payer_account, str(room)))).refusal is None
    assert (await balances(database))[payer_account] == BALANCE_MINOR_MAX
    await move(database, ADMIN, deposit(payee_account, "0.01"))
    assert await refused(database, ADMIN, transfer(payee_account, payer_account, "0.01")) == exceeded
    await assert_balanced(database)


async def test_memo_that_is_too_long_is_refused_and_leaves_the_key_unspent(
    database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    key = uuid.uuid4()
    with pytest.raises(Refusal) as caught:
        await move(
            database, payer, transfer(payer_account, payee_account, "1", memo="x" * (MEMO.length_max + 1), key=key)
        )
    assert (caught.value.code, caught.value.field) == ("INVALID_MEMO", ("memo",))
    assert (await balances(database))[payee_account] == 0
    assert (
        await move(database, payer, transfer(payer_account, payee_account, "1", memo="x", key=key))
    ).replayed is False


async def test_deposit_by_anyone_but_an_administrator_is_not_found(
    database: Database, payer: Viewer, payer_account: int
) -> None:
    movement = deposit(payer_account, "1")
    with pytest.raises(Refusal) as caught:
        await move(database, payer, movement)
    assert (caught.value.code, caught.value.field) == ("ACCOUNT_NOT_FOUND", ("accountId",))
    assert (await balances(database))[payer_account] == 10000
    assert (await move(database, ADMIN, movement)).replayed is False


# ---------------------------------------------------------------- visibility


async def test_transaction_is_visible_only_to_both_owners_and_administrators(
    database: Database, payer: Viewer, payee: Viewer, payer_account: int, payee_account: int
) -> None:
    row = (await move(database, payer, transfer(payer_account, payee_account, "1"))).row
    assert row is not None
    for viewer in (payer, payee, ADMIN):
        assert await transactions_by_ids(database, viewer, SETTLED, [0, row["id"]]) == {row["id"]: row}
    for viewer in (await new_user(database), ANONYMOUS):
        assert await transactions_by_ids(database, viewer, SETTLED, [0, row["id"]]) == {}
