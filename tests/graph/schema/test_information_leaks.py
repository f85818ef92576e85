"""What refusals reveal to a stranger: nothing about other users' emails and accounts."""

import itertools
from typing import Any

import pytest

from tests.graph.support.bank import Bank, new_key
from tests.graph.support.callers import PASSWORD, Client, Person

CREATE_USER = """mutation ($input: CreateUserInput!) {
  createUser(input: $input) { user { id } userErrors { field code message } }
}"""
UPDATE_USER = """mutation ($input: UpdateUserInput!) {
  updateUser(input: $input) { user { id } userErrors { field code message } }
}"""
TAKEN = ("ida@example.com", "IDA@EXAMPLE.COM", "ida@eXample.com")
FREE = ("ada@example.com", "ADA@EXAMPLE.COM", "ada@eXample.com")
# Each is wrong in itself, independent of the email.
FAULTS: list[dict[str, Any]] = [
    *({"username": one} for one in ("", "a", "1ada", "root", "support", "x" * 33, "ida", "IDA", "treasury")),
    *({"password": one} for one in ("", "short", "x" * 129, " " * 12, "password123", "aaaaaaaaaa", "newcomer")),
    *({"profile": {"displayName": one}} for one in ("x" * 101,)),
    *({"profile": {"bio": one}} for one in ("x" * 5001,)),
    *({"profile": {"websiteUrl": one}} for one in ("https:x", "javascript:alert(1)", "x" * 2001)),
]
OWN: list[dict[str, Any]] = [{"username": "ida"}, {"username": "IDA"}, {"password": "newcomer"}]  # no errors for ida
TWO_FAULTS = [{**one, **other} for one, other in itertools.pairwise(FAULTS[::3])]


def case_id(fault: dict[str, Any]) -> str:
    """Return the name of a case."""
    return ", ".join(f"{name} {str(value)[:20]!r}" for name, value in fault.items() if value != PASSWORD)


async def payload_and_statements(
    client: Client, query: str, given: dict[str, Any], by: Person | None = None
) -> tuple[Any, int]:
    """Return the payload of the mutation, and the number of its statements."""
    before = client.database.counters.statements
    body = await client.run(query, by=by, input=given)
    [(_, payload)] = body["data"].items()
    assert payload["userErrors"], given
    return payload, client.database.counters.statements - before


@pytest.mark.parametrize("fault", [*FAULTS, *TWO_FAULTS], ids=case_id)
async def test_create_user_reveals_nothing_about_an_email_if_another_field_is_wrong(
    client: Client, ida: Person, fault: dict[str, Any]
) -> None:
    given = {"username": "newcomer", "password": PASSWORD, **fault}
    for taken, free in zip(TAKEN, FREE, strict=True):
        answers = [
            await payload_and_statements(client, CREATE_USER, {**given, "email": email}) for email in (taken, free)
        ]
        assert answers[0] == answers[1]
        assert "EMAIL_TAKEN" not in str(answers)


@pytest.mark.parametrize(
    "fault",
    [
        *({"currentPassword": one} for one in (None, "", "wrong", PASSWORD + "x")),
        *({**one, "currentPassword": PASSWORD} for one in FAULTS if one not in OWN),
        *({**one, "currentPassword": PASSWORD} for one in ({"expectedVersion": 9}, {"username": "eve"})),
    ],
    ids=case_id,
)
async def test_update_user_reveals_nothing_about_an_email_if_another_field_is_wrong(
    client: Client, ida: Person, eve: Person, fault: dict[str, Any]
) -> None:
    for taken, free in zip(("eve@example.com", "EVE@example.com"), FREE, strict=False):
        given = [{"id": ida.id, "email": email, **fault} for email in (taken, free)]
        answers = [(await payload_and_statements(client, UPDATE_USER, one, ida))[0] for one in given]
        assert answers[0] == answers[1]
        assert "EMAIL_TAKEN" not in str(answers)


async def test_update_of_another_user_reveals_nothing_about_an_email(client: Client, ida: Person, eve: Person) -> None:
    answers = [
        await payload_and_statements(client, UPDATE_USER, {"id": one, "email": email, "currentPassword": PASSWORD}, eve)
        for one in (ida.id, "user_999")
        for email in (TAKEN[0], "eve@example.com", FREE[0])
    ]
    assert [answer[0] for answer in answers] == [answers[0][0]] * len(answers)


async def test_transfer_that_is_refused_for_another_reason_reveals_nothing_about_the_receiving_account(
    bank: Bank, ida: Person, eve: Person
) -> None:
    payer_account, yen, empty = (
        await bank.account(ida, holding="5"),
        await bank.account(ida, "JPY"),
        await bank.account(ida),
    )
    theirs = await bank.account(eve, holding="1")
    receivers = [theirs, *[await bank.account(eve, code) for code in ("EUR", "JPY", "USD")]]
    # The system accounts, and accounts that do not exist.
    receivers += sorted(
        {f"account_{number}" for number in (*range(1, 12), 999)} - {payer_account, yen, empty, *receivers}
    )
    used = new_key()
    assert (await bank.transfer(ida, payer_account, theirs, "1", idempotencyKey=used))["data"]["transfer"][
        "userErrors"
    ] == []
    faults: list[tuple[str, str, dict[str, Any]]] = [
        *((payer_account, amount, {}) for amount in ("0", "-1", "0.001", "5", "1000000000000", "9" * 40)),
        *((empty, "0.01", {}), (yen, "1", {}), (yen, "0.5", {})),
        *((theirs, "1", {}), ("account_999", "1", {})),  # as the source: not theirs to use
        (payer_account, "2", {"idempotencyKey": used}),
        (payer_account, "1", {"memo": "x" * 1001}),
    ]
    for source, amount, others in faults:
        answers = [await bank.transfer(ida, source, receiver, amount, **others) for receiver in receivers]
        assert "userErrors" not in str(answers[0]) or answers[0]["data"]["transfer"]["userErrors"], answers[0]
        differing = [answer for answer in answers if answer != answers[0]]
        assert (source, amount, others, differing) == (source, amount, others, [])
    assert await bank.balance(payer_account) == "4.00"


async def test_transfer_with_sufficient_funds_reveals_only_what_the_movement_would(
    bank: Bank, ida: Person, eve: Person
) -> None:
    payer_account = await bank.account(ida, holding="5")
    others = [await bank.account(eve, "JPY"), await bank.account(eve, "USD", holding="3"), "account_999"]
    answers = [await bank.transfer(ida, payer_account, one, "1") for one in others]
    assert [answer["data"]["transfer"]["userErrors"][0]["code"] for answer in answers] == ["ACCOUNT_NOT_FOUND"] * 3
    assert answers == [answers[0]] * 3
    assert (await bank.transfer(ida, payer_account, await bank.account(eve), "1"))["data"]["transfer"][
        "userErrors"
    ] == []
