"""Many transfers at once: each is settled on its own, or all of them are made or none.

The invariants of `db.ledger.settlement` hold. A batch is one transaction: all accounts are locked in the order of their
ids, then all keys are claimed in their order, so that two batches never wait for each other in a circle. What may move
is decided transfer by transfer, in the order of the input and by the rules for a single one, with the balances that the
ones before have left. Then all rows of the ledger and all balances are written by one statement. So a batch takes as
many statements as it has steps, whatever its length.

The key of a transfer that is settled on its own is worth the same as that of a single transfer: either finds the
outcome of the other. A key in a batch of all or none stands for its transfer within this very batch: beside any other
transfer it is a reused key. So what became of such a batch is the same for all of its keys, for ever.
"""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from db.access import Viewer
from db.connections.statements import Reader, Writer
from db.errors import Refusal
from db.ledger import batch_statements as statements
from db.ledger.settlement import (
    Movement,
    Settlement,
    check_memo,
    claiming,
    decide,
    find_outcome,
    outcome_kept,
    reused,
    turns,
)
from db.query.pages import Columns

BATCH_MAX = 1_000

OTHER_REFUSED = Refusal(
    "OTHER_TRANSFER_REFUSED", (), "another transfer of this list was refused: all are made, or none"
)


ClaimKey = tuple[int, uuid.UUID]
"""An owner and a key of theirs."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A transfer, who asks for it, and what its key stands for: the transfer, perhaps within a list of all or none."""

    viewer: Viewer
    movement: Movement
    request_hash: bytes
    list_hash: bytes | None = None

    @property
    def key(self) -> ClaimKey:
        """Whose key it is, and which."""
        return self.viewer.user_id or 0, self.movement.key


async def settle_batch(
    writer: Writer, viewer: Viewer, columns: Columns, transfers: Sequence[Movement], *, is_one: bool
) -> list[Settlement]:
    """Make transfers, each once for its key, and return what became of each, in their order.

    A key that is given again in the batch, for the same, is a replay of the first.

    Args:
        writer: what commits.
        viewer: who asks.
        columns: of the rows of the ledger.
        transfers: 1 to BATCH_MAX, no deposits.
        is_one: whether all are made or none. Where one is refused, what nothing else speaks against is refused as
            OTHER_TRANSFER_REFUSED, and that is kept under its key, too. Only where a memo is too long, or two
            transfers of the batch have one key, all keys are left as they were.

    Raises:
        Unavailable: nothing was written, unless it says that the outcome is unknown.
    """
    hashes = [one.request_hash() for one in transfers]
    list_hash = _digest_of_all(transfers, hashes) if is_one else None
    first, malformed = _looked_through(transfers, hashes)
    if malformed and is_one:
        return [_refused(malformed.get(place, OTHER_REFUSED)) for place in range(len(transfers))]
    claim_id = uuid.uuid4()
    asked = [
        Asked(viewer, claiming(transfers[place], claim_id), hashes[place], list_hash)
        for place in first.values()
        if place not in malformed
    ]

    async def settle_keys(transaction: Reader) -> Mapping[ClaimKey, Settlement]:
        return await settle_asked(transaction, columns, asked, is_one=is_one)

    async with writer.turn([turn for one in asked for turn in turns(viewer, one.movement)]):
        outcomes = await find_outcome(writer, settle_keys) if asked else {}
    settled = []
    for place, one in enumerate(transfers):
        if place in malformed:
            settled.append(_refused(malformed[place]))
        else:
            outcome = outcomes[viewer.user_id or 0, one.key]
            is_again = place != first[one.key]
            settled.append(Settlement(outcome.row, outcome.refusal, replayed=outcome.replayed or is_again))
    return settled


def _looked_through(
    transfers: Sequence[Movement], hashes: Sequence[bytes]
) -> tuple[Mapping[uuid.UUID, int], Mapping[int, Refusal]]:
    """Return the place at which each key comes first, and by their places refusals that spend no key."""
    first: dict[uuid.UUID, int] = {}
    malformed: dict[int, Refusal] = {}
    for place, one in enumerate(transfers):
        try:
            if hashes[first.setdefault(one.key, place)] != hashes[place]:
                raise reused()
            check_memo(one)
        except Refusal as refusal:
            malformed[place] = refusal
    return first, malformed


def _digest_of_all(transfers: Sequence[Movement], hashes: Sequence[bytes]) -> bytes:
    """Return a digest of a list of transfers, their keys among what counts."""
    digest = hashlib.sha256()
    for one, own in zip(transfers, hashes, strict=True):
        digest.update(one.key.bytes + own)
    return digest.digest()


def _refused(refusal: Refusal) -> Settlement:
    return Settlement(None, refusal, replayed=False)


