"""Many transfers in one mutation, from a client's point of view: results, refusals with their index, and the price."""

from collections.abc import Sequence
from typing import Any

import pytest

from db.connections.leases import Driver
from db.ledger.batches import BATCH_MAX
from graph.operations.cache import Operations
from graph.schema.root import graphql_schema
from tests.graph.support.bank import Bank, Body, new_key, transfer_input
from tests.graph.support.callers import Client, Person
from tests.graph.support.rights_data import dump

OPERATIONS = Operations(graphql_schema, introspection=True, suggestions=True)
TRANSFERS = """
mutation ($input: TransfersInput!) {
  transfers(input: $input) {
    results { replayed transaction { id amount { amount } memo from { id balance { amount } } to { id } } }
    userErrors { field code message }
  }
}
"""
LEAST = "{ transfers(input: $input) { results { transaction { id } } userErrors { code } } }"
EMPTY_RESULT = {"replayed": False, "transaction": None}


@pytest.fixture
async def payer_account(bank: Bank, ida: Person) -> str:
    """The account of ida, with 100.00 EUR from transaction_1."""
    return await bank.account(ida, holding="100")


@pytest.fixture
async def payee_account(bank: Bank, eve: Person) -> str:
    """The account of eve, empty."""
    return await bank.account(eve)


async def transfers(client: Client, by: Person | None, given: Sequence[object], mode: str = "EACH") -> Body:
    return await client.run(TRANSFERS, by=by, input={"transfers": given, "mode": mode})


def row(number: int, source: str, target: str, amount: str, left: str, memo: str | None = None) -> Body:
    ends = {"from": {"id": source, "balance": {"amount": left}}, "to": {"id": target}}
    return {"id": f"transaction_{number}", "amount": {"amount": amount}, "memo": memo, **ends}


def error(place: int, code: str, message: str, *field: str) -> Body:
    return {"field": ["input", "transfers", str(place), *field], "code": code, "message": message}


async def test_results_have_the_order_of_the_input_and_refusals_have_their_index(
    client: Client, bank: Bank, ida: Person, payer_account: str, payee_account: str
) -> None:
    given = [
        transfer_input(payer_account, payee_account, "60", memo="tea"),
        transfer_input(payer_account, payee_account, "60"),
        transfer_input(payee_account, payer_account, "1"),
        transfer_input(payer_account, payee_account, "1.001"),
        transfer_input(payer_account, payee_account, "0.5"),
    ]
    expected: dict[str, list[Body]] = {
        "results": [
            {"replayed": False, "transaction": row(2, payer_account, payee_account, "60.00", "39.50", "tea")},
            EMPTY_RESULT,
            EMPTY_RESULT,
            EMPTY_RESULT,
            {"replayed": False, "transaction": row(3, payer_account, payee_account, "0.50", "39.50")},
        ],
        "userErrors": [
            error(1, "INSUFFICIENT_FUNDS", "the balance of the account is less than this amount", "amount"),
            error(2, "ACCOUNT_NOT_FOUND", "no such account", "fromAccountId"),
            error(3, "INVALID_AMOUNT", "EUR has 2 fraction digits, not 3", "amount"),
        ],
    }
    assert await transfers(client, ida, given) == {"data": {"transfers": expected}}
    again = {**expected, "results": [{**one, "replayed": True} for one in expected["results"]]}
    assert await transfers(client, ida, given) == {"data": {"transfers": again}}
    assert (await bank.balance(payer_account), await bank.balance(payee_account)) == ("39.50", "60.50")


async def test_key_of_a_transfer_finds_it_by_either_mutation(
    client: Client, bank: Bank, ida: Person, payer_account: str, payee_account: str
) -> None:
    alone, listed = (transfer_input(payer_account, payee_account, "1") for _ in range(2))
    await bank.transfer(ida, payer_account, payee_account, "1", idempotencyKey=alone["idempotencyKey"])
    body = await transfers(client, ida, [alone, listed])
    ids = [(one["transaction"]["id"], one["replayed"]) for one in body["data"]["transfers"]["results"]]
    assert ids == [("transaction_2", True), ("transaction_3", False)]
    body = await bank.transfer(ida, payer_account, payee_account, "1", idempotencyKey=listed["idempotencyKey"])
    payload = body["data"]["transfer"]
    assert (payload["transaction"]["id"], payload["replayed"]) == ("transaction_3", True)


