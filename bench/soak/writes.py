"""The writes of clients. The journal records them before they are sent and after their responses.

An error without `outcomeUnknown` promises that nothing was written; later responses and the ledger must agree.
"""

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

from bench.soak.clients import Client
from bench.soak.journal import Creation, Movement, Outcome
from bench.soak.oracle import Judged

RETRY_AFTER_S = (0.1, 1.0)
_TRANSACTION = "{ id amount { amount } memo from { id } to { id } }"
TRANSFER = f"""mutation Transfer($input: TransferInput!) {{
  transfer(input: $input) {{ replayed transaction {_TRANSACTION} userErrors {{ code }} }} }}"""
TRANSFERS = f"""mutation Transfers($input: TransfersInput!) {{
  transfers(input: $input) {{ results {{ replayed transaction {_TRANSACTION} }} userErrors {{ field code }} }} }}"""
DEPOSIT = """mutation Deposit($input: DepositInput!) {
  deposit(input: $input) { replayed transaction { id amount { amount } memo to { id } } userErrors { code } } }"""
UPDATE = """mutation Update($input: UpdatePostInput!) {
  updatePost(input: $input) { post { id title content version published author { id email } } userErrors { code } } }"""
CREATE = """mutation Create($input: CreatePostInput!) {
  createPost(input: $input) { post { id title version } userErrors { code } } }"""
OPEN = """mutation Open($input: OpenAccountInput!) {
  openAccount(input: $input) { account { id } userErrors { code } } }"""


async def transfer(client: Client, movement: Movement, stopping: asyncio.Event) -> None:
    """Request a movement of money, repeatedly with the same key, until its outcome is known or `stopping` is set."""
    while movement.outcome is Outcome.UNKNOWN:
        await attempt(client, movement)
        if movement.outcome is Outcome.UNKNOWN:
            if stopping.is_set():
                return
            await asyncio.sleep(client.rng.uniform(*RETRY_AFTER_S))


async def attempt(client: Client, movement: Movement, *, may_abort: bool = True) -> None:
    """Request a movement of money once, and record its outcome.

    A transfer of an all-or-none list is requested with the whole list, because its key stands for the list.
    """
    if movement.together:
        await attempt_batch(client, movement.together, "ALL", may_abort=may_abort)
        return
    movement.sent += 1
    judged = await client.request(*request_of(movement), may_abort=may_abort)
    payload = payload_of(judged, "transfer" if movement.from_id else "deposit")
    if payload is None:
        _note_unanswered(movement, judged)
    else:
        _judge(client, movement, payload, [one["code"] for one in payload["userErrors"]])


async def attempt_batch(client: Client, movements: Sequence[Movement], mode: str, *, may_abort: bool = True) -> None:
    """Request transfers once, in one mutation, and record the outcome of each."""
    for one in movements:
        one.sent += 1
    given = {"transfers": [request_of(one)[2]["input"] for one in movements], "mode": mode}
    judged = await client.request(TRANSFERS, "Transfers", {"input": given}, may_abort=may_abort)
    payload = payload_of(judged, "transfers")
    if payload is None:
        for one in movements:
            _note_unanswered(one, judged)
        return
    codes: list[list[str]] = [[] for _ in movements]
    for error in payload["userErrors"]:
        codes[int(error["field"][2])].append(error["code"])
    if len(payload["results"]) != len(movements):
        client.oracle.violation("a wrong answer to a transfer", movements=movements, answer=payload)
        return
    for one, result, own in zip(movements, payload["results"], codes, strict=True):
        _judge(client, one, result, own)
    if mode == "ALL" and len({one.outcome for one in movements}) > 1:
        client.oracle.violation("a part of an all-or-none list was made", movements=movements, answer=payload)


def _note_unanswered(movement: Movement, judged: Judged | None) -> None:
    is_open = judged is None or judged.unknown
    movement.may_be_made = movement.may_be_made or is_open
    movement.was_unknown = movement.was_unknown or (is_open and movement.outcome is Outcome.UNKNOWN)


