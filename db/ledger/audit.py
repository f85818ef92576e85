"""The audit: is the money right? Every balance against the ledger, and every row of the ledger, as of one snapshot.

What is looked at, and what a difference is, stands in `db.ledger.audit_statements`:

- each account: its balance is what came in less what went out; only a system account is below zero; no balance is
  beyond the limits;
- each transaction: both its accounts are there, are two, and hold one currency; its amount is above zero; its key is
  there, and belongs to the owner of the source account or to an administrator; accounts, amount and memo are those
  that were asked for under the key, by its digest of them;
- each idempotency key: exactly one transaction or a refusal came of it;
- each currency: all its balances add up to zero.

How it works: all statements run in one read-only snapshot, so that movements that are made meanwhile are seen either as
a whole or not at all, nobody waits for the audit, and a replica can be audited. The rows of a table are looked at in
batches of `BATCH_ROWS`, in the order of their ids; accounts first, then transactions, then keys.

Why it is bounded: a statement returns the wrong rows of its batch alone, and the report keeps the first
`DIFFERENCES_MAX` of them and counts the others. The database finds what belongs to a batch by indexes, and needs no
temporary file. So memory and disk do not grow with the tables; the time does, by as much as they have rows. What does
grow is what VACUUM has to leave on a primary until the snapshot ends.

An audit since a transaction looks at the transactions from that one on, at the accounts that these touch, each with its
whole balance, and at the keys from the first one of these transactions on. An account is looked at in the batch in
which it is touched first, so that nobody has to remember which accounts are done. Sums of currencies need all accounts,
and are left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from asyncpg import Record

from db.connections.database import Database, Snapshot
from db.connections.faults import BUSY
from db.connections.statements import Statement
from db.errors import Unavailable
from db.ledger import audit_statements as statements
from db.ledger.audit_statements import UNDECIDED, Check, Defect

__all__ = [
    "BATCH_ROWS",
    "DIFFERENCES_MAX",
    "AuditReport",
    "Defect",
    "Difference",
    "UnknownTransactionError",
    "audit",
]

BATCH_ROWS = 5000
DIFFERENCES_MAX = 100

AuditProgress = Callable[[str, int, int | None], None]


class UnknownTransactionError(LookupError):
    """The transaction from which on is to be audited is not in the ledger.

    Attributes:
        asked: its id.
        last: the id of the last transaction that is there; None where there is none.
    """

    def __init__(self, asked: int, last: int | None) -> None:
        super().__init__(f"there is no transaction {asked}")
        self.asked = asked
        self.last = last


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is wrong.

    Attributes:
        defect: what is wrong.
        id: of the row of `accounts`, `transactions` or `idempotency_keys`; None where it is about a currency.
        currency_code: of the account, of the source account, or which currency it is.
        kept: the balance, or the sum of all balances, in minor units.
        ledger: what the balance is by the ledger, in minor units.
        key: the idempotency key.
        key_owner: the id of the user to whom the key belongs.
    """

    defect: Defect
    id: int | None = None
    currency_code: str | None = None
    kept: int | None = None
    ledger: int | None = None
    key: str | None = None
    key_owner: int | None = None


@dataclass(slots=True)
class AuditReport:
    """What an audit looked at, and what it found to be wrong.

    Attributes:
        since: the id of the transaction from which on was looked; None where all was.
        last: the id of the last transaction that was there; None where there was none.
        next_since: where the next audit may begin: whatever this one could not see has a higher id. None where that is
            not known, because others write and the ledger is too young.
        accounts: how many were looked at.
        transactions: how many were looked at.
        keys: how many idempotency keys were looked at.
        undecided: how many transactions were made by the right of an administrator under the key of a user who is
            none, but may have been one: they were changed or deleted since.
        differences: the first ones, at most `DIFFERENCES_MAX`.
        differences_count: how many there are.
    """

    since: int | None = None
    last: int | None = None
    next_since: int | None = None
    accounts: int = 0
    transactions: int = 0
    keys: int = 0
    undecided: int = 0
    differences: list[Difference] = field(default_factory=list)
    differences_count: int = 0

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return self.differences_count == 0

    def add(self, difference: Difference) -> None:
        """Count a difference, and keep it if it is among the first."""
        self.differences_count += 1
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(difference)


