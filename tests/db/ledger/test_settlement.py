"""A transfer as a single statement is made exactly if the step-by-step settlement would make it."""

import itertools
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import TypeVar

import pytest
from asyncpg import Record
from sqlalchemy import text

from db.access import Viewer
from db.connections.database import Database
from db.connections.statements import Reader, Statement, Writer
from db.ledger.settlement import Movement, Settlement, settle
from db.money import BALANCE_MINOR_MAX, SYSTEM_BALANCE_MINOR_MIN, from_minor
from tests.db.support.rows import ADMIN, SETTLED, new_account

T = TypeVar("T")
BALANCES = Statement(text("SELECT id, balance FROM accounts ORDER BY id"))
SYSTEM = Statement(text("SELECT id FROM accounts WHERE is_system ORDER BY id"))
FILL = Statement(text("UPDATE accounts SET balance = :balance WHERE id = :id"))
SMALL = [Decimal(amount) for amount in ("0.01", "0.50", "1", "1.0", "100.01")]
AMOUNTS = [
    Decimal(amount)
    for amount in (
        *("0.0001", "0.001", "0.01", "0.10", "0.1", "1", "1.0", "1.00", "1.000", "1.0000", "1E-2", "1E+1", "1E-5"),
        *("99.99", "100", "100.00", "100.000", "100.0000", "100.01", "100.001", "1E+2", "1E+3", "1E+15", "1E+39"),
        *("0", "-1", "0.00", "NaN", "Infinity", "9" * 41, "99999999999999.99999"),
    )
]


class RolledBackError(Exception):
    """Rolls a trial back."""


class Trial(Writer):
    """Runs trials in one transaction, which is rolled back afterwards.

    Attributes:
        at_once: whether a single statement is allowed.
        is_made: whether a single statement made the transfer.
    """

    def __init__(self, transaction: Reader, *, at_once: bool) -> None:
        self.transaction = transaction
        self.at_once = at_once
        self.is_made = False

    async def write(self, work: Callable[[Reader], Awaitable[T]]) -> T:
        return await work(self.transaction)

    async def autocommit_write(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        rows = await self.transaction.fetch(statement, values) if self.at_once else []
        self.is_made = bool(rows)
        return rows


def outcome(settlement: Settlement) -> tuple[object, ...]:
    refusal = settlement.refusal
    if refusal is not None:
        return refusal.code, refusal.field, refusal.message
    assert settlement.row is not None
    return tuple(settlement.row)[1:]


async def try_out(
    database: Database, viewer: Viewer, movement: Movement, *, at_once: bool
) -> tuple[tuple[object, ...], bool]:
    """Return the outcome of a movement that is rolled back, and whether a single statement made it."""
    trials: list[tuple[tuple[object, ...], bool]] = []

    async def work(transaction: Reader) -> None:
        trial = Trial(transaction, at_once=at_once)
        settlement = await settle(trial, viewer, SETTLED, movement)
        balances = tuple(await transaction.fetch(BALANCES, {}))
        trials.append(((*outcome(settlement), settlement.replayed, balances), trial.is_made))
        raise RolledBackError

    with pytest.raises(RolledBackError):
        await database.write(work)
    return trials[0]


async def hold(database: Database, account_id: int, balance: int) -> None:
    await database.write(lambda transaction: transaction.fetch(FILL, {"id": account_id, "balance": balance}))


async def assert_same(database: Database, viewer: Viewer, from_id: int, to_id: int, amount: Decimal) -> bool:
    """Assert that both variants have the same outcome; return whether the transfer was made."""
    movement = Movement(from_id, to_id, amount, "why", uuid.uuid4())
    at_once, is_made = await try_out(database, viewer, movement, at_once=True)
    by_steps, _ = await try_out(database, viewer, movement, at_once=False)
    assert at_once == by_steps, movement
    assert is_made == (by_steps[0] == from_id), movement  # element 0 is the row's sender, or a refusal's code
    return is_made


async def test_single_statement_and_steps_agree_between_any_two_accounts(
    database: Database, payer: Viewer, payee: Viewer, payer_account: int, payee_account: int
) -> None:
    full = await new_account(database, payee)
    await hold(database, full, BALANCE_MINOR_MAX - 50)
    yen = [await new_account(database, payer, "JPY", holding="1000") for _ in range(2)]
    system = [row["id"] for row in await database.fetch(SYSTEM, {})]
    for account_id in system:
        await hold(database, account_id, SYSTEM_BALANCE_MINOR_MIN + 50)
    accounts = [payer_account, payee_account, full, *yen, *system, 10**6]
    made = [
        await assert_same(database, viewer, from_id, to_id, amount)
        for from_id, to_id, viewer, amount in itertools.product(accounts, accounts, [payer, payee, ADMIN], SMALL)
    ]
    assert 0 < sum(made) < len(made) / 2


@pytest.mark.parametrize("currency_code", ["JPY", "EUR", "KWD", "CLF", "XOF", "TND", "UYW"])
async def test_single_statement_and_steps_accept_the_same_amounts(
    database: Database, payer: Viewer, currency_code: str
) -> None:
    source, target = [await new_account(database, payer, currency_code, holding="100") for _ in range(2)]
    made = [await assert_same(database, payer, source, target, amount) for amount in AMOUNTS]
    assert 0 < sum(made) < len(made)


async def test_single_statement_moves_the_largest_balance_of_an_account(database: Database, payer: Viewer) -> None:
    for currency_code in ("JPY", "EUR", "CLF"):
        source, target = [await new_account(database, payer, currency_code) for _ in range(2)]
        await hold(database, source, BALANCE_MINOR_MAX)
        for less in (0, 1):
            amount = from_minor(BALANCE_MINOR_MAX - less, currency_code)
            at_once, _ = await try_out(
                database, payer, Movement(source, target, amount, None, uuid.uuid4()), at_once=True
            )
            assert at_once[:3] == (source, target, BALANCE_MINOR_MAX - less)
