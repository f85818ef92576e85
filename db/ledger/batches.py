"""Many transfers at once: each is settled separately, or either all of them are made or none.

The invariants of `db.ledger.settlement` hold. A batch is one transaction: all accounts are locked in the order of their
ids, then all keys are claimed in their order, so that no two batches wait for each other. Each transfer is decided in
the order of the input, by the rules for a single one, with the balances that the transfers before it have left. Then
one statement writes all rows of the ledger and all balances. So a batch takes as many statements as it has steps,
whatever its length.

The key of a separately settled transfer means the same as the key of a single transfer: each finds the outcome of the
other. A key in an all-or-none batch stands for its transfer within this batch only. With any other transfer it is a
reused key. Therefore all keys of such a batch always have the same outcome.
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
    decide,
    find_outcome,
    key_reused,
    stored_outcome,
    turns,
    with_claim,
)
from db.query.pages import Columns

BATCH_MAX = 1_000

OTHER_REFUSED = Refusal(
    "OTHER_TRANSFER_REFUSED", (), "another transfer of this list was refused: all are made, or none"
)


ClaimKey = tuple[int, uuid.UUID]
"""The id of an owner, and one of its keys."""


@dataclass(frozen=True, slots=True)
class TransferRequest:
    """A transfer with its viewer and the digests of its key: of the transfer, and of its list if it is all or none."""

    viewer: Viewer
    movement: Movement
    request_hash: bytes
    list_hash: bytes | None = None

    @property
    def key(self) -> ClaimKey:
        """The owner's id and the key."""
        return self.viewer.user_id or 0, self.movement.key


async def settle_batch(
    writer: Writer, viewer: Viewer, columns: Columns, transfers: Sequence[Movement], *, is_one: bool
) -> list[Settlement]:
    """Make transfers, each once for its key, and return their outcomes in the order of `transfers`.

    A key that occurs again in the batch with the same transfer is a replay of the first occurrence.

    Args:
        writer: commits the transaction.
        viewer: the client.
        columns: the columns of the returned ledger rows.
        transfers: 1 to BATCH_MAX transfers, no deposits.
        is_one: whether all are made or none. If one is refused, each transfer that would not be refused alone is
            refused as OTHER_TRANSFER_REFUSED, and that refusal is stored under its key. If a memo is too long, or two
            different transfers of the batch have one key, no key is changed.

    Raises:
        Unavailable: nothing was written, unless it says that the outcome is unknown.
    """
    hashes = [one.request_hash() for one in transfers]
    list_hash = _list_digest(transfers, hashes) if is_one else None
    first, malformed = _find_malformed(transfers, hashes)
    if malformed and is_one:
        return [_refused(malformed.get(place, OTHER_REFUSED)) for place in range(len(transfers))]
    claim_id = uuid.uuid4()
    requests = [
        TransferRequest(viewer, with_claim(transfers[place], claim_id), hashes[place], list_hash)
        for place in first.values()
        if place not in malformed
    ]

    async def settle_keys(transaction: Reader) -> Mapping[ClaimKey, Settlement]:
        return await settle_requests(transaction, columns, requests, is_one=is_one)

    async with writer.turn([turn for one in requests for turn in turns(viewer, one.movement)]):
        outcomes = await find_outcome(writer, settle_keys) if requests else {}
    settled = []
    for place, one in enumerate(transfers):
        if place in malformed:
            settled.append(_refused(malformed[place]))
        else:
            outcome = outcomes[viewer.user_id or 0, one.key]
            is_again = place != first[one.key]
            settled.append(Settlement(outcome.row, outcome.refusal, replayed=outcome.replayed or is_again))
    return settled


def _find_malformed(
    transfers: Sequence[Movement], hashes: Sequence[bytes]
) -> tuple[Mapping[uuid.UUID, int], Mapping[int, Refusal]]:
    """Return the first place of each key, and the refusals that leave their key unused, by place."""
    first: dict[uuid.UUID, int] = {}
    malformed: dict[int, Refusal] = {}
    for place, one in enumerate(transfers):
        try:
            if hashes[first.setdefault(one.key, place)] != hashes[place]:
                raise key_reused()
            check_memo(one)
        except Refusal as refusal:
            malformed[place] = refusal
    return first, malformed


def _list_digest(transfers: Sequence[Movement], hashes: Sequence[bytes]) -> bytes:
    """Return a digest of a list of transfers, including their keys."""
    digest = hashlib.sha256()
    for one, own in zip(transfers, hashes, strict=True):
        digest.update(one.key.bytes + own)
    return digest.digest()


