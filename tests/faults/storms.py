"""A storm of transfers during a fault: each is recorded before it is sent, and compared with the ledger afterwards.

The oracle: each request gets a movement or a documented error within its limit of time; acknowledged transfers are in
the ledger, refused ones are not; an unknown outcome is settled by its key, as one row; the total is constant.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from db.connections.leases import Driver
from tests.faults.served import Town, codes, error_counts
from tests.graph.support.bank import Bank, new_key, transfer_input
from tests.graph.support.callers import Client

PAYERS = 8
ANSWERED_S = 20.0
SETTLED_S = 30.0
READY_S = 30.0
MEMO = "m" * 500  # a long memo makes the tables grow faster
OK = 200
NAMED = {"DATABASE_BUSY", "DATABASE_TIMEOUT", "DATABASE_UNAVAILABLE", "DEADLINE_EXCEEDED"}
# Nothing is read after the write: an error below a mutation's field would only say that the write has happened.
PAY = """mutation ($input: TransferInput!) {
  transfer(input: $input) { transaction { id } replayed userErrors { code message } }
}"""
_PAUSE_S = 0.1  # after a refusal: payers that resend at once take the processor from the recovery

_KEYS = """SELECT keys.key::text, transactions.id AS row, keys.refusal_code
             FROM idempotency_keys AS keys LEFT JOIN transactions ON transactions.key_id = keys.id"""
_SUMS = "SELECT sum(balance) FROM accounts GROUP BY currency_code"
_WRONG = """SELECT id FROM accounts
             WHERE balance <> (SELECT coalesce(sum(amount), 0) FROM transactions WHERE to_id = accounts.id)
                            - (SELECT coalesce(sum(amount), 0) FROM transactions WHERE from_id = accounts.id)"""


@dataclass(eq=False)
class Payment:
    """A transfer of one cent from ida to eve.

    Attributes:
        key: the idempotency key of every attempt.
        row: the public id of its row in the ledger, once it is acknowledged.
        is_unknown: whether its outcome is unknown after the last response.
        response: the last response.
    """

    key: str
    row: str | None = None
    is_unknown: bool = True
    response: object = None


@dataclass
class Storm:
    """Payers who send one transfer after the other.

    Attributes:
        town: the payer and the receiver, on a server in a separate process.
        payments: all payments, in the order in which they were sent.
        bodies: all responses.
    """

    town: Town
    payments: list[Payment] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    @property
    def settled_count(self) -> int:
        """The number of acknowledged payments."""
        return sum(one.row is not None for one in self.payments)

    @property
    def messages(self) -> set[str]:
        """The messages of all refusals."""
        return {error["message"] for body in self.bodies for error in body.get("errors", ())}

    @property
    def errors(self) -> Counter[str]:
        """The refusals so far, by code and message."""
        return error_counts(self.bodies)

    def input_of(self, one: Payment) -> dict[str, object]:
        """Return the mutation input of a payment."""
        return transfer_input(
            self.town.payer_account, self.town.payee_account, "0.01", memo=MEMO, idempotencyKey=one.key
        )

    async def send(self, one: Payment) -> bool:
        """Send a payment, always under the same key; return whether it is made."""
        one.is_unknown = True
        async with asyncio.timeout(ANSWERED_S):
            body = await self.town.client.run(PAY, by=self.town.ida, input=self.input_of(one))
        self.bodies.append(body)
        one.response = body
        if "errors" in body:
            assert set(codes(body)) <= NAMED, body
            one.is_unknown = any(error["extensions"].get("outcomeUnknown", False) for error in body["errors"])
            return False
        payload = body["data"]["transfer"]
        assert payload["userErrors"] == [], payload
        row = payload["transaction"]["id"]
        assert one.row in {None, row}, "two answers to one key differ"
        one.row, one.is_unknown = row, False
        return True

    async def pay(self, over: asyncio.Event) -> None:
        """Send one payment after the other until `over` is set."""
        while not over.is_set():
            one = Payment(new_key())
            self.payments.append(one)
            if not await self.send(one):
                await asyncio.sleep(_PAUSE_S)

    async def run_until(self, condition: Callable[[], bool], what: str, within_s: float = SETTLED_S) -> None:
        """Let the storm continue until the condition is true."""
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, f"{what}: {self.settled_count} made, {self.errors}"
            await asyncio.sleep(0.02)

    async def ensure_made(self, number: int) -> None:
        """Wait until `number` more payments are made."""
        wanted = self.settled_count + number
        await self.run_until(lambda: self.settled_count >= wanted, f"{number} more payments")

    async def ensure_refused(self, number: int) -> None:
        """Wait until `number` more payments are refused."""
        wanted = self.errors.total() + number
        await self.run_until(lambda: self.errors.total() >= wanted, f"{number} refusals")

    async def settle(self, superuser: Driver) -> None:
        """Compare the ledger with the responses, settle unknown outcomes by their keys, and compare all again."""
        await self._check(superuser)
        for one in self.payments:
            deadline = time.monotonic() + SETTLED_S
            while one.row is None and not await self.send(one):
                assert time.monotonic() < deadline, f"{one} is not settled"
                await asyncio.sleep(_PAUSE_S)
        assert await self._check(superuser) == {one.key: one.row for one in self.payments}

    async def _check(self, superuser: Driver) -> dict[str, str]:
        found = await superuser.fetch(_KEYS)
        mine = {one.key: one for one in self.payments}
        kept = [row for row in found if row["key"] in mine]
        rows = {row["key"]: f"transaction_{row['row']}" for row in kept}
        assert len(kept) == len(rows), "a key has two rows"
        assert all(row["row"] is not None for row in kept), "a key is used without an outcome"
        for key, one in mine.items():
            if one.row is not None:
                assert rows.get(key) == one.row, "an acknowledged payment is not in the ledger"
            elif not one.is_unknown:
                assert key not in rows, (
                    f"a payment had happened, although its error did not allow for it: {one.response}"
                )
        assert {row[0] for row in await superuser.fetch(_SUMS)} == {0}
        assert await superuser.fetch(_WRONG) == []
        return rows


@asynccontextmanager
async def storm(town: Town) -> AsyncIterator[Storm]:
    """Let payers of a town send transfers until the block ends; then wait for the last response."""
    one, over = Storm(town), asyncio.Event()
    async with asyncio.TaskGroup() as payers:
        for _ in range(PAYERS):
            payers.create_task(one.pay(over))
        try:
            yield one
        finally:
            over.set()


def with_client(client: Client, town: Town) -> Town:
    """Return a town whose users send their requests by `client`, for instance to a server in a separate process."""
    return replace(town, client=client, bank=Bank(client, town.bank.admin))


async def ensure_ready(client: Client) -> None:
    """Wait until the server reports that it is ready."""
    deadline = time.monotonic() + READY_S
    while (answer := await client.http.get("/readyz")).status_code != OK:
        assert time.monotonic() < deadline, answer.text
        await asyncio.sleep(0.1)
