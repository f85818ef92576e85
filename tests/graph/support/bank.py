"""Money over HTTP: accounts, deposits and transfers as clients request them, and the complete responses."""

import uuid
from dataclasses import dataclass
from typing import Any

from tests.graph.support.callers import Client, Person

OPEN_ACCOUNT = """
mutation ($input: OpenAccountInput!) {
  openAccount(input: $input) {
    account { id currencyCode balance { amount currencyCode } owner { username } }
    userErrors { field code message }
  }
}
"""
TRANSACTION = "{ id amount { amount currencyCode } memo from { id } to { id } }"
TRANSFER = f"""
mutation ($input: TransferInput!) {{
  transfer(input: $input) {{ transaction {TRANSACTION} replayed userErrors {{ field code message }} }}
}}
"""
DEPOSIT = f"""
mutation ($input: DepositInput!) {{
  deposit(input: $input) {{ transaction {TRANSACTION} replayed userErrors {{ field code message }} }}
}}
"""
BY_KEY = f"query ($key: UUID!) {{ transactionByIdempotencyKey(key: $key) {TRANSACTION} }}"
BALANCE = "query ($id: ID!) { account(id: $id) { balance { amount } } }"

Body = dict[str, Any]


def new_key() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True)
class Bank:
    """The API for clients that move money; `admin` makes the deposits."""

    client: Client
    admin: Person

    async def account(self, owner: Person, currency_code: str = "EUR", *, holding: str = "0") -> str:
        """Return the id of a new account of `owner` with a deposit of `holding`."""
        data = await self.client.data(OPEN_ACCOUNT, by=owner, input={"currencyCode": currency_code})
        account_id: str = data["openAccount"]["account"]["id"]
        if holding != "0":
            body = await self.deposit(account_id, holding)
            assert body["data"]["deposit"]["userErrors"] == []
        return account_id

    async def deposit(self, account_id: str, amount: object, *, by: Person | None = None, **others: object) -> Body:
        """Send a deposit, with a new key unless one is given, and return the whole body."""
        given = {"accountId": account_id, "amount": amount, "idempotencyKey": new_key(), **others}
        return await self.client.run(DEPOSIT, by=by or self.admin, input=given)

    async def transfer(self, by: Person, from_id: str, to_id: str, amount: object, **others: object) -> Body:
        """Send a transfer, with a new key unless one is given, and return the whole body."""
        return await self.client.run(TRANSFER, by=by, input=transfer_input(from_id, to_id, amount, **others))

    async def balance(self, account_id: str) -> str:
        """Return the balance of an account, as the administrator sees it."""
        data = await self.client.data(BALANCE, by=self.admin, id=account_id)
        amount: str = data["account"]["balance"]["amount"]
        return amount

    async def by_key(self, by: Person, key: str) -> Body | None:
        """Return the transaction under one of the caller's keys, or None."""
        data = await self.client.data(BY_KEY, by=by, key=key)
        transaction: Body | None = data["transactionByIdempotencyKey"]
        return transaction


def transfer_input(from_id: str, to_id: str, amount: object, **others: object) -> dict[str, object]:
    """Return the input of a transfer, with a new key unless one is given."""
    ends = {"fromAccountId": from_id, "toAccountId": to_id}
    return {**ends, "amount": amount, "idempotencyKey": new_key(), **others}


def transaction(
    number: int, from_id: str, to_id: str, amount: str, currency_code: str = "EUR", *, memo: str | None = None
) -> Body:
    """Return a transaction as clients see it."""
    money = {"amount": amount, "currencyCode": currency_code}
    ends = {"from": {"id": from_id}, "to": {"id": to_id}}
    return {"id": f"transaction_{number}", "amount": money, "memo": memo, **ends}


def settled(mutation: str, transaction: Body, *, replayed: bool = False) -> Body:
    """Return the body of a movement that was made."""
    return {"data": {mutation: {"transaction": transaction, "replayed": replayed, "userErrors": []}}}


def refused(mutation: str, code: str, field: str, message: str, *, replayed: bool = False) -> Body:
    """Return the body of a movement that was refused."""
    errors = [{"field": ["input", field], "code": code, "message": message}]
    return {"data": {mutation: {"transaction": None, "replayed": replayed, "userErrors": errors}}}


def not_found(mutation: str, field: str) -> Body:
    """Return the body of a movement from or to an account that the caller may not use."""
    return refused(mutation, "ACCOUNT_NOT_FOUND", field, "no such account")


def malformed(field: str, message: str) -> Body:
    """Return the body of a request that never ran because the scalar `field` of `$input` is malformed."""
    error = {
        "message": f"Variable '$input' has invalid value at .{field}: {message}",
        "locations": [{"line": 2, "column": 11}],
        "extensions": {"code": "BAD_USER_INPUT"},
    }
    return {"errors": [error]}
