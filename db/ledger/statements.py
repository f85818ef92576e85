"""The statements of the ledger: `db.ledger.settlement` uses them to lock accounts, claim keys and move money."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    LargeBinary,
    Select,
    Text,
    Update,
    Uuid,
    any_,
    bindparam,
    case,
    insert,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from db.access import AccessLevel
from db.connections.statements import KEYS_ARRAY, Statement
from db.models.money import Account, IdempotencyKey, Transaction
from db.models.users import User
from db.money import BALANCE_MINOR_MAX, SYSTEM_BALANCE_MINOR_MIN, currencies_by_exponent
from db.query.pages import Columns
from db.query.statement_cache import statements
from db.repositories.transactions import project
from db.repositories.users import VIEWER_ID

# ---------------------------------------------------------------- keys

_KEY_OF_VIEWER = (IdempotencyKey.owner_id == VIEWER_ID, IdempotencyKey.key == bindparam("key", type_=Uuid))
_KEY_COLUMNS = {
    "key": bindparam("key", type_=Uuid),
    "operation": bindparam("operation", type_=Text),
    "request_hash": bindparam("request_hash", type_=LargeBinary),
    "claim_id": bindparam("claim_id", type_=Uuid),
}
CLAIM_KEY = Statement(
    upsert(IdempotencyKey)
    .values(owner_id=VIEWER_ID, **_KEY_COLUMNS)
    .on_conflict_do_nothing(index_elements=[IdempotencyKey.owner_id, IdempotencyKey.key])
    .returning(IdempotencyKey.id)
)
KEEP_REFUSAL = Statement(
    update(IdempotencyKey)
    .where(IdempotencyKey.id == bindparam("id", type_=BigInteger))
    .values(
        refusal_code=bindparam("code", type_=Text),
        refusal_field=bindparam("field", type_=Text),
        refusal_message=bindparam("message", type_=Text),
    )
)
KEY_OUTCOME = (
    IdempotencyKey.request_hash,
    IdempotencyKey.list_hash,
    IdempotencyKey.refusal_code,
    IdempotencyKey.refusal_field,
    IdempotencyKey.refusal_message,
    IdempotencyKey.claim_id,
)
"""The digests that a key stands for, its outcome (the refusal, if it was refused), and the claim that used it first."""

CLAIMED_KEY = Statement(select(*KEY_OUTCOME).where(*_KEY_OF_VIEWER))


# ---------------------------------------------------------------- accounts


@statements
def lock_accounts(access_level: AccessLevel) -> Statement:
    """Lock the accounts among `ids` that the viewer may use, in the order of their ids, and return them."""
    return Statement(_locked_accounts(access_level))


def _locked_accounts(access_level: AccessLevel) -> Select[int, int, str, int, bool]:
    # A source account of another user is not locked: a wait for it would reveal that it exists.
    usable = or_(Account.id == bindparam("to_id", type_=BigInteger), Account.owner_id == VIEWER_ID)
    return (
        select(Account.id, Account.owner_id, Account.currency_code, Account.balance, Account.is_system)
        .where(
            Account.id == any_(KEYS_ARRAY),
            *(() if access_level is AccessLevel.ADMIN else (usable,)),
        )
        .order_by(Account.id)
        # FOR NO KEY UPDATE: foreign key checks of the ledger can run concurrently, other movements wait.
        .with_for_update(key_share=True)
    )


def _move(amount: ColumnElement[int]) -> Update:
    """Return the statement that subtracts `amount` from the source account and adds it to the target account."""
    source, target = bindparam("from_id", type_=BigInteger), bindparam("to_id", type_=BigInteger)
    balance = case((Account.id == source, Account.balance - amount), else_=Account.balance + amount)
    return update(Account).where(or_(Account.id == source, Account.id == target)).values(balance=balance)


_CURRENCY_CODE = bindparam("currency_code", type_=Text)
CURRENCY_OF = Statement(
    select(Account.currency_code).where(Account.id == bindparam("id", type_=BigInteger), ~Account.is_system)
)
SYSTEM_ACCOUNT = Statement(select(Account.id).where(Account.is_system, Account.currency_code == _CURRENCY_CODE))
OPEN_SYSTEM_ACCOUNT = Statement(
    upsert(Account)
    .from_select(
        ["owner_id", "currency_code", "is_system"],
        select(User.id, _CURRENCY_CODE, true()).where(User.role == "system"),
    )
    .on_conflict_do_nothing(index_elements=[Account.currency_code], index_where=Account.is_system.expression)
)


# ---------------------------------------------------------------- the ledger


@statements
def post_to_ledger(columns: Columns) -> Statement:
    """Change the balances and write the ledger row in one statement, so that no other client sees only one of them."""
    source, target = bindparam("from_id", type_=BigInteger), bindparam("to_id", type_=BigInteger)
    amount = bindparam("amount", type_=BigInteger)
    moved = _move(amount).returning(Account.id).cte("moved")
    row = insert(Transaction).values(
        from_id=source,
        to_id=target,
        amount=amount,
        memo=bindparam("memo", type_=Text),
        key_id=bindparam("key_id", type_=BigInteger),
    )
    return Statement(row.returning(*project(columns, AccessLevel.ADMIN)).add_cte(moved))


EXPONENT_MAX = max(currencies_by_exponent())
FINEST_CURRENCY = currencies_by_exponent()[EXPONENT_MAX][0]
# Small enough that no sum in the statement exceeds a bigint, and larger than any realistic amount.
UNITS_MAX = 10**17


@statements
def transfer(columns: Columns, access_level: AccessLevel) -> Statement:
    """Make a transfer that meets all conditions and return its row; otherwise change nothing and return no row.

    The conditions are the same as in `db.ledger.settlement.decide`, on rows that the same statement locks. `decide`
    checks them in an order, and reports which one is not met. The amount is passed as `units` of the finest currency,
    because only the statement reads the currency of the accounts. `step` is the number of these units in one unit of
    the amount's last digit.
    """
    source_id, target_id = bindparam("from_id", type_=BigInteger), bindparam("to_id", type_=BigInteger)
    locked = _locked_accounts(access_level).add_columns(_finest_units_per_unit().label("size")).cte("locked")
    source, target = locked.alias("source"), locked.alias("target")
    amount = bindparam("units", type_=BigInteger) // source.c.size
    decided = (
        select(amount.label("amount"))
        .where(
            source.c.id == source_id,
            target.c.id == target_id,
            source.c.id != target.c.id,
            *(() if access_level is AccessLevel.ADMIN else (source.c.owner_id == VIEWER_ID,)),
            source.c.currency_code == target.c.currency_code,
            bindparam("step", type_=BigInteger) >= source.c.size,
            or_(source.c.is_system, source.c.balance >= amount),
            target.c.balance + amount <= BALANCE_MINOR_MAX,
            source.c.balance - amount >= SYSTEM_BALANCE_MINOR_MIN,
        )
        .cte("decided")
    )
    key = {"owner_id": VIEWER_ID, **_KEY_COLUMNS}
    claimed = (
        upsert(IdempotencyKey)
        .from_select(list(key), select(*key.values()).select_from(decided))
        .on_conflict_do_nothing(index_elements=[IdempotencyKey.owner_id, IdempotencyKey.key])
        .returning(IdempotencyKey.id)
        .cte("claimed")
    )
    moved = _move(decided.c.amount).where(claimed.c.id.is_not(None)).returning(Account.id).cte("moved")
    row = {
        "from_id": source_id,
        "to_id": target_id,
        "amount": decided.c.amount,
        "memo": bindparam("memo", type_=Text),
        "key_id": claimed.c.id,
    }
    inserted = insert(Transaction).from_select(list(row), select(*row.values()))
    return Statement(inserted.returning(*project(columns, AccessLevel.ADMIN)).add_cte(moved))


def _finest_units_per_unit() -> ColumnElement[int]:
    """Return how many units of the finest currency are in one minor unit of the currency of an account."""
    by_exponent = dict(currencies_by_exponent())
    most = max(by_exponent, key=lambda exponent: len(by_exponent[exponent]))
    del by_exponent[most]
    cases = [
        # Constants in the SQL text, because they are the same for every transfer.
        (
            Account.currency_code == any_(_text_array(codes)),
            literal_column(str(10 ** (EXPONENT_MAX - exponent)), Integer),
        )
        for exponent, codes in by_exponent.items()
    ]
    return case(*cases, else_=literal_column(str(10 ** (EXPONENT_MAX - most)), Integer))


def _text_array(codes: Sequence[str]) -> ColumnElement[Any]:
    return literal_column(f"'{{{','.join(codes)}}}'::text[]", ARRAY(Text))
