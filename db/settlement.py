"""Movements of money: how a deposit or a transfer becomes one row of the ledger, once for its idempotency key.

Invariants, each held by the database or by the order of the steps in `settle`:

- `accounts.balance` is the sum of what came in less what went out, because row and balances are written by one
  statement.
- The key, its outcome and the ledger row are of one transaction. The key is claimed first: a second request with the
  same key waits at its unique index until the first has committed, and is then given the first one's outcome, be it
  a refusal.
- Account rows are locked in the order of their ids, everywhere, so that two transfers never wait for each other.
"""

import decimal
import hashlib
import uuid
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

import orjson
from asyncpg import Record
from sqlalchemy import (
    BigInteger,
    LargeBinary,
    Text,
    Uuid,
    any_,
    bindparam,
    case,
    insert,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from db.accounts import Account
from db.errors import Refusal
from db.money import BALANCE_MINOR_MAX, SYSTEM_BALANCE_MINOR_MIN, AmountError, to_minor
from db.pages import Columns
from db.statements import KEYS_ARRAY, Reader, Statement
from db.transactions import MEMO_LENGTH_MAX, IdempotencyKey, Transaction, project, transaction_by_key
from db.users import VIEWER_ID, User
from db.viewer import Audience, Viewer

# The default context would round to 28 digits, and take two different amounts for the same.
_EXACT = decimal.Context(prec=decimal.MAX_PREC, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX, traps=[])


@dataclass(frozen=True, slots=True)
class Movement:
    """A movement of money as it was asked for; a `from_id` of None is a deposit, from the system account."""

    from_id: int | None
    to_id: int
    amount: Decimal
    memo: str | None
    key: uuid.UUID

    @property
    def operation(self) -> str:
        """The mutation's name."""
        return "deposit" if self.from_id is None else "transfer"

    @property
    def to_field(self) -> str:
        """What the mutation's input calls the receiving account."""
        return "accountId" if self.from_id is None else "toAccountId"

    def request_hash(self) -> bytes:
        """Return a digest of everything asked for but the key; 12.5 and 12.50 ask for the same."""
        amount = str(self.amount.normalize(_EXACT))
        return hashlib.sha256(orjson.dumps([self.operation, self.from_id, self.to_id, amount, self.memo])).digest()


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a movement: a row of the ledger, or a refusal that is kept under the key.

    Attributes:
        replayed: whether the key had been settled before, and this is its first outcome again.
    """

    row: Record | None
    refusal: Refusal | None
    replayed: bool


async def settle(transaction: Reader, viewer: Viewer, columns: Columns, movement: Movement) -> Settlement:
    """Make `movement` once for its key, however often it is asked for.

    A refusal that was decided under the key is returned, not raised, because it is to be committed with the key.

    Raises:
        Refusal: IDEMPOTENCY_KEY_REUSED where the key stands for another movement; INVALID_MEMO; a deposit by
            anyone but an administrator is ACCOUNT_NOT_FOUND. The key is left as it was.
    """
    if movement.from_id is None and not viewer.is_admin:
        raise Refusal("ACCOUNT_NOT_FOUND", ("accountId",), "no such account")
    if movement.memo is not None and len(movement.memo) > MEMO_LENGTH_MAX:
        raise Refusal("INVALID_MEMO", ("memo",), f"a memo has at most {MEMO_LENGTH_MAX} characters")
    claim = {
        "viewer_id": viewer.user_id,
        "key": movement.key,
        "operation": movement.operation,
        "request_hash": movement.request_hash(),
    }
    claimed = await transaction.fetch(_CLAIM_KEY, claim)
    if not claimed:
        return await _replay(transaction, viewer, columns, movement)
    key_id: int = claimed[0]["id"]
    try:
        return Settlement(await _move(transaction, viewer, columns, movement, key_id), None, replayed=False)
    except Refusal as refusal:
        kept = {"code": refusal.code, "field": "".join(refusal.field[:1]), "message": refusal.message}
        await transaction.fetch(_KEEP_REFUSAL, {"id": key_id, **kept})
        return Settlement(None, refusal, replayed=False)


_KEY_OF_VIEWER = (IdempotencyKey.owner_id == VIEWER_ID, IdempotencyKey.key == bindparam("key", type_=Uuid))
_CLAIM_KEY = Statement(
    upsert(IdempotencyKey)
    .values(
        owner_id=VIEWER_ID,
        key=bindparam("key", type_=Uuid),
        operation=bindparam("operation", type_=Text),
        request_hash=bindparam("request_hash", type_=LargeBinary),
    )
    .on_conflict_do_nothing(index_elements=[IdempotencyKey.owner_id, IdempotencyKey.key])
    .returning(IdempotencyKey.id)
)
_KEEP_REFUSAL = Statement(
    update(IdempotencyKey)
    .where(IdempotencyKey.id == bindparam("id", type_=BigInteger))
    .values(
        refusal_code=bindparam("code", type_=Text),
        refusal_field=bindparam("field", type_=Text),
        refusal_message=bindparam("message", type_=Text),
    )
)
_CLAIMED_KEY = Statement(
    select(
        IdempotencyKey.request_hash,
        IdempotencyKey.refusal_code,
        IdempotencyKey.refusal_field,
        IdempotencyKey.refusal_message,
    ).where(*_KEY_OF_VIEWER)
)


async def _replay(transaction: Reader, viewer: Viewer, columns: Columns, movement: Movement) -> Settlement:
    # A statement of its own: it sees what the request that we waited for has committed meanwhile.
    first = (await transaction.fetch(_CLAIMED_KEY, {"viewer_id": viewer.user_id, "key": movement.key}))[0]
    if first["request_hash"] != movement.request_hash():
        raise Refusal(
            "IDEMPOTENCY_KEY_REUSED",
            ("idempotencyKey",),
            "this key was given to another movement; make a new key for each intended movement",
        )
    if first["refusal_code"] is not None:
        field = (first["refusal_field"],) if first["refusal_field"] else ()
        return Settlement(None, Refusal(first["refusal_code"], field, first["refusal_message"]), replayed=True)
    return Settlement(await transaction_by_key(transaction, viewer, columns, movement.key), None, replayed=True)


async def _move(transaction: Reader, viewer: Viewer, columns: Columns, movement: Movement, key_id: int) -> Record:
    from_id = movement.from_id
    if from_id is None:
        from_id = await _system_account_for(transaction, movement.to_id)
    ids = {"ids": [from_id, movement.to_id], "to_id": movement.to_id, "viewer_id": viewer.user_id}
    rows = await transaction.fetch(_lock_accounts(viewer.audience), ids)
    locked = {row["id"]: row for row in rows}
    amount = _decide(viewer, movement, locked.get(from_id), locked.get(movement.to_id))
    values = {
        "from_id": from_id,
        "to_id": movement.to_id,
        "amount": amount,
        "memo": movement.memo,
        "key_id": key_id,
    }
    return (await transaction.fetch(_post_to_ledger(columns), values))[0]


def _decide(viewer: Viewer, movement: Movement, source: Record | None, target: Record | None) -> int:
    """Return the amount in minor units that may move between the two locked accounts, or raise the refusal."""
    to_field = movement.to_field
    if source is None or not (viewer.is_admin or source["owner_id"] == viewer.user_id):
        raise Refusal("ACCOUNT_NOT_FOUND", ("fromAccountId",), "no such account")
    if target is None:
        raise Refusal("ACCOUNT_NOT_FOUND", (to_field,), "no such account")
    if source["id"] == target["id"]:
        raise Refusal("SAME_ACCOUNT", (to_field,), "money moves between two accounts, and this is one")
    currency = source["currency_code"]
    if currency != target["currency_code"]:
        message = f"one account is in {currency}, the other in {target['currency_code']}"
        raise Refusal("CURRENCY_MISMATCH", (to_field,), message)
    try:
        amount = to_minor(movement.amount, currency)
    except AmountError as error:
        raise Refusal("INVALID_AMOUNT", ("amount",), str(error)) from error
    if not source["is_system"] and source["balance"] < amount:
        raise Refusal("INSUFFICIENT_FUNDS", ("amount",), "the account holds less than this amount")
    if target["balance"] + amount > BALANCE_MINOR_MAX or source["balance"] - amount < SYSTEM_BALANCE_MINOR_MIN:
        raise Refusal("BALANCE_LIMIT_EXCEEDED", ("amount",), "the receiving account would hold more than it may")
    return amount


@lru_cache
def _lock_accounts(audience: Audience) -> Statement:
    # Somebody else's account is not even waited for as the source: that would tell that there is one.
    usable = or_(Account.id == bindparam("to_id", type_=BigInteger), Account.owner_id == VIEWER_ID)
    return Statement(
        select(Account.id, Account.owner_id, Account.currency_code, Account.balance, Account.is_system)
        .where(
            Account.id == any_(KEYS_ARRAY),
            *(() if audience is Audience.ADMIN else (usable,)),
        )
        .order_by(Account.id)
        # NO KEY UPDATE: the ledger's foreign keys are checked beside it, other movements wait.
        .with_for_update(key_share=True)
    )


@lru_cache
def _post_to_ledger(columns: Columns) -> Statement:
    """Move the amount and write the ledger row in one statement, so that there is no moment between the two."""
    source, target = bindparam("from_id", type_=BigInteger), bindparam("to_id", type_=BigInteger)
    amount = bindparam("amount", type_=BigInteger)
    moved = (
        update(Account)
        .where(or_(Account.id == source, Account.id == target))
        .values(balance=case((Account.id == source, Account.balance - amount), else_=Account.balance + amount))
        .returning(Account.id)
        .cte("moved")
    )
    row = insert(Transaction).values(
        from_id=source,
        to_id=target,
        amount=amount,
        memo=bindparam("memo", type_=Text),
        key_id=bindparam("key_id", type_=BigInteger),
    )
    return Statement(row.returning(*project(columns, Audience.ADMIN)).add_cte(moved))


async def _system_account_for(transaction: Reader, account_id: int) -> int:
    """Return the system account of the currency that the account `account_id` has, made where there is none yet."""
    target = await transaction.fetch(_CURRENCY_OF, {"id": account_id})
    if not target:
        raise Refusal("ACCOUNT_NOT_FOUND", ("accountId",), "no such account")
    values = {"currency_code": target[0]["currency_code"]}
    found = await transaction.fetch(_SYSTEM_ACCOUNT, values)
    if not found:
        # Two first deposits in a currency: the slower one inserts nothing, and finds the faster one's account.
        await transaction.fetch(_OPEN_SYSTEM_ACCOUNT, values)
        found = await transaction.fetch(_SYSTEM_ACCOUNT, values)
    account: int = found[0]["id"]
    return account


_CURRENCY_CODE = bindparam("currency_code", type_=Text)
_CURRENCY_OF = Statement(
    select(Account.currency_code).where(Account.id == bindparam("id", type_=BigInteger), ~Account.is_system)
)
_SYSTEM_ACCOUNT = Statement(select(Account.id).where(Account.is_system, Account.currency_code == _CURRENCY_CODE))
_OPEN_SYSTEM_ACCOUNT = Statement(
    upsert(Account)
    .from_select(
        ["owner_id", "currency_code", "is_system"],
        select(User.id, _CURRENCY_CODE, true()).where(User.role == "system"),
    )
    .on_conflict_do_nothing(index_elements=[Account.currency_code], index_where=Account.is_system.expression)
)
