"""Accounts and movements of money: exact amounts in every currency, and each refusal with its own field."""

import asyncio
from typing import Any

from db.connections.leases import Driver
from tests.graph.support.bank import (
    OPEN_ACCOUNT,
    TRANSFER,
    Bank,
    malformed,
    new_key,
    not_found,
    refused,
    settled,
    transaction,
    transfer_input,
)
from tests.graph.support.callers import Client, Person
from tests.graph.support.rights_data import dump

ACCOUNTS_MAX = 20
TOO_MANY = {"field": None, "code": "TOO_MANY_ACCOUNTS", "message": "a user opens at most 20 accounts"}
INVALID = "GRAPHQL_VALIDATION_FAILED"
NO_DECIMAL = 'should be a decimal number like "12.50": no exponent, no plus sign, no leading zero'


# ---------------------------------------------------------------- accounts


async def test_new_account_is_empty_and_the_viewers_own(client: Client, ida: Person) -> None:
    empty = {"EUR": "0.00", "JPY": "0", "KWD": "0.000", "CLF": "0.0000"}
    for number, (currency, amount) in enumerate(empty.items(), start=1):
        body = await client.run(OPEN_ACCOUNT, by=ida, input={"currencyCode": currency})
        account = {
            "id": f"account_{number}",
            "currencyCode": currency,
            "balance": {"amount": amount, "currencyCode": currency},
            "owner": {"username": "ida"},
        }
        assert body == {"data": {"openAccount": {"account": account, "userErrors": []}}}


async def test_currency_without_accounts_is_refused(client: Client, ida: Person, superuser: Driver) -> None:
    before = await dump(superuser)
    for code in ("XAU", "XAG", "XDR", "XTS", "XXX", "ZZZ", "DEM"):
        body = await client.run(OPEN_ACCOUNT, by=ida, input={"currencyCode": code})
        message = f"the currency {code} is not in ISO 4217, or has no minor unit; use a code such as EUR"
        error = {"field": ["input", "currencyCode"], "code": "UNKNOWN_CURRENCY", "message": message}
        assert body == {"data": {"openAccount": {"account": None, "userErrors": [error]}}}
    assert await dump(superuser) == before


async def test_malformed_currency_code_is_refused_as_such(client: Client, ida: Person) -> None:
    message = "should be an ISO 4217 code of three capital letters, for example EUR"
    for code in ("eur", "EURO", " EUR", "EUR\n", "ЕUR", ""):  # noqa: RUF001 - the fifth begins with a Cyrillic letter
        body = await client.run(OPEN_ACCOUNT, by=ida, input={"currencyCode": code})
        assert body == malformed("currencyCode", message)


async def test_simultaneous_requests_open_no_more_accounts_than_a_user_may_have(
    client: Client, ida: Person, eve: Person, superuser: Driver
) -> None:
    open_already = "INSERT INTO accounts (owner_id, currency_code) SELECT $1, 'EUR' FROM generate_series(1, $2::int)"
    await superuser.execute(open_already, ida.number, ACCOUNTS_MAX - 2)
    request = {"currencyCode": "EUR"}
    bodies = await asyncio.gather(*(client.run(OPEN_ACCOUNT, by=ida, input=request) for _ in range(8)))
    assert bodies.count({"data": {"openAccount": {"account": None, "userErrors": [TOO_MANY]}}}) == 6
    assert await superuser.fetchval("SELECT count(*) FROM accounts") == ACCOUNTS_MAX
    data = await client.data(OPEN_ACCOUNT, by=eve, input=request)
    assert data["openAccount"]["userErrors"] == []


# ---------------------------------------------------------------- exact amounts


async def test_deposit_is_exact_in_every_currency(bank: Bank, ida: Person) -> None:
    deposits = [
        ("EUR", "0.01", "0.01"),
        ("EUR", "12.5", "12.50"),
        ("EUR", "7", "7.00"),
        ("EUR", "9999999999999.99", "9999999999999.99"),
        ("JPY", "5", "5"),
        ("JPY", "999999999999999", "999999999999999"),
        ("KWD", "0.001", "0.001"),
        ("KWD", "1.5", "1.500"),
        ("KWD", "999999999999.999", "999999999999.999"),
    ]
    sources: dict[str, str] = {}
    for number, (currency, given, shown) in enumerate(deposits, start=1):
        account = await bank.account(ida, currency)
        body = await bank.deposit(account, given, memo="wages")
        source = sources.setdefault(currency, body["data"]["deposit"]["transaction"]["from"]["id"])
        assert body == settled("deposit", transaction(number, source, account, shown, currency, memo="wages"))
        assert await bank.balance(account) == shown
    assert await bank.balance(sources["EUR"]) == "-10000000000019.50"


