"""Transactions: reads by id, by account and by idempotency key. `db.ledger` writes them.

A row moves `amount` from one account to another, so that the ledger always balances. No client changes or deletes a
row: the application's own role has no right to.
"""

import uuid
from collections.abc import Sequence
from typing import Any

from asyncpg import Record
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Uuid,
    any_,
    bindparam,
    exists,
    literal_column,
    or_,
    select,
)

from db.access import AccessLevel, Viewer
from db.connections.statements import KEYS_ARRAY, Reader, RowsByKey, Statement, by_column
from db.models.money import Account, IdempotencyKey, Transaction
from db.query.cursors import Order, Term, TermKind
from db.query.keyset_lists import KeysetList
from db.query.pages import Columns
from db.query.statement_cache import statements
from db.repositories.users import VIEWER_ID

# ---------------------------------------------------------------- reads

# By id, not by created_at: an id is assigned while both accounts are locked, so that the ids of one account's
# transactions ascend in the order in which they changed its balance.
ID = Term("id", Transaction.id, TermKind.INTEGER)
TRANSACTIONS_ORDER = Order("transactions", [(ID, True)])

_FROM = Account.__table__.alias("from_account")
_COLUMNS: dict[str, ColumnElement[Any]] = {
    "id": Transaction.id.expression,
    "from_id": Transaction.from_id.expression,
    "to_id": Transaction.to_id.expression,
    "amount": Transaction.amount.expression,
    "memo": Transaction.memo.expression,
    "created_at": Transaction.created_at.expression,
    # A literal name, because a mapped column would add the table to the FROM of the subquery under RETURNING.
    "currency_code": select(_FROM.c.currency_code)
    .where(_FROM.c.id == literal_column("transactions.from_id", BigInteger))
    .scalar_subquery(),
}


def project(columns: Columns, access_level: AccessLevel, prefix: str = "") -> Sequence[ColumnElement[Any]]:
    """Return the columns of a transaction for a select or RETURNING, each labelled with `prefix` and its name."""
    return [_COLUMNS[name].label(prefix + name) for name in columns]


def _owns(account_id: Any) -> ColumnElement[bool]:
    account = Account.__table__.alias("owned_account")
    return exists().where(account.c.id == account_id, account.c.owner_id == VIEWER_ID)


def _visible(access_level: AccessLevel) -> Sequence[ColumnElement[bool]]:
    if access_level is AccessLevel.ADMIN:
        return ()
    return (or_(_owns(Transaction.from_id), _owns(Transaction.to_id)),)


TRANSACTIONS = KeysetList(
    edge="transactions_by_account",
    table=Transaction.__table__,
    project=project,
    visible=lambda _: (),
    conditions={},
    parent_columns=(Transaction.from_id, Transaction.to_id),
    parent_visible=lambda access_level, account_id: () if access_level is AccessLevel.ADMIN else (_owns(account_id),),
)


def transactions_by_ids(reader: Reader, viewer: Viewer, columns: Columns, ids: Sequence[int]) -> RowsByKey:
    """Return the transactions among `ids` that the viewer may see, by id."""
    return reader.mapped_rows(
        _transactions_by_ids(columns, viewer.access_level), {"viewer_id": viewer.user_id}, by_column("id"), ids
    )


@statements
def _transactions_by_ids(columns: Columns, access_level: AccessLevel) -> Statement:
    ids = any_(KEYS_ARRAY)
    return Statement(select(*project(columns, access_level)).where(Transaction.id == ids, *_visible(access_level)))


async def transaction_by_key(reader: Reader, viewer: Viewer, columns: Columns, key: uuid.UUID) -> Record | None:
    """Return the transaction under a key of the viewer, or None: refused, never used, or the key of another user."""
    rows = await reader.fetch(_transaction_by_key(columns), {"key": key, "viewer_id": viewer.user_id})
    return rows[0] if rows else None


@statements
def _transaction_by_key(columns: Columns) -> Statement:
    return Statement(
        select(*project(columns, AccessLevel.ADMIN))
        .join(IdempotencyKey, Transaction.key_id == IdempotencyKey.id)
        .where(IdempotencyKey.owner_id == VIEWER_ID, IdempotencyKey.key == bindparam("key", type_=Uuid))
    )
