"""Movements of money: how a deposit or a transfer becomes one row of the ledger, once for its idempotency key.

Invariants, each held by the database or by the order of the steps in `settle`:

- `accounts.balance` is the sum of what came in less what went out, because row and balances are written by one
  statement.
- The key, its outcome and the ledger row are of one transaction. The key is claimed before anything is written: a
  second request with the same key waits at its unique index until the first has committed, and is then given the first
  one's outcome, be it a refusal.
- Account rows are locked in the order of their ids, and before the key, everywhere, so that two movements never wait
  for each other.

A transfer that nothing speaks against is one statement. Any other does nothing as one, and is gone through step by
step, which makes it all the same, or finds out why not.
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

# The default context would round to 28 digits, and take two different amounts for the same.
_EXACT = decimal.Context(prec=decimal.MAX_PREC, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX, traps=[])


@dataclass(frozen=True, slots=True)
class Movement:
    """A movement of money as it was asked for; a `from_id` of None is a deposit, from the system account.

    Attributes:
        claim_id: by which a request knows its own claim of the key again, see `claiming`.
    """

    from_id: int | None
    to_id: int
    amount: Decimal
    memo: str | None
    key: uuid.UUID
    claim_id: uuid.UUID | None = None

    @property
    def operation(self) -> str:
        """The mutation's name."""
        return "deposit" if self.from_id is None else "transfer"

    @property
    def to_field(self) -> str:
        """What the mutation's input calls the receiving account."""
        return "accountId" if self.from_id is None else "toAccountId"

    @property
    def fraction_digits(self) -> int:
        """How many digits the amount has behind the point, with zeros at the end."""
        scale = self.amount.as_tuple().exponent
        return max(0, -scale) if isinstance(scale, int) else 0

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


def claiming(movement: Movement, claim_id: uuid.UUID | None = None) -> Movement:
    """Return `movement` with a claim, for all attempts of one request: a new one, or the one of its whole list.

    What a lost attempt has made is no replay to the request that made it. Times could not tell: clocks jump.
    """
    one = movement
    return Movement(one.from_id, one.to_id, one.amount, one.memo, one.key, claim_id or uuid.uuid4())


async def settle(
    writer: Writer, viewer: Viewer, columns: Columns, movement: Movement, *, is_unknown: bool = False
) -> Settlement:
    """Make `movement` once for its key, however often it is asked for.

    A refusal that was decided under the key is returned, not raised, because it is committed with the key.

    Args:
        writer: what commits.
        viewer: who asks.
        columns: of the ledger row.
        movement: what is asked for; with its claim, where there was an attempt before.
        is_unknown: as for `find_outcome`.

    Raises:
        Refusal: IDEMPOTENCY_KEY_REUSED where the key stands for another movement; INVALID_MEMO; a deposit by
            anyone but an administrator is ACCOUNT_NOT_FOUND. The key is left as it was.
    """
    if movement.from_id is None and not viewer.is_admin:
        raise Refusal("ACCOUNT_NOT_FOUND", ("accountId",), "no such account")
    check_memo(movement)
    claim = movement if movement.claim_id is not None else claiming(movement)
    try:
        async with writer.turn(turns(viewer, claim)):
            return await _settled(writer, viewer, columns, claim, is_unknown=is_unknown)
    except Unavailable as unavailable:
        # Where the turn did not come, an attempt before it may have happened all the same.
        if not is_unknown or unavailable.outcome_unknown:
            raise
        raise _left_open(unavailable) from None


async def _settled(
    writer: Writer, viewer: Viewer, columns: Columns, movement: Movement, *, is_unknown: bool
) -> Settlement:
    """Make `movement`, in one statement where that is possible and was not tried before."""
    if not is_unknown:
        try:
            row = await _transferred(writer, viewer, columns, movement)
            if row is not None:
                return Settlement(row, None, replayed=False)
        except Unavailable as unavailable:
            if not unavailable.outcome_unknown:
                raise
            is_unknown = True
    return await find_outcome(
        writer,
        lambda transaction: _settled_by_steps(transaction, viewer, columns, movement),
        is_unknown=is_unknown,
    )


def check_memo(movement: Movement) -> None:
    """Raise the refusal INVALID_MEMO where the memo is too long."""
    if movement.memo is not None and len(movement.memo) > MEMO.length_max:
        raise MEMO.refusal


def turns(viewer: Viewer, movement: Movement) -> list[TurnKey]:
    """Return the turns that a movement takes.

    Whose account money comes from is not to be told to a stranger by a wait; where it goes to, everybody may send.
    """
    keys: list[TurnKey] = [("account credited", movement.to_id, 0)]
    if movement.from_id is not None:
        keys.append(("account debited", movement.from_id, viewer.user_id or 0))
    return keys


async def find_outcome(writer: Writer, settle_keys: Callable[[Reader], Awaitable[T]], *, is_unknown: bool = False) -> T:
    """Settle keys in one transaction, and where the answer to COMMIT is lost, once more: keys tell what was made.

    Args:
        writer: what commits.
        settle_keys: makes what is asked for, or finds by the keys what an earlier attempt of this request has made. It
            is given the transaction.
        is_unknown: whether there was an attempt already of which nobody knows whether it has happened.

    Raises:
        Refusal: `settle_keys` raised it.
        Unavailable: nothing was written, unless it says that the outcome is unknown.
    """
    try:
        return await writer.write(settle_keys)
    except Unavailable as unavailable:
        if is_unknown and not unavailable.outcome_unknown:
            raise _left_open(unavailable) from None
        if is_unknown or not unavailable.outcome_unknown:
            raise
    return await find_outcome(writer, settle_keys, is_unknown=True)


