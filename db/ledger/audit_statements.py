"""The statements of an audit: they select the next batch of rows, and the rows of a batch that have defects.

Each statement checks the rows of one batch. It finds them and the rows that belong to them by indexes, row by row
(`BY_INDEX`). It sorts and hashes no more than the ids of its batch, so that its memory does not grow with the tables,
and PostgreSQL writes no temporary file. That is slower than one pass over whole tables if these fit into memory, and
not slower if they do not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from sqlalchemy import text

from db.connections.statements import Statement
from db.money import BALANCE_MINOR_MAX, SYSTEM_BALANCE_MINOR_MIN, currencies_by_exponent

# The planner considers a single execution. It prefers to hash all accounts for a batch of some thousand transactions,
# once for each batch. Only the plan by index is fast for all sizes, with any statistics or without any.
BY_INDEX = """
SET LOCAL enable_seqscan = off;
SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off;
SET LOCAL enable_memoize = off;
SET LOCAL max_parallel_workers_per_gather = 0
"""

# How long after its start a request may still change the ledger. All deadlines and timeouts are far below it.
REQUEST_LIFE_MAX = "interval '1 hour'"


class Defect(Enum):
    """A defect of one row, or of the sum of one currency."""

    BALANCE = "balance"
    OVERDRAWN = "overdrawn"
    BEYOND_LIMITS = "beyond_limits"
    NO_ACCOUNT = "no_account"
    CURRENCIES = "currencies"
    AMOUNT = "amount"
    ONE_ACCOUNT = "one_account"
    NO_KEY = "no_key"
    DEPOSIT = "deposit"
    FOREIGN_KEY = "foreign_key"
    REQUEST = "request"
    NO_OUTCOME = "no_outcome"
    TWO_OUTCOMES = "two_outcomes"
    TWO_TRANSACTIONS = "two_transactions"
    SUM = "sum"


UNDECIDED = "undecided"
"""The column for transactions of which it is unknown whether the owner of their key had the right to make them."""


@dataclass(frozen=True, slots=True)
class Check:
    """The check of the rows of one table.

    Attributes:
        defects: the possible defects; each is a column of `wrong_rows` that is true if the row has the defect.
        wrong_rows: selects the rows of a batch that have at least one defect, in the order of their ids.
    """

    table: str
    defects: tuple[Defect, ...]
    wrong_rows: Statement


def _check(table: str, rows: str, columns: str, defects: Mapping[Defect, str], remarks: Mapping[str, str]) -> Check:
    """Return a check.

    `rows` is the query of a batch, and `columns` are those of its columns that describe a wrong row.
    """
    conditions = {**{defect.value: condition for defect, condition in defects.items()}, **remarks}
    named = ", ".join(f"{condition} AS {name}" for name, condition in conditions.items())
    # OFFSET 0: otherwise PostgreSQL would inline the sums of `rows` into each condition and compute them repeatedly.
    return Check(
        table,
        tuple(defects),
        Statement(
            text(
                f"SELECT {columns}, {named} FROM ({rows} OFFSET 0) AS checked"  # noqa: S608 - constants of this file
                f" WHERE {' OR '.join(conditions.values())} ORDER BY id"
            )
        ),
    )


# ---------------------------------------------------------------- accounts

# A separate subquery for each account: the sums are index scans, and only one account is in memory at a time.
_ACCOUNTS = """
SELECT accounts.id, currency_code, is_system, balance AS stored,
       (SELECT coalesce(sum(amount), 0) FROM transactions WHERE to_id = accounts.id)
       - (SELECT coalesce(sum(amount), 0) FROM transactions WHERE from_id = accounts.id) AS ledger
  FROM accounts
 WHERE {which}
"""
_IN_BATCH = "accounts.id > :after AND accounts.id <= :last"
# An account is checked with the batch that holds the first transaction since `:since` that touches it.
_TOUCHED_FIRST = """
accounts.id IN (
    SELECT from_id FROM transactions WHERE id > :after AND id <= :last
    UNION SELECT to_id FROM transactions WHERE id > :after AND id <= :last)
