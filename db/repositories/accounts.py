"""Money accounts: reads, then the only write. `db.ledger.settlement` moves money.

Invariants: a balance leaves the database only for the account's owner and for administrators (the CASE in `_project`).
Accounts of other users are found only as the other account of a transaction that the viewer may see. Only a system
account, one for each currency, may be below zero; the database checks that.
"""

from collections.abc import Sequence
from typing import Any

from asyncpg import Record
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    SQLColumnExpression,
    Text,
    any_,
    bindparam,
    case,
    false,
    func,
    insert,
    null,
    select,
)

from db.access import AccessLevel, Viewer
from db.connections.statements import KEYS_ARRAY, Reader, RowsByKey, Statement, by_column
from db.errors import Refusal, SignedOut
from db.models.money import Account
from db.models.users import User
from db.money import minor_unit_exponent
from db.query.cursors import Order, Term, TermKind
from db.query.keyset_lists import KeysetList
from db.query.pages import Columns
from db.query.statement_cache import statements
from db.repositories.users import VIEWER_ID

# ---------------------------------------------------------------- reads

ID = Term("id", Account.id, TermKind.INTEGER)
ACCOUNTS_ORDER = Order("accounts", [(ID, False)])

_PUBLIC = {
    "id": Account.id,
    "owner_id": Account.owner_id,
    "currency_code": Account.currency_code,
    "created_at": Account.created_at,
}


def _project(columns: Columns, access_level: AccessLevel) -> Sequence[ColumnElement[Any]]:
    balance: SQLColumnExpression[Any] = {
        AccessLevel.PUBLIC: null(),
        AccessLevel.MEMBER: case((Account.owner_id == VIEWER_ID, Account.balance)),
        AccessLevel.ADMIN: Account.balance,
    }[access_level]
    return [(balance if name == "balance" else _PUBLIC[name]).label(name) for name in columns]


def balance_visible(access_level: AccessLevel) -> Sequence[ColumnElement[bool]]:
    """Return the conditions under which an access level sees an account and its balance."""
    if access_level is AccessLevel.ADMIN:
        return ()
    return (Account.owner_id == VIEWER_ID,) if access_level is AccessLevel.MEMBER else (false(),)


ACCOUNTS = KeysetList(
    edge="accounts_by_owner",
    table=Account.__table__,
    project=_project,
    visible=balance_visible,
    conditions={},
    parent_columns=(Account.owner_id,),
)


accounts_by_ids = ACCOUNTS.by_ids
"""Returns the accounts that the viewer may see, by id."""


def counterparties_by_ids(reader: Reader, viewer: Viewer, columns: Columns, ids: Sequence[int]) -> RowsByKey:
    """Return the accounts `ids` by id. The caller must have the ids from transactions that the viewer may see.

    A viewer of a transaction may see both of its accounts, but not the balance of another user's account.
    """
    return reader.mapped_rows(
        _counterparties_by_ids(columns, viewer.access_level), {"viewer_id": viewer.user_id}, by_column("id"), ids
    )


@statements
def _counterparties_by_ids(columns: Columns, access_level: AccessLevel) -> Statement:
    return Statement(select(*_project(columns, access_level)).where(Account.id == any_(KEYS_ARRAY)))


# ---------------------------------------------------------------- writes

_LOCK_OWNER = Statement(
    select(User.id)
    .where(User.id == bindparam("owner_id", type_=BigInteger), User.is_active)
    .with_for_update(key_share=True)
)
_COUNT_OWNED = Statement(
    select(func.count()).select_from(Account).where(Account.owner_id == bindparam("owner_id", type_=BigInteger))
)


async def open_account(
    transaction: Reader, viewer: Viewer, columns: Columns, currency_code: str, *, accounts_max: int
) -> Record:
    """Open an empty account for the viewer and return its row.

    Raises:
        Refusal: UNKNOWN_CURRENCY or TOO_MANY_ACCOUNTS.
        SignedOut: the viewer is no longer an active user.
    """
    if minor_unit_exponent(currency_code) is None:
        message = f"the currency {currency_code} is not in ISO 4217, or has no minor unit; use a code such as EUR"
        raise Refusal("UNKNOWN_CURRENCY", ("currencyCode",), message)
    # The owner's row is locked, so that simultaneous requests count one after the other.
    if not await transaction.fetch(_LOCK_OWNER, {"owner_id": viewer.user_id}):
        raise SignedOut
    owned = (await transaction.fetch(_COUNT_OWNED, {"owner_id": viewer.user_id}))[0][0]
    if owned >= accounts_max:
        raise Refusal("TOO_MANY_ACCOUNTS", (), f"a user opens at most {accounts_max} accounts")
    values = {"owner_id": viewer.user_id, "viewer_id": viewer.user_id, "currency_code": currency_code}
    return (await transaction.fetch(_insert_account(columns, viewer.access_level), values))[0]


@statements
def _insert_account(columns: Columns, access_level: AccessLevel) -> Statement:
    row = insert(Account).values(
        owner_id=bindparam("owner_id", type_=BigInteger), currency_code=bindparam("currency_code", type_=Text)
    )
    return Statement(row.returning(*_project(columns, access_level)))