async def test_all_are_made_or_none(
    client: Client, bank: Bank, ida: Person, payer_account: str, payee_account: str, superuser: Driver
) -> None:
    before = await dump(superuser)
    given = [transfer_input(payer_account, payee_account, amount) for amount in ("60", "60", "1")]
    other = "another transfer of this list was refused: all are made, or none"
    expected = {
        "results": [EMPTY_RESULT] * 3,
        "userErrors": [
            error(0, "OTHER_TRANSFER_REFUSED", other),
            error(1, "INSUFFICIENT_FUNDS", "the balance of the account is less than this amount", "amount"),
            error(2, "OTHER_TRANSFER_REFUSED", other),
        ],
    }
    assert await transfers(client, ida, given, "ALL") == {"data": {"transfers": expected}}
    after = await dump(superuser)
    assert {name: rows for name, rows in after.items() if name != "idempotency_keys"} == {
        name: rows for name, rows in before.items() if name != "idempotency_keys"
    }
    await bank.deposit(payer_account, "100")
    expected["results"] = [{**EMPTY_RESULT, "replayed": True}] * 3
    assert await transfers(client, ida, given, "ALL") == {"data": {"transfers": expected}}
    anew = [{**one, "idempotencyKey": new_key()} for one in given]
    body = await transfers(client, ida, anew, "ALL")
    assert body["data"]["transfers"]["userErrors"] == []
    assert await bank.balance(payer_account) == "79.00"


async def test_a_thousand_are_made_and_one_more_is_too_many(
    client: Client, bank: Bank, ida: Person, payer_account: str, payee_account: str, superuser: Driver
) -> None:
    given = [transfer_input(payer_account, payee_account, "0.01") for _ in range(BATCH_MAX)]
    body = await transfers(client, ida, given, "ALL")
    results = body["data"]["transfers"]["results"]
    assert [one["transaction"]["id"] for one in results] == [f"transaction_{n}" for n in range(2, BATCH_MAX + 2)]
    assert await bank.balance(payer_account) == "90.00"
    before = await dump(superuser)
    for count in (0, BATCH_MAX + 1):
        anew = [transfer_input(payer_account, payee_account, "0.01") for _ in range(count)]
        body = await transfers(client, ida, anew)
        [found] = body["errors"]
        assert found["message"] == f"input.transfers should have 1 to 1000 items, not {count}"
        assert found["extensions"]["code"] == "BAD_USER_INPUT"
    assert await dump(superuser) == before


async def test_bad_input_is_an_error_with_its_index_and_moves_nothing(
    client: Client, ida: Person, payer_account: str, payee_account: str, superuser: Driver
) -> None:
    before = await dump(superuser)
    fine = transfer_input(payer_account, payee_account, "1")
    for wrong, message in (
        (
            {"toAccountId": "user_1"},
            "input.transfers[1].toAccountId is the id of a user, but the id of an account is expected",
        ),
        ({"fromAccountId": "x"}, "input.transfers[1].fromAccountId is not an id"),
        ({"amount": 1}, "should be a decimal number"),
        ({"idempotencyKey": None}, "idempotencyKey"),
    ):
        body = await transfers(client, ida, [fine, {**fine, "idempotencyKey": new_key(), **wrong}])
        [found] = body["errors"]
        assert message in found["message"]
        assert found["extensions"]["code"] in {"BAD_USER_INPUT", "GRAPHQL_VALIDATION_FAILED"}
    [found] = (await transfers(client, None, [fine]))["errors"]
    assert found["extensions"]["code"] == "UNAUTHENTICATED"
    assert await dump(superuser) == before


async def test_edges_of_all_results_are_read_together(
    client: Client, ida: Person, payer_account: str, payee_account: str
) -> None:
    counts = []
    for count in (2, 50):
        given = {
            "transfers": [transfer_input(payer_account, payee_account, "0.01") for _ in range(count)],
            "mode": "EACH",
        }
        counts.append(await client.statements(TRANSFERS, by=ida, input=given))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("count", [1, 7, BATCH_MAX])
def test_price_is_that_of_as_many_transfers_as_are_sent(count: int) -> None:
    given: dict[str, Any] = {"transfers": [{}] * count, "mode": "EACH"}
    cost = 10 + count * (4 + 1)
    for text, variables in (
        (f"mutation ($input: TransfersInput!) {LEAST}", {"input": given}),
        (
            "mutation ($list: [TransferInput!]!) " + LEAST.replace("$input", "{transfers: $list, mode: ALL}"),
            {"list": given["transfers"]},
        ),
        (
            "mutation ($one: TransferInput!) "
            + LEAST.replace("$input", f"{{transfers: [{', '.join(['$one'] * count)}], mode: ALL}}"),
            {},
        ),
    ):
        if count == BATCH_MAX and not variables:
            continue  # a document may not contain so many values
        pricing = OPERATIONS.find(text, None).pricing
        assert pricing.price(variables).cost == cost
        if variables:
            assert pricing.dearest()[0].cost == 10 + BATCH_MAX * 5
            assert pricing.price(dict.fromkeys(variables)).cost == 10 + BATCH_MAX * 5
            assert pricing.price(variables).cost == cost


async def test_client_receives_the_price(client: Client, ida: Person, payer_account: str, payee_account: str) -> None:
    given = {"transfers": [transfer_input(payer_account, payee_account, "1") for _ in range(3)], "mode": "EACH"}
    text = f"mutation ($input: TransfersInput!) {LEAST}"
    request = {"query": text, "variables": {"input": given}, "extensions": {"cost": True}}
    answer = await client.http.post("/graphql", json=request, headers={"authorization": f"Bearer {ida.token}"})
    assert answer.json()["extensions"]["cost"]["requested"] == 25
