"""Many transfers at once: each is settled on its own, or all of them are made or none.

The invariants of `db.settlement` hold. A batch is one transaction: all accounts are locked in the order of their ids,
then all keys are claimed in their order, so that two batches never wait for each other in a circle. What may move is
decided transfer by transfer, in the order of the input and by the rules for a single one, with the balances that the
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

from db import batch_statements as statements
from db.errors import Refusal
from db.pages import Columns
from db.settlement import Movement, Settlement, check_memo, decide, find_outcome, outcome_kept, reused, turns
from db.statements import Reader, Writer
from db.transactions import transactions_by_keys
from db.viewer import Viewer

BATCH_MAX = 1_000

OTHER_REFUSED = Refusal(
    "OTHER_TRANSFER_REFUSED", (), "another transfer of this list was refused: all are made, or none"
)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A batch whose keys differ.

    Attributes:
        transfers: by their keys, in the order of the input.
        hashes: what each key stands for.
        is_one: whether all are made or none.
    """

    transfers: Mapping[uuid.UUID, Movement]
    hashes: Mapping[uuid.UUID, bytes]
    is_one: bool


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
    hashes = _hashes(transfers, is_one=is_one)
    first: dict[uuid.UUID, int] = {}
    malformed: dict[int, Refusal] = {}
    for place, one in enumerate(transfers):
        try:
            if hashes[first.setdefault(one.key, place)] != hashes[place]:
                raise reused()
            check_memo(one)
        except Refusal as refusal:
            malformed[place] = refusal
    if malformed and is_one:
        return [_refused(malformed.get(place, OTHER_REFUSED)) for place in range(len(transfers))]
    places = [place for place in first.values() if place not in malformed]
    asked = _Asked(
        {transfers[place].key: transfers[place] for place in places},
        {transfers[place].key: hashes[place] for place in places},
        is_one,
    )
    outcomes = await _settled(writer, viewer, columns, asked) if places else {}
    settled = []
    for place, one in enumerate(transfers):
        if place in malformed:
            settled.append(_refused(malformed[place]))
        else:
            outcome = outcomes[one.key]
            is_again = place != first[one.key]
            settled.append(Settlement(outcome.row, outcome.refusal, replayed=outcome.replayed or is_again))
    return settled


def _hashes(transfers: Sequence[Movement], *, is_one: bool) -> Sequence[bytes]:
    """Return what each key stands for: its transfer, and in a batch of all or none every other one as well."""
    own = [one.request_hash() for one in transfers]
    if not is_one:
        return own
    whole = hashlib.sha256()
    for one, digest in zip(transfers, own, strict=True):
        whole.update(one.key.bytes + digest)
    return [hashlib.sha256(whole.digest() + digest).digest() for digest in own]


def _refused(refusal: Refusal) -> Settlement:
    return Settlement(None, refusal, replayed=False)


async def _settled(writer: Writer, viewer: Viewer, columns: Columns, asked: _Asked) -> Mapping[uuid.UUID, Settlement]:
    async def settle_keys(transaction: Reader, attempted_at: float | None) -> Mapping[uuid.UUID, Settlement]:
        return await _settled_by_steps(transaction, viewer, columns, asked, attempted_at)

    async with writer.turn([turn for one in asked.transfers.values() for turn in turns(viewer, one)]):
        return await find_outcome(writer, settle_keys)