async def audit(
    database: Database,
    since: int | None = None,
    progress: AuditProgress = lambda _table, _done, _total: None,
    *,
    batch_rows: int = BATCH_ROWS,
) -> AuditReport:
    """Compare balances and ledger as of one instant; nobody waits for it.

    Args:
        database: what to audit. Its limit of a statement's time holds for each batch.
        since: look at what happened from the transaction with this id on; None: at everything.
        progress: called with a table's name, how many of its rows are done, and how many there are.
        batch_rows: how many rows are looked at by one statement.

    Raises:
        UnknownTransactionError: there is no transaction `since`.
        Unavailable: the database cannot be reached, or went away.
    """
    try:
        async with database.read(("accounts", "transactions", "idempotency_keys", "users")) as snapshot:
            await snapshot.driver.execute(statements.BY_INDEX)
            run = _Audit(snapshot, progress, batch_rows)
            await (run.all() if since is None else run.since(since))
            return run.report
    except Unavailable as error:
        # To what only reads PostgreSQL says this on a replica alone.
        if not error.reason.startswith("SerializationError"):
            raise
        raise Unavailable(
            BUSY,
            "the replica has taken over the removal of rows that the audit has still to read; "
            "set hot_standby_feedback = on or raise max_standby_streaming_delay there, or audit the primary",
            reason=error.reason,
        ) from None


class _Audit:
    """One audit while it runs."""

    def __init__(self, snapshot: Snapshot, progress: AuditProgress, batch_rows: int) -> None:
        self._snapshot = snapshot
        self._progress = progress
        self._batch_rows = batch_rows
        self.report = AuditReport()

    async def all(self) -> None:
        """Look at every row."""
        report = self.report
        await self._look_around()
        report.accounts = await self._look_through(statements.ACCOUNTS)
        report.transactions = await self._look_through(statements.TRANSACTIONS)
        report.keys = await self._look_through(statements.KEYS)
        for row in await self._snapshot.fetch(statements.UNEVEN_SUMS, {}):
            report.add(Difference(Defect.SUM, currency_code=row["currency_code"], kept=int(row["kept"])))

    async def since(self, since: int) -> None:
        """Look at the transactions from `since` on, and at what belongs to them."""
        report = self.report
        await self._look_around()
        if await self._value(statements.FIND_TRANSACTION, id=since) is None:
            raise UnknownTransactionError(since, report.last)
        report.since = since
        first_key: int | None = None

        async def look_at_accounts(after: int, batch: Record) -> None:
            nonlocal first_key
            first_key = min(filter(None, (first_key, batch["first_key"])), default=None)
            values = {"since": since, "after": after, "last": batch["last"]}
            report.accounts += await self._value(statements.COUNT_TOUCHED_ACCOUNTS, **values)
            await self._look_at(statements.TOUCHED_ACCOUNTS, values)

        report.transactions = await self._look_through(statements.TRANSACTIONS, since - 1, look_at_accounts)
        if first_key is not None:
            report.keys = await self._look_through(statements.KEYS, first_key - 1)

    async def _look_around(self) -> None:
        self.report.last = await self._value(statements.LAST_TRANSACTION)
        self.report.next_since = await self._value(statements.LAST_SETTLED)

    async def _look_through(
        self, check: Check, after: int = 0, also: Callable[[int, Record], Any] | None = None
    ) -> int:
        """Look at the rows of a table with ids above `after`, and return how many there are.

        Args:
            check: what to look at.
            after: an id.
            also: is called before a batch is looked at, with the last id before it and its row of `NEXT_BATCH`.
        """
        total = await self._value(statements.COUNT_FROM[check.table], after=after)
        done = 0
        self._progress(check.table, done, total)
        while True:
            values: dict[str, object] = {"after": after, "rows_max": self._batch_rows}
            [batch] = await self._snapshot.fetch(statements.NEXT_BATCH[check.table], values)
            if batch["last"] is None:
                return done
            if also is not None:
                await also(after, batch)
            await self._look_at(check, {"after": after, "last": batch["last"]})
            after, done = batch["last"], done + batch["rows"]
            self._progress(check.table, done, total)

    async def _look_at(self, check: Check, values: dict[str, int]) -> None:
        for row in await self._snapshot.fetch(check.wrong_rows, values):
            self.report.undecided += row.get(UNDECIDED) is True
            for defect in check.defects:
                if row[defect.value]:
                    self.report.add(_difference(defect, row))

    async def _value(self, statement: Statement, **values: object) -> Any:
        """Return the one value of a statement, None where it returns no row."""
        rows: Sequence[Record] = await self._snapshot.fetch(statement, values)
        return rows[0][0] if rows else None


def _difference(defect: Defect, row: Record) -> Difference:
    ledger = row.get("ledger")
    return Difference(
        defect,
        row["id"],
        currency_code=row.get("currency_code"),
        kept=row.get("kept"),
        ledger=None if ledger is None else int(ledger),
        key=row.get("key"),
        key_owner=row.get("key_owner"),
    )
