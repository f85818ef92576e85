"""The audit: compares every balance with the ledger, and checks every row of the ledger, in one snapshot.

The rows that are checked, and the defects, are defined in `db.ledger.audit_statements`:

- each account: its balance is the sum of its incoming amounts less its outgoing amounts; only a system account is below
  zero; no balance is beyond the limits;
- each transaction: both its accounts exist, are different, and have one currency; its amount is above zero; its key
  exists, and belongs to the owner of the source account or to an administrator; accounts, amount and memo match the
  digest of the request that is stored under the key;
- each idempotency key: it has exactly one outcome, a transaction or a refusal;
- each currency: all its balances add up to zero.

How it works: all statements run in one read-only snapshot. A concurrent movement is therefore seen completely or not at
all, the audit blocks no other client, and a replica can be audited. The rows of a table are checked in batches of
`BATCH_ROWS`, in the order of their ids: accounts first, then transactions, then keys.

Why it is bounded: a statement returns only the wrong rows of its batch. The report keeps the first `DIFFERENCES_MAX` of
them and counts the others. The database finds the rows that belong to a batch by indexes, and needs no temporary file.
So memory and disk do not grow with the tables; only the time does, in proportion to their rows. VACUUM on a primary
cannot remove dead rows until the snapshot ends, so these grow too.

An audit since a transaction checks the transactions from that one on, the accounts that these touch, each with its
whole balance, and the keys from the first key of these transactions on. An account is checked in the batch that touches
it first, so that no list of checked accounts is needed. Sums of currencies need all accounts and are left out.
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
    """The transaction from which the audit should start is not in the ledger.

    Attributes:
        last: the id of the last transaction in the ledger; None if it is empty.
    """

    def __init__(self, requested: int, last: int | None) -> None:
        super().__init__(f"there is no transaction {requested}")
        self.requested = requested
        self.last = last


@dataclass(frozen=True, slots=True)
class Difference:
    """One defect of one row or currency.

    Attributes:
        id: the id of the row in `accounts`, `transactions` or `idempotency_keys`; None for a defect of a currency.
        currency_code: the currency of the account, of the source account, or of the sum.
        stored: the stored balance, or the sum of all balances, in minor units.
        ledger: the balance according to the ledger, in minor units.
        key_owner: the id of the user that owns the key.
    """

    defect: Defect
    id: int | None = None
    currency_code: str | None = None
    stored: int | None = None
    ledger: int | None = None
    key: str | None = None
    key_owner: int | None = None


@dataclass(slots=True)
class AuditReport:
    """The rows that an audit has checked, and the differences that it found.

    Attributes:
        since: the id of the transaction from which the audit started; None if it checked all.
        last: the id of the last transaction in the snapshot; None if there was none.
        next_since: the transaction from which the next audit may start: every transaction that this audit could not see
            has a higher id. None if that is unknown, because other clients write and the ledger is too young.
        undecided: the number of transactions that needed an administrator's right, whose key belongs to a user that is
            not an administrator now but may have been one: the user was changed or deleted since.
        differences: the first differences, at most `DIFFERENCES_MAX`.
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
        """Whether the audit found no difference."""
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
    """Compare balances and ledger as of one instant, without blocking other clients.

    Args:
        database: the database to audit. Its statement timeout applies to each batch.
        since: the id of the transaction from which to start; None checks everything.
        progress: called with the name of a table, the number of its rows that are checked, and their total number.
        batch_rows: the number of rows that one statement checks.

    Raises:
        UnknownTransactionError: there is no transaction `since`.
        Unavailable: the database cannot be reached, or the connection was lost.
    """
    try:
        async with database.read(("accounts", "transactions", "idempotency_keys", "users")) as snapshot:
            await snapshot.driver.execute(statements.BY_INDEX)
            run = _Audit(snapshot, progress, batch_rows)
            await (run.all() if since is None else run.since(since))
            return run.report
    except Unavailable as error:
        # In a read-only transaction PostgreSQL raises this only on a replica.
        if not error.reason.startswith("SerializationError"):
            raise
        raise Unavailable(
            BUSY,
            "the replica has replayed the removal of rows that the audit must still read; "
            "set hot_standby_feedback = on or raise max_standby_streaming_delay on it, or audit the primary",
            reason=error.reason,
        ) from None


class _Audit:
    """The state of one audit while it runs."""

    def __init__(self, snapshot: Snapshot, progress: AuditProgress, batch_rows: int) -> None:
        self._snapshot = snapshot
        self._progress = progress
        self._batch_rows = batch_rows
        self.report = AuditReport()

    async def all(self) -> None:
        """Check every row."""
        report = self.report
        await self._read_bounds()
        report.accounts = await self._check_table(statements.ACCOUNTS)
        report.transactions = await self._check_table(statements.TRANSACTIONS)
        report.keys = await self._check_table(statements.KEYS)
        for row in await self._snapshot.fetch(statements.UNEVEN_SUMS, {}):
            report.add(Difference(Defect.SUM, currency_code=row["currency_code"], stored=int(row["stored"])))

    async def since(self, since: int) -> None:
        """Check the transactions from `since` on, and the accounts and keys that belong to them."""
        report = self.report
        await self._read_bounds()
        if await self._value(statements.FIND_TRANSACTION, id=since) is None:
            raise UnknownTransactionError(since, report.last)
        report.since = since
        first_key: int | None = None

        async def check_touched_accounts(after: int, batch: Record) -> None:
            nonlocal first_key
            first_key = min(filter(None, (first_key, batch["first_key"])), default=None)
            values = {"since": since, "after": after, "last": batch["last"]}
            report.accounts += await self._value(statements.COUNT_TOUCHED_ACCOUNTS, **values)
            await self._check_batch(statements.TOUCHED_ACCOUNTS, values)

        report.transactions = await self._check_table(statements.TRANSACTIONS, since - 1, check_touched_accounts)
        if first_key is not None:
            report.keys = await self._check_table(statements.KEYS, first_key - 1)

    async def _read_bounds(self) -> None:
        self.report.last = await self._value(statements.LAST_TRANSACTION)
        self.report.next_since = await self._value(statements.LAST_SETTLED)

    async def _check_table(self, check: Check, after: int = 0, also: Callable[[int, Record], Any] | None = None) -> int:
        """Check the rows of a table whose ids are above `after`, and return their number.

        `also` is called before each batch is checked, with the last id before the batch and the row of `NEXT_BATCH`.
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
            await self._check_batch(check, {"after": after, "last": batch["last"]})
            after, done = batch["last"], done + batch["rows"]
            self._progress(check.table, done, total)

    async def _check_batch(self, check: Check, values: dict[str, int]) -> None:
        for row in await self._snapshot.fetch(check.wrong_rows, values):
            self.report.undecided += row.get(UNDECIDED) is True
            for defect in check.defects:
                if row[defect.value]:
                    self.report.add(_difference(defect, row))

    async def _value(self, statement: Statement, **values: object) -> Any:
        """Return the single value of a statement's result, or None if it returns no row."""
        rows: Sequence[Record] = await self._snapshot.fetch(statement, values)
        return rows[0][0] if rows else None


def _difference(defect: Defect, row: Record) -> Difference:
    ledger = row.get("ledger")
    return Difference(
        defect,
        row["id"],
        currency_code=row.get("currency_code"),
        stored=row.get("stored"),
        ledger=None if ledger is None else int(ledger),
        key=row.get("key"),
        key_owner=row.get("key_owner"),
    )
