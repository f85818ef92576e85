"""A small ledger, and every kind of wrong row that a superuser can write into it."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from db.connections.leases import Driver
from db.ledger.audit import Defect, Difference
from db.money import BALANCE_MINOR_MAX

KEYS = [uuid.UUID(int=number) for number in range(5)]  # those of the rows with these ids, except the first
KEY_ID, ROW_ID = 4, 3  # those of the next key and of the next transaction
TOO_MUCH = BALANCE_MINOR_MAX + 1


@dataclass(frozen=True)
class Ledger:
    """A deposit of 100.00 EUR into `payer_account` (transaction 1), and a transfer of 25.00 to `payee_account` (2).

    A third movement was refused, so that there are three keys. `treasury` is the system account.
    """

    treasury: int
    payer_account: int
    payee_account: int
    payer: int
    payee: int


@dataclass(frozen=True)
class PlantedDefect:
    """A defect: the statements that write it, and the differences that an audit must find, in this order."""

    statements: str
    differences: list[Difference] = field(default_factory=list)
    undecided: int = 0


async def plant(superuser: Driver, statements: str) -> None:
    """Write rows that no constraint allows. Only the indexes of single-row constraints are dropped."""
    for table in ("accounts", "transactions"):
        checks = "SELECT conname FROM pg_constraint WHERE conrelid = $1::text::regclass AND contype = 'c'"
        for row in await superuser.fetch(checks, table):
            await superuser.execute(f"ALTER TABLE {table} DROP CONSTRAINT {row['conname']}")
    await superuser.execute("SET session_replication_role = replica")  # disables the checks of foreign keys
    await superuser.execute(statements)


def change(table: str, number: int, what: str) -> str:
    """Return a statement that changes one row."""
    return f"UPDATE {table} SET {what} WHERE id = {number};"  # noqa: S608 - made of the constants of these tests


def pay(source: int, target: int, amount: int) -> str:
    """Return a statement that moves money between two balances without a row in the ledger."""
    return change("accounts", source, f"balance = balance - {amount}") + change(
        "accounts", target, f"balance = balance + {amount}"
    )


def row(source: int, target: int, amount: int, key: int | None = None) -> str:
    """Return a statement that writes a ledger row and leaves the balances unchanged."""
    of_key = "NULL" if key is None else str(key)
    return insert("transactions (from_id, to_id, amount, key_id)", f"{source}, {target}, {amount}, {of_key}")


def insert(columns: str, values: str) -> str:
    """Return a statement that writes one row; `columns` is the table's name with its columns."""
    return f"INSERT INTO {columns} VALUES ({values});"  # noqa: S608 - made of the constants of these tests


def balance(account: int, kept: int, ledger: int) -> Difference:
    """Return the difference of a balance that is not the sum of the ledger."""
    return Difference(Defect.BALANCE, account, "EUR", kept, ledger)


def sum_of(currency_code: str, kept: int) -> Difference:
    """Return the difference of a sum that is not zero."""
    return Difference(Defect.SUM, currency_code=currency_code, stored=kept)


def of_row(defect: Defect, number: int, key_owner: int | None = None) -> Difference:
    """Return the difference of a transaction."""
    return Difference(defect, number, "EUR", key_owner=key_owner)


def of_key(defect: Defect, number: int, owner: int) -> Difference:
    """Return the difference of an idempotency key."""
    return Difference(defect, number, key=str(KEYS[number]), key_owner=owner)