def _refused(refusal: Refusal) -> Settlement:
    return Settlement(None, refusal, replayed=False)


async def settle_requests(
    transaction: Reader,
    columns: Columns,
    requests: Sequence[TransferRequest],
    *,
    is_one: bool = False,
) -> dict[ClaimKey, Settlement]:
    """Make transfers of any viewers within a transaction, and return the outcome of each by its key.

    Args:
        transaction: the caller must commit it.
        columns: the columns of the returned ledger rows.
        requests: the transfers in the order in which they are made, with different keys and with claims.
        is_one: whether all are made or none.

    Raises:
        Unavailable: the database could not answer. The caller must roll back.
    """
    accounts = await _lock_accounts(transaction, requests)
    key_ids = await _claim_keys(transaction, requests)
    outcomes = await _find_replays(transaction, columns, [one for one in requests if one.key not in key_ids])
    amounts: list[tuple[TransferRequest, int]] = []
    refusals: dict[ClaimKey, Refusal] = {}
    for one in requests:
        if one.key not in key_ids:
            continue
        source, target = accounts.get(one.movement.from_id or 0), accounts.get(one.movement.to_id)
        try:
            amount = decide(one.viewer, one.movement, source, target)
        except Refusal as refusal:
            # A new refusal without the traceback, whose frames hold the rows of all other transfers.
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
        await transaction.fetch(statements.KEEP_REFUSALS, statements.stored_refusals(kept))
        outcomes.update({key: _refused(refusal) for key, refusal in refusals.items()})
    if amounts:
        rows = await transaction.fetch(statements.post_all_to_ledger(columns), _ledger_values(amounts, key_ids))
        by_key_id = {row["key_id"]: row for row in rows}
        outcomes.update({one.key: Settlement(by_key_id[key_ids[one.key]], None, replayed=False) for one, _ in amounts})
    return outcomes


async def _lock_accounts(transaction: Reader, requests: Sequence[TransferRequest]) -> dict[int, dict[str, Any]]:
    """Lock all accounts that their viewers may use, and return them by their ids."""
    # By account and by the owner that it must have. None allows any owner, because every client may send money there.
    locks: dict[tuple[int, int | None], None] = {}
    for one in requests:
        locks[one.movement.to_id, None] = None
        locks[one.movement.from_id or 0, None if one.viewer.is_admin else one.viewer.user_id] = None
    values = {"ids": [account for account, _ in locks], "owner_ids": [owner for _, owner in locks]}
    return {row["id"]: dict(row) for row in await transaction.fetch(statements.LOCK_ACCOUNTS, values)}


async def _claim_keys(transaction: Reader, requests: Sequence[TransferRequest]) -> dict[ClaimKey, int]:
    """Claim all keys that are not claimed yet, and return their row ids."""
    values = {
        **_keys(requests),
        "request_hashes": [one.request_hash for one in requests],
        "list_hashes": [one.list_hash for one in requests],
        "claim_ids": [one.movement.claim_id for one in requests],
    }
    rows = await transaction.fetch(statements.CLAIM_KEYS, values)
    return {(row["owner_id"], row["key"]): row["id"] for row in rows}


def _keys(requests: Sequence[TransferRequest]) -> dict[str, Sequence[object]]:
    return {"owner_ids": [one.viewer.user_id for one in requests], "keys": [one.movement.key for one in requests]}


async def _find_replays(
    transaction: Reader, columns: Columns, requests: Sequence[TransferRequest]
) -> dict[ClaimKey, Settlement]:
    """Return the outcomes of transfers whose keys were claimed before."""
    if not requests:
        return {}
    # A separate statement: it sees what the requests for which this one waited have committed meanwhile.
    rows = await transaction.fetch(statements.claimed_keys(columns), _keys(requests))
    claimed = {(row["owner_id"], row["key"]): row for row in rows}
    outcomes = {}
    for one in requests:
        first = claimed[one.key]
        if (first["request_hash"], first["list_hash"]) != (one.request_hash, one.list_hash):
            outcomes[one.key] = _refused(key_reused())
        else:
            replayed, refusal = stored_outcome(first, one.movement)
            outcomes[one.key] = Settlement(None if refusal else first, refusal, replayed)
    return outcomes


def _ledger_values(
    amounts: Sequence[tuple[TransferRequest, int]], key_ids: Mapping[ClaimKey, int]
) -> dict[str, Sequence[object]]:
    """Return the parameter values for transfers with amounts in minor units."""
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
