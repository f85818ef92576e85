"""Rows for tests, created through the functions that the application uses."""

import itertools
import uuid
from decimal import Decimal

from db.access import Viewer
from db.connections.database import Database, OpenTransaction
from db.ledger.settlement import Movement, Settlement, settle
from db.repositories.accounts import open_account
from db.repositories.users import NewUser, create_users

ADMIN = Viewer(user_id=1, is_admin=True)
SETTLED = ("id", "from_id", "to_id", "amount", "memo", "currency_code")

_numbers = itertools.count(1)


async def new_users(database: Database, count: int = 1, *, role: str = "member") -> list[int]:
    """Return the ids of `count` new users."""
    names = [f"user{next(_numbers)}" for _ in range(count)]
    users = [NewUser(f"{name}@example.org", name, "a hash", role=role) for name in names]
    rows = await database.write(lambda transaction: create_users(transaction, ADMIN, (), users))
    return [row["id"] for row in rows]


async def new_user(database: Database, *, role: str = "member") -> Viewer:
    """Return a new user as a viewer."""
    [user_id] = await new_users(database, role=role)
    return Viewer(user_id=user_id, is_admin=role == "admin")


async def new_account(database: Database, owner: Viewer, currency_code: str = "EUR", *, holding: str = "0") -> int:
    """Return the id of a new account of `owner` with a deposit of `holding`."""

    async def work(transaction: OpenTransaction) -> int:
        row = await open_account(transaction, owner, ("id",), currency_code, accounts_max=1000)
        account_id: int = row["id"]
        return account_id

    account_id = await database.write(work)
    if Decimal(holding):
        settlement = await move(database, ADMIN, deposit(account_id, holding))
        assert settlement.refusal is None
    return account_id


def deposit(to_id: int, amount: str, *, memo: str | None = None, key: uuid.UUID | None = None) -> Movement:
    """Return a deposit, under a key of its own unless `key` is given."""
    return Movement(None, to_id, Decimal(amount), memo, key or uuid.uuid4())


def transfer(
    from_id: int, to_id: int, amount: str, *, memo: str | None = None, key: uuid.UUID | None = None
) -> Movement:
    """Return a transfer, under a key of its own unless `key` is given."""
    return Movement(from_id, to_id, Decimal(amount), memo, key or uuid.uuid4())


async def move(database: Database, viewer: Viewer, movement: Movement) -> Settlement:
    """Settle `movement`."""
    return await settle(database, viewer, SETTLED, movement)
