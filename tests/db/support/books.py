"""Accounts with entries of any amount at any time, for tests of the statements that add them up."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from db.connections.database import Database
from db.connections.leases import Driver

START = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
COLUMNS = ("id", "amount", "balance_after", "currency_code")
ACCOUNTS = 3


def day(number: int) -> datetime.datetime:
    return START + datetime.timedelta(days=number)


class Entry(NamedTuple):
    id: int
    from_id: int
    to_id: int
    amount: int
    created_at: datetime.datetime


@dataclass(frozen=True)
class Books:
    """An administrator's view of some accounts in euros; the last one is the system account, whose balance is negative.

    Attributes:
        superuser: may write entries of any time, and remove them.
    """

    database: Database
    superuser: Driver
    accounts: Sequence[int]

    async def create_entries(self, movements: Sequence[tuple[int, int, int, int]]) -> list[Entry]:
        """Replace the ledger by `movements` (from, to, amount, day; accounts by number), and return its entries."""
        await self.superuser.execute("DELETE FROM transactions")
        rows = [
            (self.accounts[source], self.accounts[target], amount, day(number))
            for source, target, amount, number in movements
        ]
        columns = ["from_id", "to_id", "amount", "created_at"]
        await self.superuser.copy_records_to_table("transactions", columns=columns, records=rows)
        ids = await self.superuser.fetch("SELECT id FROM transactions ORDER BY id")
        return [Entry(row["id"], *movement) for row, movement in zip(ids, rows, strict=True)]