async def settle_asked(
    transaction: Reader,
    columns: Columns,
    asked: Sequence[Asked],
    *,
    is_one: bool = False,
) -> dict[ClaimKey, Settlement]:
    """Make transfers of any viewers within a transaction, and return what became of each by its key.

    Args:
        transaction: to be committed by the caller.
        columns: of the rows of the ledger.
        asked: with keys that differ and claims of their own, in the order in which they are made.
        is_one: whether all are made or none.

    Raises:
        Unavailable: the database could not answer. Roll back.
    """
    accounts = await _locked(transaction, asked)
    key_ids = await _claimed(transaction, asked)
    outcomes = await _replayed(transaction, columns, [one for one in asked if one.key not in key_ids])
    amounts: list[tuple[Asked, int]] = []
    refusals: dict[ClaimKey, Refusal] = {}
    for one in asked:
        if one.key not in key_ids:
            continue
        source, target = accounts.get(one.movement.from_id or 0), accounts.get(one.movement.to_id)
        try:
            amount = decide(one.viewer, one.movement, source, target)
        except Refusal as refusal:
            # Without its traceback, whose frames have the rows of all others.
            refusals[one.key] = Refusal(refusal.code, refusal.field, refusal.message)
        else:
            assert source is not None
            assert target is not None
            source["balance"] -= amount
            target["balance"] += amount
            amounts.append((one, amount))
    if is_one and (refusals or any(outcome.refusal is not None for outcome in outcomes.values())):
        refusals.update({one.key: OTHER_REFUSED for one, _ in amounts})
        amounts.clear()
    if refusals:
        kept = {key_ids[key]: refusal for key, refusal in refusals.items()}
        await transaction.fetch(statements.KEEP_REFUSALS, statements.refusals_kept(kept))
        outcomes.update({key: _refused(refusal) for key, refusal in refusals.items()})
    if amounts:
        rows = await transaction.fetch(statements.post_all_to_ledger(columns), _posted(amounts, key_ids))
        by_key_id = {row["key_id"]: row for row in rows}
        outcomes.update({one.key: Settlement(by_key_id[key_ids[one.key]], None, replayed=False) for one, _ in amounts})
    return outcomes


async def _locked(transaction: Reader, asked: Sequence[Asked]) -> dict[int, dict[str, Any]]:
    """Lock all accounts, as far as their viewers may use them, and return them by their ids."""
    # By account and by who may lock it: its owner, or with None anybody, for anybody may send money there.
    locks: dict[tuple[int, int | None], None] = {}
    for one in asked:
        locks[one.movement.to_id, None] = None
        locks[one.movement.from_id or 0, None if one.viewer.is_admin else one.viewer.user_id] = None
    values = {"ids": [account for account, _ in locks], "owner_ids": [owner for _, owner in locks]}
    return {row["id"]: dict(row) for row in await transaction.fetch(statements.LOCK_ACCOUNTS, values)}


async def _claimed(transaction: Reader, asked: Sequence[Asked]) -> dict[ClaimKey, int]:
    """Claim all keys that nobody has claimed before, and return their row ids."""
    values = {
        **_keys(asked),
        "request_hashes": [one.request_hash for one in asked],
        "list_hashes": [one.list_hash for one in asked],
        "claim_ids": [one.movement.claim_id for one in asked],
    }
    rows = await transaction.fetch(statements.CLAIM_KEYS, values)
    return {(row["owner_id"], row["key"]): row["id"] for row in rows}


def _keys(asked: Sequence[Asked]) -> dict[str, Sequence[object]]:
    return {"owner_ids": [one.viewer.user_id for one in asked], "keys": [one.movement.key for one in asked]}


async def _replayed(transaction: Reader, columns: Columns, asked: Sequence[Asked]) -> dict[ClaimKey, Settlement]:
    """Return what became of transfers whose keys had been claimed before."""
    if not asked:
        return {}
    # A statement of its own: it sees what the requests that we waited for have committed meanwhile.
    found = await transaction.fetch(statements.claimed_keys(columns), _keys(asked))
    claimed = {(row["owner_id"], row["key"]): row for row in found}
    outcomes = {}
    for one in asked:
        first = claimed[one.key]
        if (first["request_hash"], first["list_hash"]) != (one.request_hash, one.list_hash):
            outcomes[one.key] = _refused(reused())
        else:
            replayed, refusal = outcome_kept(first, one.movement)
            outcomes[one.key] = Settlement(None if refusal else first, refusal, replayed)
    return outcomes


def _posted(amounts: Sequence[tuple[Asked, int]], key_ids: Mapping[ClaimKey, int]) -> dict[str, Sequence[object]]:
    """Return the values that write transfers of amounts in minor units."""
    changes: dict[int, int] = {}
    for one, amount in amounts:
        source, target = one.movement.from_id or 0, one.movement.to_id
        changes[source] = changes.get(source, 0) - amount
        changes[target] = changes.get(target, 0) + amount
    transfers = [one.movement for one, _ in amounts]
    return {
        "from_ids": [one.from_id for one in transfers],
        "to_ids": [one.to_id for one in transfers],
        "amounts": [amount for _, amount in amounts],
        "memos": [one.memo for one in transfers],
        "key_ids": [key_ids[one.key] for one, _ in amounts],
        "account_ids": list(changes),
        "changes": list(changes.values()),
    }
