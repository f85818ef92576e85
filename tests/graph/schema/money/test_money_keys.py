"""Idempotency keys: a movement happens once for its key, whether it is sent again, concurrently, or by another user."""

import asyncio
import uuid
from typing import Any

import orjson
import pytest

from db.connections.leases import Driver
from db.ledger.audit import audit
from tests.db.support.backends import POLL_S, POLLS_MAX
from tests.graph.support.bank import (
    BY_KEY,
    TRANSFER,
    Bank,
    Body,
    malformed,
    new_key,
    not_found,
    refused,
    settled,
    transaction,
    transfer_input,
)
from tests.graph.support.callers import Person
from tests.graph.support.rights_data import dump

REUSED = "this key was used for another movement; make a new key for each intended movement"
TOO_LITTLE = ("transfer", "INSUFFICIENT_FUNDS", "amount", "the balance of the account is less than this amount")


@pytest.fixture
async def payer_account(bank: Bank, ida: Person) -> str:
    """The account of ida, with 100.00 EUR from transaction_1."""
    return await bank.account(ida, holding="100")


@pytest.fixture
async def payee_account(bank: Bank, eve: Person) -> str:
    """The account of eve, empty."""
    return await bank.account(eve)


def key_reused(mutation: str) -> Body:
    return refused(mutation, "IDEMPOTENCY_KEY_REUSED", "idempotencyKey", REUSED)


# ---------------------------------------------------------------- the same key again


async def test_same_transfer_again_is_the_same_transaction(
    bank: Bank, ida: Person, payer_account: str, payee_account: str
) -> None:
    key, row = new_key(), transaction(2, payer_account, payee_account, "12.50", memo="tea")
    first = await bank.transfer(ida, payer_account, payee_account, "12.5", memo="tea", idempotencyKey=key)
    assert first == settled("transfer", row)
    for amount in ("12.5", "12.50", "12.500"):
        again = await bank.transfer(ida, payer_account, payee_account, amount, memo="tea", idempotencyKey=key)
        assert again == settled("transfer", row, replayed=True)
    assert (await bank.balance(payer_account), await bank.balance(payee_account)) == ("87.50", "12.50")


async def test_same_deposit_again_is_the_same_transaction(bank: Bank, payer_account: str) -> None:
    key = new_key()
    first = await bank.deposit(payer_account, "1", idempotencyKey=key)
    again = await bank.deposit(payer_account, "1.00", idempotencyKey=key)
    source = first["data"]["deposit"]["transaction"]["from"]["id"]
    assert first == settled("deposit", transaction(2, source, payer_account, "1.00"))
    assert again == settled("deposit", transaction(2, source, payer_account, "1.00"), replayed=True)
    assert await bank.balance(payer_account) == "101.00"


async def test_same_key_for_another_movement_is_refused_and_moves_nothing(
    bank: Bank, ida: Person, payer_account: str, payee_account: str, superuser: Driver
) -> None:
    other = await bank.account(ida, holding="50")
    key = new_key()
    await bank.transfer(ida, payer_account, payee_account, "1", memo="tea", idempotencyKey=key)
    before = await dump(superuser)
    others: list[tuple[str, str, str, dict[str, Any]]] = [
        (payer_account, payee_account, "1.01", {"memo": "tea"}),
        (payer_account, payee_account, "1.00000000000000000000000000000000000001", {"memo": "tea"}),
        (payer_account, payee_account, "-1", {"memo": "tea"}),
        (payer_account, payee_account, "1", {"memo": "Tea"}),
        (payer_account, payee_account, "1", {"memo": ""}),
        (payer_account, payee_account, "1", {"memo": None}),
        (payer_account, payee_account, "1", {}),
        (payer_account, other, "1", {"memo": "tea"}),
        (other, payee_account, "1", {"memo": "tea"}),
        (payee_account, payer_account, "1", {"memo": "tea"}),
        (payer_account, "account_999", "1", {"memo": "tea"}),
    ]
    for source, target, amount, given in others:
        body = await bank.transfer(ida, source, target, amount, **given, idempotencyKey=key)
        assert body == key_reused("transfer")
    assert await dump(superuser) == before


async def test_key_of_a_deposit_is_not_valid_for_a_transfer_nor_vice_versa(
    bank: Bank, payer_account: str, payee_account: str
) -> None:
    first, second = new_key(), new_key()
    await bank.deposit(payer_account, "1", idempotencyKey=first)
    assert await bank.transfer(bank.admin, payer_account, payee_account, "1", idempotencyKey=first) == key_reused(
        "transfer"
    )
    await bank.transfer(bank.admin, payer_account, payee_account, "1", idempotencyKey=second)
    assert await bank.deposit(payee_account, "1", idempotencyKey=second) == key_reused("deposit")
    assert (await bank.balance(payer_account), await bank.balance(payee_account)) == ("100.00", "1.00")