AND NOT EXISTS (SELECT FROM transactions WHERE from_id = accounts.id AND id >= :since AND id <= :after)
AND NOT EXISTS (SELECT FROM transactions WHERE to_id = accounts.id AND id >= :since AND id <= :after)
"""


def _accounts(which: str) -> Check:
    return _check(
        "accounts",
        _ACCOUNTS.format(which=which),
        "id, currency_code, stored, ledger",
        {
            Defect.BALANCE: "stored <> ledger",
            Defect.OVERDRAWN: "(stored < 0 AND NOT is_system)",
            Defect.BEYOND_LIMITS: f"(stored NOT BETWEEN {SYSTEM_BALANCE_MINOR_MIN} AND {BALANCE_MINOR_MAX})",
        },
        {},
    )


ACCOUNTS = _accounts(_IN_BATCH)
TOUCHED_ACCOUNTS = _accounts(_TOUCHED_FIRST)
COUNT_TOUCHED_ACCOUNTS = Statement(
    text(f"SELECT count(*) FROM accounts WHERE {_TOUCHED_FIRST}")  # noqa: S608 - a constant
)


# ---------------------------------------------------------------- transactions


def _exponent(currency_code: str) -> str:
    """Return the SQL for the number of a currency's fraction digits; an unknown code has the most common number."""
    codes = dict(currencies_by_exponent())
    most = max(codes, key=lambda exponent: len(codes[exponent]))
    del codes[most]
    cases = [f"WHEN {currency_code} = ANY ('{{{','.join(codes[one])}}}') THEN {one}" for one in codes]
    return f"CASE {' '.join(cases)} ELSE {most} END"


# The format of `db.ledger.settlement.Movement.request_hash`: without trailing zeros, so that hundreds are 1E+2.
_AMOUNT = f"""
CASE WHEN amount % ('{{{",".join(str(10 ** (exponent + 1)) for exponent in range(5))}}}'::bigint[])[1 + exponent] <> 0
     THEN trim_scale(amount * ('{{1,0.1,0.01,0.001,0.0001}}'::numeric[])[1 + exponent])::text
     ELSE regexp_replace(rtrim(amount::text, '0'), '^(.)(.+)$', '\\1.\\2')
          || 'E+' || (length(amount::text) - 1 - exponent)
END
"""
REQUEST_HASH = f"""
sha256(convert_to(
    '["' || operation || '",' || CASE operation WHEN 'deposit' THEN 'null' ELSE from_id::text END
    || ',' || to_id || ',"' || {_AMOUNT} || '",' || coalesce(to_json(memo)::text, 'null') || ']', 'UTF8'))
"""
"""The digest of the request, for a row of the ledger with its key's `operation` and its currency's `exponent`."""
EXPONENT = _exponent("source.currency_code")
"""The number of fraction digits of the currency of the account `source`."""