async def test_transfer_is_exact_in_every_currency(bank: Bank, ida: Person, eve: Person) -> None:
    transfers = [
        ("EUR", "100.00", "0.01", "0.01", "99.99"),
        ("EUR", "100.00", "99.9", "99.90", "0.10"),
        ("EUR", "0.30", "0.30", "0.30", "0.00"),
        ("JPY", "100", "1", "1", "99"),
        ("KWD", "100", "0.001", "0.001", "99.999"),
    ]
    for currency, holding, given, shown, left in transfers:
        payer_account, payee_account = (
            await bank.account(ida, currency, holding=holding),
            await bank.account(eve, currency),
        )
        body = await bank.transfer(ida, payer_account, payee_account, given)
        number = int(body["data"]["transfer"]["transaction"]["id"].removeprefix("transaction_"))
        assert body == settled("transfer", transaction(number, payer_account, payee_account, shown, currency))
        assert (await bank.balance(payer_account), await bank.balance(payee_account)) == (left, shown)


async def test_tenths_are_added_exactly(bank: Bank, ida: Person) -> None:
    account = await bank.account(ida)
    for _ in range(10):
        await bank.deposit(account, "0.10")
    assert await bank.balance(account) == "1.00"


async def test_amounts_that_the_currency_does_not_have_are_refused(bank: Bank, ida: Person) -> None:
    wrong = {
        "EUR": ("0.001", "1.000", "0.005"),
        "JPY": ("0.5", "1.0"),
        "KWD": ("0.0001", "1.0000"),
    }
    digits = {"EUR": 2, "JPY": 0, "KWD": 3}
    for currency, amounts in wrong.items():
        payer_account, payee_account = (
            await bank.account(ida, currency, holding="100"),
            await bank.account(ida, currency),
        )
        held = await bank.balance(payer_account)
        for amount in amounts:
            message = f"{currency} has {digits[currency]} fraction digits, not {len(amount.partition('.')[2])}"
            expected = refused("transfer", "INVALID_AMOUNT", "amount", message)
            assert await bank.transfer(ida, payer_account, payee_account, amount) == expected
            assert await bank.deposit(payer_account, amount) == refused("deposit", "INVALID_AMOUNT", "amount", message)
        assert await bank.balance(payer_account) == held


async def test_amounts_that_are_not_positive_are_refused(bank: Bank, ida: Person) -> None:
    payer_account, payee_account = await bank.account(ida, holding="100"), await bank.account(ida, holding="100")
    message = "an amount is greater than zero"
    for amount in ("0", "0.00", "-0", "-0.01", "-1"):
        assert await bank.transfer(ida, payer_account, payee_account, amount) == refused(
            "transfer", "INVALID_AMOUNT", "amount", message
        )
        assert await bank.deposit(payer_account, amount) == refused("deposit", "INVALID_AMOUNT", "amount", message)
    assert (await bank.balance(payer_account), await bank.balance(payee_account)) == ("100.00", "100.00")


async def test_amount_that_is_no_decimal_string_never_runs(bank: Bank, ida: Person, superuser: Driver) -> None:
    payer_account, payee_account = await bank.account(ida, holding="100"), await bank.account(ida)
    before = await dump(superuser)
    strings = ("", " 1", "1 ", "+1", "01", ".5", "1.", "1e2", "1,5", "1_0", "0x1", "NaN", "Infinity", "１", "9" * 41)  # noqa: RUF001
    for amount in strings:
        assert await bank.transfer(ida, payer_account, payee_account, amount) == malformed("amount", NO_DECIMAL)
    numbers: tuple[Any, ...] = (1, 1.5, True, ["1"], {"amount": "1"})
    for number in numbers:
        body = await bank.transfer(ida, payer_account, payee_account, number)
        assert body == malformed("amount", f"{NO_DECIMAL}, as a string")
    assert await dump(superuser) == before


async def test_amount_as_a_number_in_the_document_never_runs(bank: Bank, ida: Person, superuser: Driver) -> None:
    payer_account, payee_account = await bank.account(ida, holding="100"), await bank.account(ida)
    before = await dump(superuser)
    for amount in ("1", "1.50", "1e2", "true", "null", '"1e2"'):
        text = (
            f'mutation {{ transfer(input: {{fromAccountId: "{payer_account}", toAccountId: "{payee_account}",'
            f' amount: {amount}, idempotencyKey: "{new_key()}"}}) {{ transaction {{ id }} }} }}'
        )
        body = await bank.client.run(text, by=ida)
        assert (list(body), [error["extensions"]["code"] for error in body["errors"]]) == (["errors"], [INVALID])
    assert await dump(superuser) == before


# ---------------------------------------------------------------- refusals


