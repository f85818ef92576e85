"""The ledger: transactions and the idempotency keys that they are made under. What moves money is in `db.settlement`.

A row takes `amount` from one account and gives it to another, so the ledger balances by construction. Nobody changes
or deletes a row: the application's own role has no right to.
"""

import datetime
import uuid
from collections.abc import Sequence
from typing import Any

from asyncpg import Record
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    LargeBinary,
    UniqueConstraint,
    Uuid,
    any_,
    bindparam,
    exists,
    literal_column,
    or_,
    select,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.accounts import Account
from db.cursors import Kind, Order, Term
from db.keyset_lists import KeysetList
from db.model import Model, created_at_column, identity_column
from db.pages import Columns
from db.statement_cache import statements
from db.statements import KEYS_ARRAY, Reader, RowsByKey, Statement
from db.users import VIEWER_ID
from db.viewer import Audience, Viewer

MEMO_LENGTH_MAX = 500


class IdempotencyKey(Model):
    """A key that one user has given to one intended movement of money, with what was asked and what came of it.

    It outlives its owner, so that there is no foreign key: a key is spent for ever, and ids are never given again.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        UniqueConstraint("owner_id", "key"),
        CheckConstraint("operation IN ('transfer', 'deposit')", name="operation_known"),
    )

    id: Mapped[int] = identity_column()
    owner_id: Mapped[int]
    key: Mapped[uuid.UUID]
    operation: Mapped[str]
    request_hash: Mapped[bytes] = mapped_column(LargeBinary)
    # Of all transfers of a list of which all are made or none: then the key stands for its transfer within this list.
    list_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    # All three null where the movement was made: its transaction refers to this row.
    refusal_code: Mapped[str | None]
    refusal_field: Mapped[str | None]
    refusal_message: Mapped[str | None]
    # Random, of the request that has claimed it, which knows its own claim by it when the answer is lost. Null where it
    # was claimed before there was this column.
    claim_id: Mapped[uuid.UUID | None]
    created_at: Mapped[datetime.datetime] = created_at_column()


class Transaction(Model):
    """One immutable row of the ledger; `amount` is in minor units of the currency that both accounts have."""

    __tablename__ = "transactions"
    __table_args__ = (
        # What an account's statement adds up stands in the index: a sum over years reads no row.
        Index("ix_transactions_from_id_id_covering", "from_id", "id", postgresql_include=["amount", "created_at"]),
        Index("ix_transactions_to_id_id_covering", "to_id", "id", postgresql_include=["amount", "created_at"]),
        UniqueConstraint("key_id"),
        CheckConstraint("amount > 0", name="amount_positive"),
        CheckConstraint("from_id <> to_id", name="two_accounts"),
        CheckConstraint(f"char_length(memo) <= {MEMO_LENGTH_MAX}", name="memo_length"),
    )

    id: Mapped[int] = identity_column()
    from_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="RESTRICT"))
    to_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="RESTRICT"))
    amount: Mapped[int]
    memo: Mapped[str | None]
    key_id: Mapped[int | None] = mapped_column(ForeignKey("idempotency_keys.id", ondelete="RESTRICT"))
    created_at: Mapped[datetime.datetime] = created_at_column()

    from_account: Mapped[Account] = relationship(foreign_keys=[from_id], lazy="raise")
    to_account: Mapped[Account] = relationship(foreign_keys=[to_id], lazy="raise")


# ---------------------------------------------------------------- reads

# By id, not by created_at: an id is drawn while both accounts are locked, so that the ids of one account's
# transactions rise in the order in which they changed its balance.
ID = Term("id", Transaction.id, Kind.INTEGER)
TRANSACTIONS_ORDER = Order("transactions", [(ID, True)])

_FROM = Account.__table__.alias("from_account")
_COLUMNS: dict[str, ColumnElement[Any]] = {
    "id": Transaction.id.expression,
    "from_id": Transaction.from_id.expression,
    "to_id": Transaction.to_id.expression,
    "amount": Transaction.amount.expression,
    "memo": Transaction.memo.expression,
    "created_at": Transaction.created_at.expression,
    # By its name, not as the mapped column, which would put the table into the subquery's own FROM under RETURNING.
    "currency_code": select(_FROM.c.currency_code)
    .where(_FROM.c.id == literal_column("transactions.from_id", BigInteger))
    .scalar_subquery(),
}


def project(columns: Columns, audience: Audience, prefix: str = "") -> Sequence[ColumnElement[Any]]:
    """Return a select's or RETURNING's columns of a transaction, each labelled with `prefix` and its name."""
    return [_COLUMNS[name].label(prefix + name) for name in columns]


def _owned(account_id: Any) -> ColumnElement[bool]:
    account = Account.__table__.alias("owned_account")
    return exists().where(account.c.id == account_id, account.c.owner_id == VIEWER_ID)


def _visible(audience: Audience) -> Sequence[ColumnElement[bool]]:
    if audience is Audience.ADMIN:
        return ()
    return (or_(_owned(Transaction.from_id), _owned(Transaction.to_id)),)


TRANSACTIONS = KeysetList(
    edge="transactions_by_account",
    project=project,
    visible=lambda _: (),
    conditions={},
    parent_columns=(Transaction.from_id, Transaction.to_id),
    parent_visible=lambda audience, account_id: () if audience is Audience.ADMIN else (_owned(account_id),),
)


def transactions_by_ids(reader: Reader, viewer: Viewer, columns: Columns, ids: Sequence[int]) -> RowsByKey:
    """Return the transactions `ids` that the viewer may see, by id."""
    return reader.keyed(_transactions_by_ids(columns, viewer.audience), {"viewer_id": viewer.user_id}, ids, "id")


@statements
def _transactions_by_ids(columns: Columns, audience: Audience) -> Statement:
    ids = any_(KEYS_ARRAY)
    return Statement(select(*project(columns, audience)).where(Transaction.id == ids, *_visible(audience)))


async def transaction_by_key(reader: Reader, viewer: Viewer, columns: Columns, key: uuid.UUID) -> Record | None:
    """Return what was made under a key of the viewer's own, or None: refused, never asked, or somebody else's."""
    rows = await reader.fetch(_transaction_by_key(columns), {"key": key, "viewer_id": viewer.user_id})
    return rows[0] if rows else None


@statements
def _transaction_by_key(columns: Columns) -> Statement:
    return Statement(
        select(*project(columns, Audience.ADMIN))
        .join(IdempotencyKey, Transaction.key_id == IdempotencyKey.id)
        .where(IdempotencyKey.owner_id == VIEWER_ID, IdempotencyKey.key == bindparam("key", type_=Uuid))
    )