async def _settled_by_steps(
    transaction: Reader, viewer: Viewer, columns: Columns, asked: _Asked, attempted_at: float | None
) -> Mapping[uuid.UUID, Settlement]:
    accounts = await _locked(transaction, viewer, asked)
    key_ids = await _claimed(transaction, viewer, asked)
    outcomes = await _replayed(transaction, viewer, columns, asked, key_ids, attempted_at)
    amounts: dict[uuid.UUID, int] = {}
    refusals: dict[uuid.UUID, Refusal] = {}
    for key in asked.transfers:
        if key not in key_ids:
            continue
        one = asked.transfers[key]
        source, target = accounts.get(one.from_id or 0), accounts.get(one.to_id)
        try:
            amount = amounts[key] = decide(viewer, one, source, target)
        except Refusal as refusal:
            refusals[key] = refusal
        else:
            assert source is not None
            assert target is not None
            source["balance"] -= amount
            target["balance"] += amount
    if asked.is_one and (refusals or any(one.refusal is not None for one in outcomes.values())):
        refusals.update(dict.fromkeys(amounts, OTHER_REFUSED))
        amounts.clear()
    if refusals:
        kept = {key_ids[key]: refusal for key, refusal in refusals.items()}
        await transaction.fetch(statements.KEEP_REFUSALS, statements.refusals_kept(kept))
        outcomes.update({key: _refused(refusal) for key, refusal in refusals.items()})
    if amounts:
        values = _posted(asked, key_ids, amounts)
        rows = await transaction.fetch(statements.post_all_to_ledger(columns), values)
        by_key_id = {row["key_id"]: row for row in rows}
        outcomes.update({key: Settlement(by_key_id[key_ids[key]], None, replayed=False) for key in amounts})
    return outcomes


async def _locked(transaction: Reader, viewer: Viewer, asked: _Asked) -> dict[int, dict[str, Any]]:
    """Lock all accounts, as far as the viewer may use them, and return them by their ids."""
    transfers = asked.transfers.values()
    receives = {one.from_id or 0: False for one in transfers} | {one.to_id: True for one in transfers}
    values = {"ids": list(receives), "receives": list(receives.values()), "viewer_id": viewer.user_id}
    rows = await transaction.fetch(statements.lock_all_accounts(viewer.audience), values)
    return {row["id"]: dict(row) for row in rows}


async def _claimed(transaction: Reader, viewer: Viewer, asked: _Asked) -> dict[uuid.UUID, int]:
    """Claim all keys that nobody has claimed before, and return their row ids."""
    keys = list(asked.transfers)
    values = {"keys": keys, "request_hashes": [asked.hashes[key] for key in keys], "viewer_id": viewer.user_id}
    rows = await transaction.fetch(statements.CLAIM_KEYS, values)
    return {row["key"]: row["id"] for row in rows}


async def _replayed(
    transaction: Reader,
    viewer: Viewer,
    columns: Columns,
    asked: _Asked,
    key_ids: Mapping[uuid.UUID, int],
    attempted_at: float | None,
) -> dict[uuid.UUID, Settlement]:
    """Return what became of the keys that had been claimed before."""
    keys = [key for key in asked.transfers if key not in key_ids]
    if not keys:
        return {}
    # A statement of its own: it sees what the requests that we waited for have committed meanwhile.
    found = await transaction.fetch(statements.CLAIMED_KEYS, {"viewer_id": viewer.user_id, "keys": keys})
    rows = await transactions_by_keys(transaction, viewer, columns, keys)
    outcomes = {}
    for first in found:
        key = first["key"]
        if first["request_hash"] != asked.hashes[key]:
            outcomes[key] = _refused(reused())
        else:
            replayed, refusal = outcome_kept(first, attempted_at)
            outcomes[key] = Settlement(None if refusal else rows[key], refusal, replayed)
    return outcomes


def _posted(
    asked: _Asked, key_ids: Mapping[uuid.UUID, int], amounts: Mapping[uuid.UUID, int]
) -> dict[str, Sequence[object]]:
    """Return the values that write the transfers of `amounts`, in minor units."""
    transfers = [asked.transfers[key] for key in amounts]
    changes: dict[int, int] = {}
    for one, amount in zip(transfers, amounts.values(), strict=True):
        changes[one.from_id or 0] = changes.get(one.from_id or 0, 0) - amount
        changes[one.to_id] = changes.get(one.to_id, 0) + amount
    return {
        "from_ids": [one.from_id for one in transfers],
        "to_ids": [one.to_id for one in transfers],
        "amounts": list(amounts.values()),
        "memos": [one.memo for one in transfers],
        "key_ids": [key_ids[key] for key in amounts],
        "account_ids": list(changes),
        "changes": list(changes.values()),
    }
