"""The statements of `db.ledger.batches`: like those of a single movement, for any number of movements.

The values that differ between transfers are passed as arrays, one for each column.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    FromClause,
    LargeBinary,
    Text,
    Uuid,
    and_,
    bindparam,
    column,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.types import TypeEngine

from db.access import AccessLevel
from db.connections.statements import Statement
from db.errors import Refusal
from db.ledger.statements import KEY_OUTCOME
from db.models.money import Account, IdempotencyKey, Transaction
from db.query.pages import Columns
from db.query.statement_cache import statements
from db.repositories.transactions import project


def _array_table(name: str, **columns: tuple[str, type[TypeEngine[Any]]]) -> FromClause:
    """Return a table whose columns are array parameters, with the column `place`, which numbers the rows.

    `columns` are the parameter and the item type of each column, by its name.
    """
    arrays = [bindparam(parameter, type_=ARRAY(type_)) for parameter, type_ in columns.values()]
    shape = [column(own, type_) for own, (_, type_) in columns.items()]
    return func.unnest(*arrays).table_valued(*shape, with_ordinality="place", name=name).render_derived(name=name)


# ---------------------------------------------------------------- accounts


_LOCKED = _array_table("locked", id=("ids", BigInteger), owner_id=("owner_ids", BigInteger))
LOCK_ACCOUNTS = Statement(
    select(Account.id, Account.owner_id, Account.currency_code, Account.balance, Account.is_system)
    .join(_LOCKED, _LOCKED.c.id == Account.id)
    # A source account of another user is not locked, so that the statement does not even wait for it.
    .where(or_(_LOCKED.c.owner_id.is_(None), _LOCKED.c.owner_id == Account.owner_id))
    .order_by(Account.id)
    # FOR NO KEY UPDATE: foreign key checks of the ledger can run concurrently, other movements wait.
    .with_for_update(key_share=True, of=Account)
)
"""Locks accounts in the order of their ids, and returns them. With an `owner_id`, only an account of that owner."""


# ---------------------------------------------------------------- keys

_NEW = _array_table(
    "new",
    owner_id=("owner_ids", BigInteger),
    key=("keys", Uuid),
    request_hash=("request_hashes", LargeBinary),
    list_hash=("list_hashes", LargeBinary),
    claim_id=("claim_ids", Uuid),
)
CLAIM_KEYS = Statement(
    upsert(IdempotencyKey)
    .from_select(
        ["owner_id", "key", "operation", "request_hash", "list_hash", "claim_id"],
        # Always in one order, so that two batches with the same keys do not wait for each other.
        select(
            _NEW.c.owner_id,
            _NEW.c.key,
            literal("transfer", Text),
            _NEW.c.request_hash,
            _NEW.c.list_hash,
            _NEW.c.claim_id,
        ).order_by(_NEW.c.owner_id, _NEW.c.key),
    )
    .on_conflict_do_nothing(index_elements=[IdempotencyKey.owner_id, IdempotencyKey.key])
    .returning(IdempotencyKey.id, IdempotencyKey.owner_id, IdempotencyKey.key)
)


@statements
def claimed_keys(columns: Columns) -> Statement:
    """Return the outcomes of claimed keys: the refusal, or the row of the ledger."""
    requested = _array_table("requested", owner_id=("owner_ids", BigInteger), key=("keys", Uuid))
    return Statement(
        select(
            IdempotencyKey.owner_id,
            IdempotencyKey.key,
            *KEY_OUTCOME,
            *project(columns, AccessLevel.ADMIN),
        )
        .join(requested, and_(requested.c.owner_id == IdempotencyKey.owner_id, requested.c.key == IdempotencyKey.key))
        .outerjoin(Transaction, Transaction.key_id == IdempotencyKey.id)
    )


_REFUSED = _array_table(
    "refused",
    id=("ids", BigInteger),
    code=("codes", Text),
    field=("fields", Text),
    message=("messages", Text),
)
KEEP_REFUSALS = Statement(
    update(IdempotencyKey)
    .where(IdempotencyKey.id == _REFUSED.c.id)
    .values(
        refusal_code=_REFUSED.c.code,
        refusal_field=_REFUSED.c.field,
        refusal_message=_REFUSED.c.message,
    )
)


def stored_refusals(refusals: Mapping[int, Refusal]) -> dict[str, object]:
    """Return the values with which KEEP_REFUSALS stores refusals under the keys with these row ids."""
    return {
        "ids": list(refusals),
        "codes": [one.code for one in refusals.values()],
        "fields": ["".join(one.field[:1]) for one in refusals.values()],
        "messages": [one.message for one in refusals.values()],
    }


# ---------------------------------------------------------------- the ledger


@statements
def post_all_to_ledger(columns: Columns) -> Statement:
    """Change the balances and write the rows of the ledger in one statement, so that both happen at one moment.

    The rows are written in the order of the arrays, so that their ids ascend, and are returned with `key_id`.
    """
    change = _array_table("change", id=("account_ids", BigInteger), amount=("changes", BigInteger))
    moved = (
        update(Account)
        .where(Account.id == change.c.id)
        .values(balance=Account.balance + change.c.amount)
        .returning(Account.id)
        .cte("moved")
    )
    entry = _array_table(
        "entry",
        from_id=("from_ids", BigInteger),
        to_id=("to_ids", BigInteger),
        amount=("amounts", BigInteger),
        memo=("memos", Text),
        key_id=("key_ids", BigInteger),
    )
    names = ["from_id", "to_id", "amount", "memo", "key_id"]
    rows = insert(Transaction).from_select(names, select(*[entry.c[name] for name in names]).order_by(entry.c.place))
    return Statement(rows.returning(*project(columns, AccessLevel.ADMIN), Transaction.key_id).add_cte(moved))