def _judge(client: Client, movement: Movement, payload: dict[str, Any], codes: list[str]) -> None:
    """Compare a response with what is known about a movement, and record its outcome."""
    row = payload["transaction"]
    detail = {"movement": movement, "answer": payload}
    if payload["replayed"] and not (movement.may_be_made or movement.outcome is not Outcome.UNKNOWN):
        client.oracle.violation("a transfer had happened, although its error had no outcomeUnknown", **detail)
    if row is None and not codes:
        movement.record_outcome(Outcome.NOT_MADE)
        client.oracle.violation("a key is used without an outcome", **detail)
        return
    if row is None and codes in (["INSUFFICIENT_FUNDS"], ["OTHER_TRANSFER_REFUSED"][: len(movement.together)]):
        agrees = movement.record_outcome(Outcome.NOT_MADE)
    elif not codes and row and {**movement.shown, "id": row["id"]} == row:
        agrees = movement.record_outcome(Outcome.MADE, row["id"])
    else:
        agrees = movement.record_outcome(Outcome.NOT_MADE)
        client.oracle.violation("a wrong answer to a transfer", codes=codes, **detail)
    if not agrees and movement.outcome is Outcome.NOT_MADE:
        client.oracle.violation("a refusal became a transfer", **detail)
    elif not agrees:
        client.oracle.violation("two answers to one key differ", **detail)


def request_of(movement: Movement) -> tuple[str, str, dict[str, Any]]:
    """Return document, name and variables of the mutation that requests a movement."""
    wanted = {"amount": movement.amount, "memo": movement.memo, "idempotencyKey": movement.key}
    if movement.from_id is None:
        return DEPOSIT, "Deposit", {"input": {**wanted, "accountId": movement.to_id}}
    return TRANSFER, "Transfer", {"input": {**wanted, "fromAccountId": movement.from_id, "toAccountId": movement.to_id}}


async def replay(client: Client) -> None:
    """Request a movement again that was made: the response must be the same row."""
    movement = client.recently_made()
    if movement is None or movement.from_id is None:
        return
    payload = payload_of(await client.request(*request_of(movement)), "transfer")
    if payload is None:
        return
    row = payload["transaction"]
    if not payload["replayed"] or row is None or row["id"] != movement.transaction_id:
        client.oracle.violation("a replay is another transfer", movement=movement, answer=payload)


async def update(client: Client) -> None:
    """Write the next version of the client's post."""
    post = client.post
    if post is None:
        return
    before, doubted = post.lowest, post.in_doubt
    wanted = before + 1
    post.highest = max(post.highest, wanted)
    change = {"id": post.id, "expectedVersion": before, **post.texts(wanted)}
    judged = await client.request(UPDATE, "Update", {"input": change})
    payload = payload_of(judged, "updatePost")
    if payload is None:
        post.in_doubt = doubted or judged is None or judged.unknown
        if not post.in_doubt:
            post.highest = before
        await _read_version(client)
        return
    codes = [one["code"] for one in payload["userErrors"]]
    if codes == ["VERSION_CONFLICT"] and doubted:
        await _read_version(client)
        return
    shown = payload["post"]
    wrong = str(codes) if codes else post.difference(shown, wanted)
    if wrong or shown["author"] != {"id": post.owner.id, "email": post.owner.email}:
        client.oracle.violation("a wrong answer to an update", why=wrong, post=post, sent=change, answer=payload)
    else:
        post.lowest, post.in_doubt = wanted, False


async def _read_version(client: Client) -> None:
    """Read the version of the client's post, if the server can read it now."""
    post = client.post
    if post is None:
        return
    text = "query Look($id: ID!) { post(id: $id) { id title content version published } }"
    shown = payload_of(await client.request(text, "Look", {"id": post.id}, may_abort=False), "post")
    if shown is None:
        return
    wrong = post.difference(shown, post.lowest)
    if wrong:
        client.oracle.violation("a wrong answer after an update", why=wrong, post=post, answer=shown)
        return
    if shown["version"] == post.highest:
        post.in_doubt = False  # the doubtful update has happened, and no newer one was requested
    post.lowest = shown["version"]


async def create(client: Client) -> None:
    """Request a new draft, once."""
    one = Creation(f"extra {uuid.uuid4()}")
    client.journal.creations.append(one)
    wanted = {"title": one.title, "content": "An extra one.", "published": False}
    judged = await client.request(CREATE, "Create", {"input": wanted})
    payload = payload_of(judged, "createPost")
    if payload is None:
        if judged is not None and not judged.unknown:
            one.outcome = Outcome.NOT_MADE
        return
    one.outcome = Outcome.MADE
    if payload["userErrors"] or payload["post"]["title"] != one.title or payload["post"]["version"] != 1:
        client.oracle.violation("a wrong answer to a creation", sent=wanted, answer=payload)


def payload_of(judged: Judged | None, name: str) -> dict[str, Any] | None:
    """Return the value of a field; None if the field failed or there is no response."""
    if judged is None or judged.data is None or name in judged.failed:
        return None
    value: dict[str, Any] | None = judged.data[name]
    return value
