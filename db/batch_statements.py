"""The statements of `db.transfer_batches`: as those of a single movement, for any number of them.

What differs from transfer to transfer comes as arrays, one for each column.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Double,
    FromClause,
    LargeBinary,
    Text,
    Uuid,
    any_,
    bindparam,
    cast,
    column,
    extract,
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

from db.accounts import Account
from db.errors import Refusal
from db.pages import Columns
from db.statement_cache import statements
from db.statements import Statement
from db.transactions import IdempotencyKey, Transaction, project
from db.users import VIEWER_ID
from db.viewer import Audience


def _given(name: str, **columns: tuple[str, type[TypeEngine[Any]]]) -> FromClause:
    """Return rows whose columns are the arrays of some parameters, with the column `place`, which counts them.

    Args:
        name: of the table that they make.
        columns: by the name of each, its parameter and the type of an item.
    """
    arrays = [bindparam(parameter, type_=ARRAY(type_)) for parameter, type_ in columns.values()]
    shape = [column(own, type_) for own, (_, type_) in columns.items()]
    return func.unnest(*arrays).table_valued(*shape, with_ordinality="place", name=name).render_derived(name=name)


# ---------------------------------------------------------------- accounts


@statements
def lock_all_accounts(audience: Audience) -> Statement:
    """Lock accounts in the order of their ids, as far as the viewer may use them, and return them.

    `receives` says of each whether money arrives there: then anybody may use it.
    """
    given = _given("given", id=("ids", BigInteger), receives=("receives", Boolean))
    usable = () if audience is Audience.ADMIN else (or_(given.c.receives, Account.owner_id == VIEWER_ID),)
    return Statement(
        select(Account.id, Account.owner_id, Account.currency_code, Account.balance, Account.is_system)
        .join(given, given.c.id == Account.id)
        .where(*usable)
        .order_by(Account.id)
        .with_for_update(key_share=True, of=Account)
    )


# ---------------------------------------------------------------- keys

_NEW_KEY = _given("new_key", key=("keys", Uuid), request_hash=("request_hashes", LargeBinary))
CLAIM_KEYS = Statement(
    upsert(IdempotencyKey)
    .from_select(
        ["owner_id", "key", "operation", "request_hash"],
        # In one order, so that two batches with the same keys do not wait for each other.
        select(
            cast(VIEWER_ID, BigInteger), _NEW_KEY.c.key, literal("transfer", Text), _NEW_KEY.c.request_hash
        ).order_by(_NEW_KEY.c.key),
    )
    .on_conflict_do_nothing(index_elements=[IdempotencyKey.owner_id, IdempotencyKey.key])
    .returning(IdempotencyKey.id, IdempotencyKey.key)
)
CLAIMED_KEYS = Statement(
    select(
        IdempotencyKey.key,
        IdempotencyKey.request_hash,
        IdempotencyKey.refusal_code,
        IdempotencyKey.refusal_field,
        IdempotencyKey.refusal_message,
        # How long ago it was claimed, in seconds.
        cast(extract("epoch", func.clock_timestamp() - IdempotencyKey.created_at), Double).label("age_s"),
    ).where(IdempotencyKey.owner_id == VIEWER_ID, IdempotencyKey.key == any_(bindparam("keys", type_=ARRAY(Uuid))))
)
_REFUSED = _given(
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


def refusals_kept(refusals: Mapping[int, Refusal]) -> dict[str, object]:
    """Return the values with which KEEP_REFUSALS keeps refusals under the keys with these row ids."""
    return {
        "ids": list(refusals),
        "codes": [one.code for one in refusals.values()],
        "fields": ["".join(one.field[:1]) for one in refusals.values()],
        "messages": [one.message for one in refusals.values()],
    }


# ---------------------------------------------------------------- the ledger


@statements
def post_all_to_ledger(columns: Columns) -> Statement:
    """Move amounts and write the rows of the ledger in one statement, so that there is no moment between the two.

    The rows are written in the order of the arrays, in which their ids rise, and returned with `key_id`.
    """
    change = _given("change", id=("account_ids", BigInteger), amount=("changes", BigInteger))
    moved = (
        update(Account)
        .where(Account.id == change.c.id)
        .values(balance=Account.balance + change.c.amount)
        .returning(Account.id)
        .cte("moved")
    )
    entry = _given(
        "entry",
        from_id=("from_ids", BigInteger),
        to_id=("to_ids", BigInteger),
        amount=("amounts", BigInteger),
        memo=("memos", Text),
        key_id=("key_ids", BigInteger),
    )
    names = ["from_id", "to_id", "amount", "memo", "key_id"]
    rows = insert(Transaction).from_select(names, select(*[entry.c[name] for name in names]).order_by(entry.c.place))
    return Statement(rows.returning(*project(columns, Audience.ADMIN), Transaction.key_id).add_cte(moved))