PLANTED: Mapping[str, Callable[[Ledger], PlantedDefect]] = {
    "a balance that was changed": lambda one: PlantedDefect(
        change("accounts", one.payee_account, "balance = balance + 1"),
        [balance(one.payee_account, 2501, 2500), sum_of("EUR", 1)],
    ),
    "two balances that were changed, and add up": lambda one: PlantedDefect(
        pay(one.payer_account, one.payee_account, 7),
        [balance(one.payer_account, 7493, 7500), balance(one.payee_account, 2507, 2500)],
    ),
    "the balance of the system account": lambda one: PlantedDefect(
        change("accounts", one.treasury, "balance = 0"), [balance(one.treasury, 0, -10_000), sum_of("EUR", 10_000)]
    ),
    "a row whose amount was changed": lambda one: PlantedDefect(
        change("transactions", 2, "amount = 2499"),
        [
            balance(one.payer_account, 7500, 7501),
            balance(one.payee_account, 2500, 2499),
            of_row(Defect.REQUEST, 2, one.payer),
        ],
    ),
    "a row whose amount was changed, and the balances with it": lambda one: PlantedDefect(
        change("transactions", 2, "amount = 2499") + pay(one.payee_account, one.payer_account, 1),
        [of_row(Defect.REQUEST, 2, one.payer)],
    ),
    "a row whose memo was changed": lambda one: PlantedDefect(
        change("transactions", 2, "memo = 'rent'"), [of_row(Defect.REQUEST, 2, one.payer)]
    ),
    "a row that leads elsewhere": lambda one: PlantedDefect(
        change("transactions", 1, f"to_id = {one.payee_account}"),
        [
            balance(one.payer_account, 7500, -2500),
            balance(one.payee_account, 2500, 12_500),
            of_row(Defect.REQUEST, 1, 1),
        ],
    ),
    "a row that was deleted": lambda one: PlantedDefect(
        "DELETE FROM transactions WHERE id = 2",
        [
            balance(one.payer_account, 7500, 10_000),
            balance(one.payee_account, 2500, 0),
            of_key(Defect.NO_OUTCOME, 2, one.payer),
        ],
    ),
    "an account below zero": lambda one: PlantedDefect(
        row(one.payer_account, one.payee_account, 7501) + pay(one.payer_account, one.payee_account, 7501),
        [Difference(Defect.OVERDRAWN, one.payer_account, "EUR", -1, -1)],
    ),
    "an account that holds too much": lambda one: PlantedDefect(
        row(one.treasury, one.payee_account, TOO_MUCH - 2500) + pay(one.treasury, one.payee_account, TOO_MUCH - 2500),
        [Difference(Defect.BEYOND_LIMITS, one.payee_account, "EUR", TOO_MUCH, TOO_MUCH)],
    ),
    "two currencies": lambda one: PlantedDefect(
        change("accounts", one.payee_account, "currency_code = 'USD'"),
        [of_row(Defect.CURRENCIES, 2, one.payer), sum_of("EUR", -2500), sum_of("USD", 2500)],
    ),
    "an account that is not there": lambda one: PlantedDefect(
        row(one.payer_account, 999, 1) + change("accounts", one.payer_account, "balance = balance - 1"),
        [of_row(Defect.NO_ACCOUNT, ROW_ID), sum_of("EUR", -1)],
    ),
    "an amount below zero": lambda one: PlantedDefect(
        row(one.payer_account, one.payee_account, -5) + pay(one.payer_account, one.payee_account, -5),
        [of_row(Defect.AMOUNT, ROW_ID)],
    ),
    "an amount of zero": lambda one: PlantedDefect(
        row(one.payer_account, one.payee_account, 0), [of_row(Defect.AMOUNT, ROW_ID)]
    ),
    "one account at both ends": lambda one: PlantedDefect(
        row(one.payee_account, one.payee_account, 5), [of_row(Defect.ONE_ACCOUNT, ROW_ID)]
    ),
    "a key that was deleted": lambda _: PlantedDefect(
        "DELETE FROM idempotency_keys WHERE id = 2", [of_row(Defect.NO_KEY, 2)]
    ),
    "a key that nothing came of": lambda one: PlantedDefect(
        insert(
            "idempotency_keys (owner_id, key, operation, request_hash)",
            f"{one.payer}, '{KEYS[KEY_ID]}', 'transfer', ''",
        ),
        [of_key(Defect.NO_OUTCOME, KEY_ID, one.payer)],
    ),
    "a refusal that was made all the same": lambda one: PlantedDefect(
        row(one.payer_account, one.payee_account, 1, 3) + pay(one.payer_account, one.payee_account, 1),
        [of_row(Defect.REQUEST, ROW_ID, one.payer), of_key(Defect.TWO_OUTCOMES, 3, one.payer)],
    ),
    "two rows under one key": lambda one: PlantedDefect(
        "ALTER TABLE transactions DROP CONSTRAINT uq_transactions_key_id;"
        + row(one.payer_account, one.payee_account, 2500, 2)
        + pay(one.payer_account, one.payee_account, 2500),
        [of_key(Defect.TWO_TRANSACTIONS, 2, one.payer)],
    ),
    "the key of a stranger": lambda one: PlantedDefect(
        change("idempotency_keys", 2, f"owner_id = {one.payee}"), [of_row(Defect.FOREIGN_KEY, 2, one.payee)]
    ),
    "the key of a stranger who was changed since": lambda one: PlantedDefect(
        change("idempotency_keys", 2, f"owner_id = {one.payee}")
        + change("users", one.payee, "updated_at = clock_timestamp()"),
        undecided=1,
    ),
    "the key of a stranger who is gone": lambda _: PlantedDefect(
        change("idempotency_keys", 2, "owner_id = 999"), undecided=1
    ),
    "the key of an administrator": lambda one: PlantedDefect(
        change("idempotency_keys", 2, f"owner_id = {one.payee}") + change("users", one.payee, "role = 'admin'")
    ),
    "a deposit by a member": lambda one: PlantedDefect(
        change("idempotency_keys", 1, f"owner_id = {one.payee}"), [of_row(Defect.FOREIGN_KEY, 1, one.payee)]
    ),
    "a deposit from an account of a member": lambda one: PlantedDefect(
        change("idempotency_keys", 2, f"operation = 'deposit', owner_id = {one.payee}")
        + change("users", one.payee, "role = 'admin'"),
        [of_row(Defect.DEPOSIT, 2, one.payee), of_row(Defect.REQUEST, 2, one.payee)],
    ),
    "a deposit into a system account": lambda one: PlantedDefect(
        "DROP INDEX uq_accounts_system_currency_code;" + change("accounts", one.payer_account, "is_system = true"),
        [of_row(Defect.DEPOSIT, 1, 1)],
    ),
}
