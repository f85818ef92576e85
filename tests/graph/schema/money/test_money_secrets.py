"""What a transfer that moves nothing reveals about other users' accounts: nothing that could be learned for free."""

from tests.graph.support.bank import Bank, refused
from tests.graph.support.callers import Client, Person

TOO_LITTLE = refused("transfer", "INSUFFICIENT_FUNDS", "amount", "the balance of the account is less than this amount")
NO_SUCH = refused("transfer", "ACCOUNT_NOT_FOUND", "toAccountId", "no such account in EUR")


async def test_transfer_without_funds_reveals_nothing_about_the_receiving_account(
    bank: Bank, ida: Person, eve: Person
) -> None:
    empty = await bank.account(ida)
    others = [await bank.account(eve, holding="1"), await bank.account(eve, "JPY"), "account_999"]
    # The same for every account, including the system account.
    for account in {*others, *(f"account_{number}" for number in range(1, 6))} - {empty}:
        assert (account, await bank.transfer(ida, empty, account, "0.01")) == (account, TOO_LITTLE)


async def test_impossible_amount_is_refused_before_the_receiving_account_is_checked(
    bank: Bank, ida: Person, eve: Person
) -> None:
    payer_account = await bank.account(ida, holding="1")
    for account in (await bank.account(eve), await bank.account(eve, "JPY"), "account_999"):
        for amount in ("0", "-1", "0.001"):
            body = await bank.transfer(ida, payer_account, account, amount)
            [error] = body["data"]["transfer"]["userErrors"]
            assert (account, amount, error["code"]) == (account, amount, "INVALID_AMOUNT")


async def test_currency_of_another_users_account_is_not_revealed(
    client: Client, bank: Bank, ida: Person, eve: Person
) -> None:
    payer_account = await bank.account(ida, holding="1")
    for account in (await bank.account(eve, "JPY"), await bank.account(eve, "USD", holding="5"), "account_999"):
        assert (account, await bank.transfer(ida, payer_account, account, "0.01")) == (account, NO_SUCH)
    # The owner of the account and administrators may learn it.
    yen = await bank.account(ida, "JPY")
    refusal = refused("transfer", "CURRENCY_MISMATCH", "toAccountId", "one account is in EUR, the other in JPY")
    assert await bank.transfer(ida, payer_account, yen, "0.01") == refusal
    assert await bank.transfer(bank.admin, payer_account, yen, "0.01") == refusal
    assert await bank.balance(payer_account) == "1.00"