async def test_refusal_is_repeated_when_the_funds_have_arrived(
    bank: Bank, ida: Person, payer_account: str, payee_account: str
) -> None:
    key = new_key()
    first = await bank.transfer(ida, payer_account, payee_account, "100.01", idempotencyKey=key)
    assert first == refused(*TOO_LITTLE)
    await bank.deposit(payer_account, "1000")
    again = await bank.transfer(ida, payer_account, payee_account, "100.01", idempotencyKey=key)
    assert again == refused(*TOO_LITTLE, replayed=True)
    assert await bank.transfer(ida, payer_account, payee_account, "100", idempotencyKey=key) == key_reused("transfer")
    assert await bank.balance(payee_account) == "0.00"
    assert await bank.transfer(ida, payer_account, payee_account, "100.01") == settled(
        "transfer", transaction(3, payer_account, payee_account, "100.01")
    )


async def test_every_decided_refusal_stays_with_its_key(
    bank: Bank, ida: Person, payer_account: str, payee_account: str
) -> None:
    yen = await bank.account(ida, "JPY")
    for target, amount in (
        (payer_account, "1"),
        (yen, "1"),
        ("account_999", "1"),
        (payee_account, "0"),
        (payee_account, "0.001"),
    ):
        key = new_key()
        first = await bank.transfer(ida, payer_account, target, amount, idempotencyKey=key)
        [error] = first["data"]["transfer"]["userErrors"]
        code, field, message = error["code"], error["field"][1], error["message"]
        assert first == refused("transfer", code, field, message)
        again = await bank.transfer(ida, payer_account, target, amount, idempotencyKey=key)
        assert again == refused("transfer", code, field, message, replayed=True)


async def test_malformed_request_leaves_the_key_unspent(
    bank: Bank, ida: Person, payer_account: str, payee_account: str
) -> None:
    key = new_key()
    memo = "x" * 501
    for _ in range(2):
        body = await bank.transfer(ida, payer_account, payee_account, "1", memo=memo, idempotencyKey=key)
        assert body == refused("transfer", "INVALID_MEMO", "memo", "a memo has at most 500 characters")
    await bank.transfer(ida, payer_account, payee_account, "1e2", idempotencyKey=key)
    await bank.transfer(ida, payer_account, "nowhere", "1", idempotencyKey=key)
    body = await bank.transfer(ida, payer_account, payee_account, "1", idempotencyKey=key)
    assert body == settled("transfer", transaction(2, payer_account, payee_account, "1.00"))


async def test_key_is_the_same_in_upper_case_and_has_no_other_spelling(
    bank: Bank, ida: Person, payer_account: str, payee_account: str
) -> None:
    wanted = "should be a UUID without braces or prefix, for example 0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e"
    key = uuid.UUID(new_key())
    for spelling in (key.hex, f"{{{key}}}", key.urn, f"{key}\n", ""):
        body = await bank.transfer(ida, payer_account, payee_account, "1", idempotencyKey=spelling)
        assert body == malformed("idempotencyKey", wanted)
    row = transaction(2, payer_account, payee_account, "1.00")
    assert await bank.transfer(ida, payer_account, payee_account, "1", idempotencyKey=str(key)) == settled(
        "transfer", row
    )
    again = await bank.transfer(ida, payer_account, payee_account, "1", idempotencyKey=str(key).upper())
    assert again == settled("transfer", row, replayed=True)


# ---------------------------------------------------------------- at once


async def test_simultaneous_transfers_under_one_key_are_one_row(
    bank: Bank, ida: Person, payer_account: str, payee_account: str, superuser: Driver
) -> None:
    key, row = new_key(), transaction(2, payer_account, payee_account, "10.00")
    bodies = await asyncio.gather(
        *(bank.transfer(ida, payer_account, payee_account, "10", idempotencyKey=key) for _ in range(30))
    )
    assert bodies.count(settled("transfer", row)) == 1
    assert bodies.count(settled("transfer", row, replayed=True)) == 29
    assert await superuser.fetchval("SELECT count(*) FROM transactions WHERE amount = 1000") == 1
    assert (await bank.balance(payer_account), await bank.balance(payee_account)) == ("90.00", "10.00")


