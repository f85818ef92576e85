"""The tables of money: accounts, the ledger of transactions, and the idempotency keys of both.

A transaction takes `amount` from one account and gives it to another, so the ledger balances by construction. The
role of the application has no right to change or delete a row of the ledger.
"""

import datetime
import uuid

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.fields import checks_of
from db.models.base import Model, created_at_column, identity_column
from db.models.users import User
from db.money import BALANCE_MINOR_MAX, SYSTEM_BALANCE_MINOR_MIN


class Account(Model):
    """Money of one currency that belongs to one user. Only transactions change `balance`, which is in minor units."""

    __tablename__ = "accounts"
    __table_args__ = (
        Index("ix_accounts_owner_id_id", "owner_id", "id"),
        Index("uq_accounts_system_currency_code", "currency_code", unique=True, postgresql_where=text("is_system")),
        CheckConstraint("currency_code ~ '^[A-Z]{3}$'", name="currency_code_three_letters"),
        CheckConstraint("balance >= 0 OR is_system", name="balance_not_negative"),
        CheckConstraint(
            f"balance BETWEEN {SYSTEM_BALANCE_MINOR_MIN} AND {BALANCE_MINOR_MAX}", name="balance_within_limit"
        ),
    )

    id: Mapped[int] = identity_column()
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"))
    currency_code: Mapped[str] = mapped_column(Text(collation="C"))
    balance: Mapped[int] = mapped_column(server_default=text("0"))
    is_system: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime.datetime] = created_at_column()

    owner: Mapped[User] = relationship(back_populates="accounts", lazy="raise")


class IdempotencyKey(Model):
    """A key that one user has chosen for one intended movement of money, with a digest of the request and its outcome.

    It outlives its owner, so that there is no foreign key: a key stays used, and ids are never assigned again.
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
    # A digest of the whole list, if all of its transfers are made or none. The key then stands for its transfer within
    # this list. Otherwise null.
    list_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    # All three are null if the movement was made. Its transaction refers to this row.
    refusal_code: Mapped[str | None]
    refusal_field: Mapped[str | None]
    refusal_message: Mapped[str | None]
    # A random id of the request that has claimed the key, by which that request recognises its own claim after a lost
    # answer. Null if the key was claimed before this column existed.
    claim_id: Mapped[uuid.UUID | None]
    created_at: Mapped[datetime.datetime] = created_at_column()


class Transaction(Model):
    """One immutable row of the ledger; `amount` is in minor units of the currency that both accounts have."""

    __tablename__ = "transactions"
    __table_args__ = (
        # The index includes the columns that an account's statement adds up: a sum over years reads no row.
        Index("ix_transactions_from_id_id_covering", "from_id", "id", postgresql_include=["amount", "created_at"]),
        Index("ix_transactions_to_id_id_covering", "to_id", "id", postgresql_include=["amount", "created_at"]),
        UniqueConstraint("key_id"),
        CheckConstraint("amount > 0", name="amount_positive"),
        CheckConstraint("from_id <> to_id", name="two_accounts"),
        *checks_of("transactions"),
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
