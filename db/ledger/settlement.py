"""Movements of money: a deposit or a transfer becomes one row of the ledger, once for its idempotency key.

Invariants, each held by the database or by the order of the steps in `settle`:

- `accounts.balance` is the sum of the incoming amounts less the outgoing ones, because one statement writes the row and
  the balances.
- The key, its outcome and the ledger row belong to one transaction. The key is claimed before anything is written. A
  second request with the same key waits at the unique index until the first has committed, and then receives the
  outcome of the first, which may be a refusal.
- Account rows are locked in the order of their ids, and always before the key, so that no two movements wait for each
  other.

A transfer that meets all conditions is made by one statement. For any other transfer this statement does nothing. It is
then settled step by step, which makes it after all, or finds the reason for a refusal.
"""

import decimal
import hashlib
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

import orjson
from asyncpg import Record

from db.access import Viewer
from db.connections.statements import Reader, Row, Writer
from db.connections.waiting import TurnKey
from db.errors import Refusal, Unavailable
from db.fields import MEMO
from db.ledger import statements
from db.money import BALANCE_MINOR_MAX, SYSTEM_BALANCE_MINOR_MIN, AmountError, to_minor
from db.query.pages import Columns
from db.repositories.transactions import transaction_by_key

T = TypeVar("T")

REUSED = "IDEMPOTENCY_KEY_REUSED"

# The default context would round to 28 digits, and would treat two different amounts as equal.
_EXACT = decimal.Context(prec=decimal.MAX_PREC, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX, traps=[])