async def test_every_refusal_of_a_transfer_names_its_own_field(bank: Bank, ida: Person, eve: Person) -> None:
    payer_account, payee_account = await bank.account(ida, holding="100"), await bank.account(eve, holding="100")
    yen = await bank.account(ida, "JPY", holding="100")
    full = await bank.account(eve, holding="10000000000000.00")
    for source in (payee_account, "account_999"):
        assert await bank.transfer(ida, source, payer_account, "1") == not_found("transfer", "fromAccountId")
    for target in (
        "account_999",
        await bank.account(eve, "JPY"),
    ):  # the response does not reveal another user's currency
        assert await bank.transfer(ida, payer_account, target, "1") == refused(
            "transfer", "ACCOUNT_NOT_FOUND", "toAccountId", "no such account in EUR"
        )
    assert await bank.transfer(ida, payer_account, payer_account, "1") == refused(
        "transfer", "SAME_ACCOUNT", "toAccountId", "money cannot move from an account to itself; name two accounts"
    )
    assert await bank.transfer(ida, payer_account, yen, "1") == refused(
        "transfer", "CURRENCY_MISMATCH", "toAccountId", "one account is in EUR, the other in JPY"
    )
    for amount in ("100.01", "9" * 40):
        assert await bank.transfer(ida, payer_account, payee_account, amount) == refused(
            "transfer", "INSUFFICIENT_FUNDS", "amount", "the balance of the account is less than this amount"
        )
    assert await bank.transfer(ida, payer_account, full, "0.01") == refused(
        "transfer", "BALANCE_LIMIT_EXCEEDED", "amount", "the balance of the receiving account would exceed the maximum"
    )
    assert await bank.transfer(ida, payer_account, payee_account, "1", memo="x" * 501) == refused(
        "transfer", "INVALID_MEMO", "memo", "a memo has at most 500 characters"
    )
    held = [await bank.balance(account) for account in (payer_account, payee_account, yen, full)]
    assert held == ["100.00", "100.00", "100", "10000000000000.00"]


async def test_every_refusal_of_a_deposit_names_its_own_field(bank: Bank, ida: Person) -> None:
    payer_account = await bank.account(ida, holding="100")
    [treasury] = {"account_1", "account_2"} - {payer_account}
    for account in (treasury, "account_999"):
        assert await bank.deposit(account, "1") == not_found("deposit", "accountId")
    assert await bank.deposit(payer_account, "1", by=ida) == not_found("deposit", "accountId")
    for amount in ("9999999999900.01", "9" * 40):
        assert await bank.deposit(payer_account, amount) == refused(
            "deposit",
            "BALANCE_LIMIT_EXCEEDED",
            "amount",
            "the balance of the receiving account would exceed the maximum",
        )
    assert await bank.deposit(payer_account, "1", memo="x" * 501) == refused(
        "deposit", "INVALID_MEMO", "memo", "a memo has at most 500 characters"
    )
    assert (await bank.balance(payer_account), await bank.balance(treasury)) == ("100.00", "-100.00")


async def test_malformed_ids_are_a_bad_request(bank: Bank, ida: Person) -> None:
    payer_account = await bank.account(ida, holding="100")
    wrong = {
        "input.fromAccountId is not an id; send an `id` that the API has returned": ("1", payer_account),
        "input.toAccountId is not an id; send an `id` that the API has returned": (payer_account, "account_01"),
        "input.toAccountId is the id of a user, but the id of an account is expected": (payer_account, "user_1"),
    }
    for message, (source, target) in wrong.items():
        response = await bank.client.post(TRANSFER, by=ida, input=transfer_input(source, target, "1"))
        [error] = response.json()["errors"]
        assert (error["message"], error["extensions"]) == (message, {"code": "BAD_USER_INPUT"})


# ---------------------------------------------------------------- who pays whom


async def test_longest_memo_is_kept_as_it_was_written(bank: Bank, ida: Person, eve: Person) -> None:
    payer_account, payee_account = await bank.account(ida, holding="1"), await bank.account(eve)
    memo = " \N{GRINNING FACE}\t'; DROP TABLE accounts; --\n" * 16
    memo += "x" * (500 - len(memo))
    body = await bank.transfer(ida, payer_account, payee_account, "1", memo=memo)
    assert body["data"]["transfer"]["transaction"]["memo"] == memo


async def test_administrator_transfers_from_any_account(bank: Bank, ida: Person, eve: Person) -> None:
    payer_account, payee_account = await bank.account(ida, holding="1"), await bank.account(eve)
    body = await bank.transfer(bank.admin, payer_account, payee_account, "1")
    assert body == settled("transfer", transaction(2, payer_account, payee_account, "1.00"))


async def test_money_returns_to_the_treasury_and_leaves_it_only_by_deposits(bank: Bank, ida: Person) -> None:
    payer_account = await bank.account(ida, holding="1")
    [treasury] = {"account_1", "account_2"} - {payer_account}
    assert await bank.transfer(ida, treasury, payer_account, "1") == not_found("transfer", "fromAccountId")
    body = await bank.transfer(ida, payer_account, treasury, "0.40")
    assert body == settled("transfer", transaction(2, payer_account, treasury, "0.40"))
    assert (await bank.balance(payer_account), await bank.balance(treasury)) == ("0.60", "-0.60")