async def test_simultaneous_different_transfers_under_one_key_are_one_row_and_refusals(
    bank: Bank, ida: Person, payer_account: str, payee_account: str
) -> None:
    key = new_key()
    bodies = await asyncio.gather(
        *(bank.transfer(ida, payer_account, payee_account, str(amount), idempotencyKey=key) for amount in range(1, 11))
    )
    [winner] = [amount for amount, body in enumerate(bodies, start=1) if body != key_reused("transfer")]
    assert bodies[winner - 1] == settled("transfer", transaction(2, payer_account, payee_account, f"{winner}.00"))
    assert await bank.balance(payee_account) == f"{winner}.00"


# ---------------------------------------------------------------- the owner of a key


async def test_same_key_of_another_user_is_another_key(
    bank: Bank, ida: Person, eve: Person, payer_account: str, payee_account: str
) -> None:
    key = new_key()
    theirs = await bank.transfer(ida, payer_account, payee_account, "10", idempotencyKey=key)
    own = await bank.transfer(eve, payee_account, payer_account, "3", idempotencyKey=key)
    assert theirs == settled("transfer", transaction(2, payer_account, payee_account, "10.00"))
    assert own == settled("transfer", transaction(3, payee_account, payer_account, "3.00"))
    assert await bank.by_key(ida, key) == transaction(2, payer_account, payee_account, "10.00")
    assert await bank.by_key(eve, key) == transaction(3, payee_account, payer_account, "3.00")


async def test_key_shows_its_outcome_only_to_its_owner(
    bank: Bank, ida: Person, eve: Person, payer_account: str, payee_account: str
) -> None:
    key = new_key()
    assert await bank.by_key(ida, key) is None
    await bank.transfer(ida, payer_account, payee_account, "1", idempotencyKey=key)
    assert await bank.by_key(ida, key) == transaction(2, payer_account, payee_account, "1.00")
    assert await bank.by_key(eve, key) is None
    assert await bank.by_key(bank.admin, key) is None
    assert await bank.client.run(BY_KEY, key=key) == {"data": {"transactionByIdempotencyKey": None}}


async def test_key_of_a_refused_transfer_has_no_transaction(
    bank: Bank, ida: Person, payer_account: str, payee_account: str
) -> None:
    key = new_key()
    assert await bank.transfer(ida, payee_account, payer_account, "1", idempotencyKey=key) == not_found(
        "transfer", "fromAccountId"
    )
    assert await bank.by_key(ida, key) is None


# ---------------------------------------------------------------- answers that are lost


async def send_and_leave(bank: Bank, by: Person, given: dict[str, object]) -> None:
    """Send a transfer over a new connection, and close the connection before a response can arrive."""
    body = orjson.dumps({"query": TRANSFER, "variables": {"input": given}})
    host, port = bank.client.http.base_url.host, bank.client.http.base_url.port
    head = (
        f"POST /graphql HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {by.token}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    _, writer = await asyncio.open_connection(host, port)
    writer.write(head.encode() + body)
    writer.close()
    await writer.wait_closed()


async def arrived(bank: Bank, by: Person, key: str) -> Body:
    """Query the transaction under `key` until it exists."""
    for _ in range(POLLS_MAX):
        found = await bank.by_key(by, key)
        if found is not None:
            return found
        await asyncio.sleep(POLL_S)
    raise AssertionError("the transfer was never made")


async def test_transfer_whose_answer_was_lost_is_found_by_its_key_and_replayed(
    bank: Bank, ida: Person, payer_account: str, payee_account: str
) -> None:
    given = transfer_input(payer_account, payee_account, "10", memo="tea")
    row = transaction(2, payer_account, payee_account, "10.00", memo="tea")
    await send_and_leave(bank, ida, given)
    assert await arrived(bank, ida, str(given["idempotencyKey"])) == row
    again = await bank.client.run(TRANSFER, by=ida, input=given)
    assert again == settled("transfer", row, replayed=True)
    assert (await bank.balance(payer_account), await bank.balance(payee_account)) == ("90.00", "10.00")


async def test_transfer_that_is_sent_often_and_never_answered_happens_once(
    bank: Bank, ida: Person, payer_account: str, payee_account: str
) -> None:
    given = transfer_input(payer_account, payee_account, "10")
    await asyncio.gather(*(send_and_leave(bank, ida, given) for _ in range(10)))
    row = await arrived(bank, ida, str(given["idempotencyKey"]))
    again = await bank.client.run(TRANSFER, by=ida, input=given)
    assert again == settled("transfer", row, replayed=True)
    assert await bank.balance(payee_account) == "10.00"
    report = await audit(bank.client.database)
    assert (report.clean, report.transactions) == (True, 2)