@dataclass(frozen=True, slots=True)
class Movement:
    """A requested movement of money. With a `from_id` of None it is a deposit from the system account.

    Attributes:
        claim_id: identifies the request's own claim of the key in a later attempt, see `with_claim`.
    """

    from_id: int | None
    to_id: int
    amount: Decimal
    memo: str | None
    key: uuid.UUID
    claim_id: uuid.UUID | None = None

    @property
    def operation(self) -> str:
        """The name of the mutation."""
        return "deposit" if self.from_id is None else "transfer"

    @property
    def to_field(self) -> str:
        """The name of the receiving account in the mutation's input."""
        return "accountId" if self.from_id is None else "toAccountId"

    def request_hash(self) -> bytes:
        """Return a digest of the request without its key; 12.5 and 12.50 have the same digest."""
        amount = str(self.amount.normalize(_EXACT))
        return hashlib.sha256(orjson.dumps([self.operation, self.from_id, self.to_id, amount, self.memo])).digest()


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcome of a movement: a row of the ledger, or a refusal that is stored under the key.

    Attributes:
        replayed: whether the key was settled before, so that this is its first outcome again.
    """

    row: Record | None
    refusal: Refusal | None
    replayed: bool


def with_claim(movement: Movement, claim_id: uuid.UUID | None = None) -> Movement:
    """Return `movement` with a claim for all attempts of one request: a new claim, or the claim of its whole list.

    By the claim, a request recognises what its own lost attempt has made, which is not a replay. Times do not show
    this, because clocks jump.
    """
    one = movement
    return Movement(one.from_id, one.to_id, one.amount, one.memo, one.key, claim_id or uuid.uuid4())


async def settle(
    writer: Writer, viewer: Viewer, columns: Columns, movement: Movement, *, is_unknown: bool = False
) -> Settlement:
    """Make `movement` once for its key, however often it is requested.

    A refusal that was decided under the key is returned, not raised, because it is committed with the key. `movement`
    has its claim if there was an attempt before; `is_unknown` is as for `find_outcome`.

    Raises:
        Refusal: IDEMPOTENCY_KEY_REUSED if the key stands for another movement; INVALID_MEMO; ACCOUNT_NOT_FOUND for a
            deposit by a user that is not an administrator. The key is not changed.
        Unavailable: as for `find_outcome`.
    """
    if movement.from_id is None and not viewer.is_admin:
        raise Refusal("ACCOUNT_NOT_FOUND", ("accountId",), "no such account")
    check_memo(movement)
    claim = movement if movement.claim_id is not None else with_claim(movement)
    try:
        async with writer.turn(turns(viewer, claim)):
            return await _settle_claim(writer, viewer, columns, claim, is_unknown=is_unknown)
    except Unavailable as unavailable:
        # Even if the wait for the turn failed, an earlier attempt may have happened.
        if not is_unknown or unavailable.outcome_unknown:
            raise
        raise _outcome_unknown(unavailable) from None


async def _settle_claim(
    writer: Writer, viewer: Viewer, columns: Columns, movement: Movement, *, is_unknown: bool
) -> Settlement:
    """Make `movement`, with one statement if that is possible and was not tried before."""
    values = None if is_unknown else _transfer_values(viewer, movement)
    if values is not None:
        try:
            rows = await writer.autocommit_write(statements.transfer(columns, viewer.access_level), values)
            if rows:
                return Settlement(rows[0], None, replayed=False)
        except Unavailable as unavailable:
            if not unavailable.outcome_unknown:
                raise
            is_unknown = True
    return await find_outcome(
        writer,
        lambda transaction: _settle_by_steps(transaction, viewer, columns, movement),
        is_unknown=is_unknown,
    )


def check_memo(movement: Movement) -> None:
    """Raise the refusal INVALID_MEMO if the memo is too long."""
    if movement.memo is not None and len(movement.memo) > MEMO.length_max:
        raise MEMO.refusal


def turns(viewer: Viewer, movement: Movement) -> list[TurnKey]:
    """Return the turns that a movement takes.

    A wait must not reveal to other users that an account exists, so the turn of the source account includes the viewer.
    The receiving account needs no such protection, because every user may send money there.
    """
    keys: list[TurnKey] = [("account credited", movement.to_id, 0)]
    if movement.from_id is not None:
        keys.append(("account debited", movement.from_id, viewer.user_id or 0))
    return keys


async def find_outcome(writer: Writer, settle_keys: Callable[[Reader], Awaitable[T]], *, is_unknown: bool = False) -> T:
    """Settle keys in one transaction. If the answer to COMMIT is lost, settle them again: the keys show what was made.

    Args:
        writer: commits the transaction.
        settle_keys: makes the requested movements within the transaction that it receives, or finds by their keys what
            an earlier attempt of this request has made.
        is_unknown: whether there was already an attempt whose outcome is unknown.

    Raises:
        Refusal: `settle_keys` raised it.
        Unavailable: nothing was written, unless it says that the outcome is unknown.
    """
    try:
        return await writer.write(settle_keys)
    except Unavailable as unavailable:
        if is_unknown and not unavailable.outcome_unknown:
            raise _outcome_unknown(unavailable) from None
        if is_unknown or not unavailable.outcome_unknown:
            raise
    return await find_outcome(writer, settle_keys, is_unknown=True)


def _outcome_unknown(unavailable: Unavailable) -> Unavailable:
    """Return the error for the client after an earlier attempt may have happened and the last one failed."""
    message = f"{unavailable}; the money may have moved: send it again with the same key"
    return Unavailable(unavailable.code, message, outcome_unknown=True, reason=unavailable.reason)


# ---------------------------------------------------------------- in one statement


def _transfer_values(viewer: Viewer, movement: Movement) -> dict[str, object] | None:
    """Return the parameter values of the statement that makes a transfer, or None if it cannot make this movement."""
    if movement.from_id is None:
        return None
    try:
        units = to_minor(movement.amount, statements.FINEST_CURRENCY)
    except AmountError:
        return None
    if units > statements.UNITS_MAX:
        return None
    scale = movement.amount.as_tuple().exponent
    assert isinstance(scale, int)  # the amount is finite
    return {
        "ids": [movement.from_id, movement.to_id],
        "from_id": movement.from_id,
        "to_id": movement.to_id,
        "units": units,
        "step": 10 ** (statements.EXPONENT_MAX - max(0, -scale)),
        "memo": movement.memo,
        **_claim(viewer, movement),
    }


# ---------------------------------------------------------------- step by step


async def _settle_by_steps(transaction: Reader, viewer: Viewer, columns: Columns, movement: Movement) -> Settlement:
    """Make a movement, or find the reason for its refusal."""
    from_id = movement.from_id
    if from_id is None:
        from_id = await _system_account_for(transaction, movement.to_id)
    ids = {"ids": [from_id, movement.to_id], "to_id": movement.to_id, "viewer_id": viewer.user_id}
    rows = await transaction.fetch(statements.lock_accounts(viewer.access_level), ids)
    locked = {row["id"]: row for row in rows}
    claimed = await transaction.fetch(statements.CLAIM_KEY, _claim(viewer, movement))
    if not claimed:
        return await _replay(transaction, viewer, columns, movement)
    key_id: int = claimed[0]["id"]
    try:
        amount = decide(viewer, movement, locked.get(from_id), locked.get(movement.to_id))
    except Refusal as refusal:
        kept = {"code": refusal.code, "field": "".join(refusal.field[:1]), "message": refusal.message}
        await transaction.fetch(statements.KEEP_REFUSAL, {"id": key_id, **kept})
        return Settlement(None, refusal, replayed=False)
    values = {
        "from_id": from_id,
        "to_id": movement.to_id,
        "amount": amount,
        "memo": movement.memo,
        "key_id": key_id,
    }
    rows = await transaction.fetch(statements.post_to_ledger(columns), values)
    return Settlement(rows[0], None, replayed=False)


def _claim(viewer: Viewer, movement: Movement) -> dict[str, object]:
    """Return the parameter values that claim a key."""
    return {
        "viewer_id": viewer.user_id,
        "key": movement.key,
        "operation": movement.operation,
        "request_hash": movement.request_hash(),
        "claim_id": movement.claim_id,
    }


async def _replay(transaction: Reader, viewer: Viewer, columns: Columns, movement: Movement) -> Settlement:
    # A separate statement: it sees what the request for which this one waited has committed meanwhile.
    first = (await transaction.fetch(statements.CLAIMED_KEY, {"viewer_id": viewer.user_id, "key": movement.key}))[0]
    if first["request_hash"] != movement.request_hash() or first["list_hash"] is not None:
        raise key_reused()
    replayed, refusal = stored_outcome(first, movement)
    if refusal is not None:
        return Settlement(None, refusal, replayed)
    return Settlement(await transaction_by_key(transaction, viewer, columns, movement.key), None, replayed)


def key_reused() -> Refusal:
    """Return the refusal of a key that stands for another movement."""
    return Refusal(
        REUSED,
        ("idempotencyKey",),
        "this key was used for another movement; make a new key for each intended movement",
    )


def stored_outcome(key: Row, movement: Movement) -> tuple[bool, Refusal | None]:
    """Return whether the outcome of a key is a replay for the request of `movement`, and its refusal or None."""
    replayed = movement.claim_id is None or key["claim_id"] != movement.claim_id
    if key["refusal_code"] is None:
        return replayed, None
    field = (key["refusal_field"],) if key["refusal_field"] else ()
    return replayed, Refusal(key["refusal_code"], field, key["refusal_message"])


def decide(viewer: Viewer, movement: Movement, source: Row | None, target: Row | None) -> int:
    """Return the amount in minor units to move between the two locked accounts, or raise the refusal."""
    to_field = movement.to_field
    if source is None or not (viewer.is_admin or source["owner_id"] == viewer.user_id):
        # A deposit lacks its source account only if it lacks its target account.
        raise Refusal(
            "ACCOUNT_NOT_FOUND", (to_field if movement.from_id is None else "fromAccountId",), "no such account"
        )
    if source["id"] == movement.to_id:
        raise Refusal("SAME_ACCOUNT", (to_field,), "money cannot move from an account to itself; name two accounts")
    currency = source["currency_code"]
    try:
        amount = to_minor(movement.amount, currency)
    except AmountError as error:
        raise Refusal("INVALID_AMOUNT", ("amount",), str(error)) from error
    if not source["is_system"] and source["balance"] < amount:
        raise Refusal("INSUFFICIENT_FUNDS", ("amount",), "the balance of the account is less than this amount")
    # The receiving account is checked last. If it belongs to another user, the refusal reveals only whether it accepts
    # this money: a user without the money to send must not learn which accounts exist, and no user must learn the
    # currency of another user's account.
    is_known = target is not None and (viewer.is_admin or target["owner_id"] == viewer.user_id)
    if target is None or (currency != target["currency_code"] and not is_known):
        message = f"no such account in {currency}" if movement.from_id is not None else "no such account"
        raise Refusal("ACCOUNT_NOT_FOUND", (to_field,), message)
    if currency != target["currency_code"]:
        message = f"one account is in {currency}, the other in {target['currency_code']}"
        raise Refusal("CURRENCY_MISMATCH", (to_field,), message)
    if target["balance"] + amount > BALANCE_MINOR_MAX or source["balance"] - amount < SYSTEM_BALANCE_MINOR_MIN:
        raise Refusal(
            "BALANCE_LIMIT_EXCEEDED", ("amount",), "the balance of the receiving account would exceed the maximum"
        )
    return amount


async def _system_account_for(transaction: Reader, account_id: int) -> int | None:
    """Return the system account for the currency of the account `account_id`. It is opened if there is none yet.

    Return None if there is no account `account_id`.
    """
    target = await transaction.fetch(statements.CURRENCY_OF, {"id": account_id})
    if not target:
        return None
    values = {"currency_code": target[0]["currency_code"]}
    rows = await transaction.fetch(statements.SYSTEM_ACCOUNT, values)
    if not rows:
        # Two concurrent first deposits in a currency: the slower one inserts nothing, and finds the other's account.
        await transaction.fetch(statements.OPEN_SYSTEM_ACCOUNT, values)
        rows = await transaction.fetch(statements.SYSTEM_ACCOUNT, values)
    account: int = rows[0]["id"]
    return account