def _left_open(unavailable: Unavailable) -> Unavailable:
    """Return what is told where an earlier attempt may have happened, and `unavailable` came of the last one."""
    message = f"{unavailable}; the money may have moved: send it again with the same key"
    return Unavailable(unavailable.code, message, outcome_unknown=True, reason=unavailable.reason)


# ---------------------------------------------------------------- in one statement


async def _transferred(writer: Writer, viewer: Viewer, columns: Columns, movement: Movement) -> Record | None:
    """Make a transfer that nothing speaks against; None where it was not made, for whatever reason."""
    if movement.from_id is None:
        return None
    try:
        units = to_minor(movement.amount, statements.FINEST_CURRENCY)
    except AmountError:
        return None
    if units > statements.UNITS_MAX:
        return None
    values = {
        "ids": [movement.from_id, movement.to_id],
        "from_id": movement.from_id,
        "to_id": movement.to_id,
        "units": units,
        "step": 10 ** (statements.EXPONENT_MAX - movement.fraction_digits),
        "memo": movement.memo,
        **_claim(viewer, movement),
    }
    rows = await writer.autocommit_write(statements.transfer(columns, viewer.access_level), values)
    return rows[0] if rows else None


# ---------------------------------------------------------------- step by step


async def _settled_by_steps(transaction: Reader, viewer: Viewer, columns: Columns, movement: Movement) -> Settlement:
    """Make a movement, or find out what speaks against it."""
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
    """Return the values of a claimed key."""
    return {
        "viewer_id": viewer.user_id,
        "key": movement.key,
        "operation": movement.operation,
        "request_hash": movement.request_hash(),
        "claim_id": movement.claim_id,
    }


async def _replay(transaction: Reader, viewer: Viewer, columns: Columns, movement: Movement) -> Settlement:
    # A statement of its own: it sees what the request that we waited for has committed meanwhile.
    first = (await transaction.fetch(statements.CLAIMED_KEY, {"viewer_id": viewer.user_id, "key": movement.key}))[0]
    if first["request_hash"] != movement.request_hash() or first["list_hash"] is not None:
        raise reused()
    replayed, refusal = outcome_kept(first, movement)
    if refusal is not None:
        return Settlement(None, refusal, replayed)
    return Settlement(await transaction_by_key(transaction, viewer, columns, movement.key), None, replayed)


def reused() -> Refusal:
    """Return the refusal of a key that stands for something else."""
    return Refusal(
        REUSED,
        ("idempotencyKey",),
        "this key was given to another movement; make a new key for each intended movement",
    )


def outcome_kept(key: Row, movement: Movement) -> tuple[bool, Refusal | None]:
    """Return whether what a key has come to is a replay to who asks for `movement`, and a refusal where it was one."""
    replayed = movement.claim_id is None or key["claim_id"] != movement.claim_id
    if key["refusal_code"] is None:
        return replayed, None
    field = (key["refusal_field"],) if key["refusal_field"] else ()
    return replayed, Refusal(key["refusal_code"], field, key["refusal_message"])


def decide(viewer: Viewer, movement: Movement, source: Row | None, target: Row | None) -> int:
    """Return the amount in minor units that may move between the two locked accounts, or raise the refusal."""
    to_field = movement.to_field
    if source is None or not (viewer.is_admin or source["owner_id"] == viewer.user_id):
        # A deposit has its source wherever it has a target.
        raise Refusal(
            "ACCOUNT_NOT_FOUND", (to_field if movement.from_id is None else "fromAccountId",), "no such account"
        )
    if source["id"] == movement.to_id:
        raise Refusal("SAME_ACCOUNT", (to_field,), "money moves between two accounts, and this is one")
    currency = source["currency_code"]
    try:
        amount = to_minor(movement.amount, currency)
    except AmountError as error:
        raise Refusal("INVALID_AMOUNT", ("amount",), str(error)) from error
    if not source["is_system"] and source["balance"] < amount:
        raise Refusal("INSUFFICIENT_FUNDS", ("amount",), "the account holds less than this amount")
    # Of the receiving account last, and of somebody else's no more than that it takes this money, or does not: who has
    # no money to send must not learn which accounts there are, and nobody which currency they are in.
    is_known = target is not None and (viewer.is_admin or target["owner_id"] == viewer.user_id)
    if target is None or (currency != target["currency_code"] and not is_known):
        message = f"no such account in {currency}" if movement.from_id is not None else "no such account"
        raise Refusal("ACCOUNT_NOT_FOUND", (to_field,), message)
    if currency != target["currency_code"]:
        message = f"one account is in {currency}, the other in {target['currency_code']}"
        raise Refusal("CURRENCY_MISMATCH", (to_field,), message)
    if target["balance"] + amount > BALANCE_MINOR_MAX or source["balance"] - amount < SYSTEM_BALANCE_MINOR_MIN:
        raise Refusal("BALANCE_LIMIT_EXCEEDED", ("amount",), "the receiving account would hold more than it may")
    return amount


async def _system_account_for(transaction: Reader, account_id: int) -> int | None:
    """Return the system account of the currency that the account `account_id` has, made where there is none yet.

    Without such an account it is None.
    """
    target = await transaction.fetch(statements.CURRENCY_OF, {"id": account_id})
    if not target:
        return None
    values = {"currency_code": target[0]["currency_code"]}
    found = await transaction.fetch(statements.SYSTEM_ACCOUNT, values)
    if not found:
        # Two first deposits in a currency: the slower one inserts nothing, and finds the faster one's account.
        await transaction.fetch(statements.OPEN_SYSTEM_ACCOUNT, values)
        found = await transaction.fetch(statements.SYSTEM_ACCOUNT, values)
    account: int = found[0]["id"]
    return account
