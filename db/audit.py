"""The proof that the money is right: every balance against the ledger, in one snapshot, while the system runs.

Three things must hold, and each is looked at for every row: an account's balance is the sum of what came in less what
went out; both ends of a transaction hold the same currency; only a system account is below zero. That the
balances of a currency add up to zero follows from the first, for every transaction gives what it takes.
"""

from dataclasses import dataclass

from sqlalchemy import text

from db.connections.database import Database
from db.statements import Statement

FINDINGS_MAX = 100

_SIZES = Statement(
    text("SELECT (SELECT count(*) FROM accounts) AS accounts, (SELECT count(*) FROM transactions) AS transactions")
)
# Summed by end first: one pass over the ledger for each end, and no join of its rows with the accounts.
_WRONG_BALANCES = Statement(
    text(
        """
        SELECT accounts.id, accounts.currency_code, accounts.balance,
               coalesce(received.total, 0) - coalesce(sent.total, 0) AS ledger
          FROM accounts
          LEFT JOIN (SELECT to_id, sum(amount) AS total FROM transactions GROUP BY to_id) AS received
                 ON received.to_id = accounts.id
          LEFT JOIN (SELECT from_id, sum(amount) AS total FROM transactions GROUP BY from_id) AS sent
                 ON sent.from_id = accounts.id
         WHERE accounts.balance <> coalesce(received.total, 0) - coalesce(sent.total, 0)
         ORDER BY accounts.id
        """
    )
)
_MIXED_CURRENCIES = Statement(
    text(
        """
        SELECT transactions.id
          FROM transactions
          JOIN accounts AS source ON source.id = transactions.from_id
          JOIN accounts AS target ON target.id = transactions.to_id
         WHERE source.currency_code <> target.currency_code
         ORDER BY transactions.id
        """
    )
)
_OVERDRAWN = Statement(text("SELECT id FROM accounts WHERE balance < 0 AND NOT is_system ORDER BY id"))


@dataclass(frozen=True, slots=True)
class WrongBalance:
    """An account whose balance is not what the ledger says, both in minor units."""

    account_id: int
    currency_code: str
    balance: int
    ledger: int


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit looked at, and everything that it found to be wrong."""

    accounts: int
    transactions: int
    wrong_balances: list[WrongBalance]
    mixed_currencies: list[int]
    overdrawn: list[int]

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.wrong_balances or self.mixed_currencies or self.overdrawn)


async def audit(database: Database) -> AuditReport:
    """Check every account and transaction as of one instant; nobody waits for it.

    Raises:
        Unavailable: the database cannot be reached.
    """
    async with database.read() as snapshot:
        # The limit of a request is none for a ledger of many millions of rows.
        await snapshot.driver.execute("SET LOCAL statement_timeout = 0")
        sizes = (await snapshot.fetch(_SIZES, {}))[0]
        wrong = [
            WrongBalance(row["id"], row["currency_code"], row["balance"], int(row["ledger"]))
            for row in await snapshot.fetch(_WRONG_BALANCES, {})
        ]
        mixed = [row["id"] for row in await snapshot.fetch(_MIXED_CURRENCIES, {})]
        overdrawn = [row["id"] for row in await snapshot.fetch(_OVERDRAWN, {})]
    return AuditReport(sizes["accounts"], sizes["transactions"], wrong, mixed, overdrawn)