# The owner of a key needed the right of an administrator for a deposit, and for a source account of another user. Only
# in these cases is the user looked up: no user has the id NULL.
_BY_RIGHT = "(keys.owner_id <> source.owner_id OR keys.operation = 'deposit')"
_TRANSACTIONS = f"""
SELECT transactions.id, amount, from_id, to_id, key_id, source.currency_code, target.currency_code AS target_currency,
       source.id AS source, target.id AS target, keys.id AS key, keys.owner_id AS key_owner, keys.operation,
       source.is_system AS source_is_system, target.is_system AS target_is_system,
       keys.request_hash, memo, {EXPONENT} AS exponent,
       {_BY_RIGHT} AS by_right, owner.role, owner.updated_at < keys.created_at - {REQUEST_LIFE_MAX} AS unchanged
  FROM transactions
  LEFT JOIN accounts AS source ON source.id = from_id
  LEFT JOIN accounts AS target ON target.id = to_id
  LEFT JOIN idempotency_keys AS keys ON keys.id = key_id
  LEFT JOIN users AS owner ON owner.id = CASE WHEN {_BY_RIGHT} THEN keys.owner_id END
 WHERE transactions.id > :after AND transactions.id <= :last
"""  # noqa: S608 - constants of this file
TRANSACTIONS = _check(
    "transactions",
    _TRANSACTIONS,
    "id, currency_code, key_owner",
    {
        Defect.NO_ACCOUNT: "(source IS NULL OR target IS NULL)",
        Defect.CURRENCIES: "currency_code <> target_currency",
        Defect.AMOUNT: "amount <= 0",
        Defect.ONE_ACCOUNT: "from_id = to_id",
        Defect.NO_KEY: "(key_id IS NOT NULL AND key IS NULL)",
        Defect.DEPOSIT: "(operation = 'deposit' AND (NOT source_is_system OR target_is_system))",
        # A user who is a member, and was not changed since, was a member at the time of the transaction.
        Defect.FOREIGN_KEY: "(by_right AND role = 'member' AND unchanged)",
        # If the amount of a row was changed together with the balances, only this condition detects it.
        Defect.REQUEST: f"(amount > 0 AND request_hash <> {REQUEST_HASH})",
    },
    {UNDECIDED: "(by_right AND (role IS NULL OR role = 'member' AND NOT unchanged))"},
)


# ---------------------------------------------------------------- keys

_KEYS = """
SELECT id, key, owner_id, refusal_code, (SELECT count(*) FROM transactions WHERE key_id = keys.id) AS made
  FROM idempotency_keys AS keys
 WHERE id > :after AND id <= :last
"""
KEYS = _check(
    "idempotency_keys",
    _KEYS,
    "id, key::text AS key, owner_id AS key_owner",
    {
        Defect.NO_OUTCOME: "(made = 0 AND refusal_code IS NULL)",
        Defect.TWO_OUTCOMES: "(made > 0 AND refusal_code IS NOT NULL)",
        Defect.TWO_TRANSACTIONS: "made > 1",
    },
    {},
)


# ---------------------------------------------------------------- batches, and checks of the whole ledger

NEXT_BATCH = {
    table: Statement(
        text(
            f"SELECT max(id) AS last, count(*) AS rows, {first_key} AS first_key"  # noqa: S608 - constants of this file
            f" FROM (SELECT * FROM {table} WHERE id > :after ORDER BY id LIMIT :rows_max) AS batch"
        )
    )
    for table, first_key in {
        "accounts": "NULL::bigint",
        "transactions": "min(key_id)",
        "idempotency_keys": "NULL::bigint",
    }.items()
}
COUNT_FROM = {
    table: Statement(text(f"SELECT count(*) FROM {table} WHERE id > :after"))  # noqa: S608 - constants of this file
    for table in NEXT_BATCH
}
UNEVEN_SUMS = Statement(
    text(
        "SELECT currency_code, sum(balance) AS stored FROM accounts"
        " GROUP BY currency_code HAVING sum(balance) <> 0 ORDER BY currency_code"
    )
)
LAST_TRANSACTION = Statement(text("SELECT id FROM transactions ORDER BY id DESC LIMIT 1"))
FIND_TRANSACTION = Statement(text("SELECT id FROM transactions WHERE id = :id"))
# A transaction receives its id before it commits. It may therefore appear later, below ids that this snapshot shows.
# No such transaction exists if the snapshot shows no writer: a writer locks accounts before it receives an id, and
# has a transaction id by then. Otherwise none can appear below an id that was assigned before the start of every
# request that still runs.
LAST_SETTLED = Statement(
    text(
        f"""
        SELECT CASE WHEN pg_snapshot_xmin(pg_current_snapshot()) = pg_snapshot_xmax(pg_current_snapshot()) THEN
                   (SELECT id FROM transactions ORDER BY id DESC LIMIT 1)
               ELSE
                   (SELECT id FROM transactions
                     WHERE created_at < (SELECT created_at FROM transactions ORDER BY id DESC LIMIT 1)
                                        - {REQUEST_LIFE_MAX}
                     ORDER BY id DESC LIMIT 1)
               END AS id
        """  # noqa: S608 - a constant
    )
)
