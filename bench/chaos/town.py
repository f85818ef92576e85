"""The accounts of the chaos test: eight hot accounts that exchange money, and the read that returns all of them.

Transfers between hot accounts do not change their sum. Deposits go to other, cold accounts.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from bench.soak import writes
from bench.soak.clients import Client
from bench.soak.journal import Journal, Movement
from bench.soak.oracle import Judged, Oracle
from bench.soak.world import User, World

HOT = 8
FIRST_DEPOSIT = "1000.00"
USERS = HOT + 2


@dataclass
class Town:
    """The users and accounts.

    Attributes:
        payers: the users with a hot and a cold account each, in this order.
        spender: the user whose accounts are emptied by concurrent transfers; `collector` receives the money.
        runs: for each such run its transfers, of which only one can succeed.
        banker: the client of the administrator.
    """

    world: World
    oracle: Oracle
    journal: Journal
    banker: Client
    runs: list[list[Movement]] = field(default_factory=list)

    @property
    def payers(self) -> list[User]:
        """The users with a hot and a cold account each."""
        return self.world.users[:HOT]

    @property
    def spender(self) -> User:
        """The user whose accounts are emptied by concurrent transfers."""
        return self.world.users[HOT]

    @property
    def collector(self) -> User:
        """The user who receives the money of the emptied accounts."""
        return self.world.users[HOT + 1]

    @property
    def hot(self) -> list[str]:
        """The ids of the hot accounts."""
        return [user.accounts[0] for user in self.payers]

    def sum_read(self) -> tuple[str, str, Mapping[str, Any]]:
        """Return a query of all hot accounts, in two statements: half by their ids, and half by their owners."""
        half = HOT // 2
        fields = [f"a{n}: account(id: $a{n}) {{ id balance {{ amount }} }}" for n in range(half)]
        own = "accounts(first: 1) { nodes { id balance { amount } } }"
        fields += [f"a{n}: user(id: $a{n}) {{ {own} }}" for n in range(half, HOT)]
        declared = ", ".join(f"$a{n}: ID!" for n in range(HOT))
        ids = [*self.hot[:half], *[user.id for user in self.payers[half:]]]
        values = {f"a{n}": one for n, one in enumerate(ids)}
        return f"query Sum({declared}) {{ {' '.join(fields)} }}", "Sum", values

    async def read_sum(self, reader: Client) -> None:
        """Read all hot accounts in one operation, and check their constant sum."""
        judged = await reader.request(*self.sum_read(), may_abort=False)
        if judged is None or judged.data is None or judged.failed:
            return
        check_sum(judged.data, self.hot, self.oracle)
        self.oracle.counts["sums read"] += 1


def check_sum(data: Mapping[str, Any], hot: Sequence[str], oracle: Oracle) -> None:
    """Check the result of a read of all hot accounts: all are present, none is below zero, the sum is unchanged."""
    balances = {}
    for value in data.values():
        account = value if "balance" in value else value["accounts"]["nodes"][0]
        balances[account["id"]] = Decimal(account["balance"]["amount"])
    if set(balances) != set(hot) or sum(balances.values()) != HOT * Decimal(FIRST_DEPOSIT):
        oracle.violation("a read has a wrong sum", balances=balances)
    if min(balances.values()) < 0:
        oracle.violation("an account was overdrawn", balances=balances)


async def create_town(world: World, oracle: Oracle, journal: Journal) -> Town:
    """Open the accounts, and put money into the hot ones."""
    banker = Client(world, oracle, journal, world.admin, random.Random(0))  # noqa: S311 - no secret
    town = Town(world, oracle, journal, banker)
    for user in world.users:
        owner = Client(world, oracle, journal, user, banker.rng)
        for _ in range(2):
            await opened(owner)
        owner.close()
    for account in town.hot:
        one = Movement(world.admin, None, account, FIRST_DEPOSIT, "the first money")
        journal.movements.append(one)
        await writes.attempt(banker, one, may_abort=False)
    return town


async def opened(client: Client) -> str | None:
    """Open an account for the client's user, and return its id; None if the outcome is unknown."""
    judged = await client.request(writes.OPEN, "Open", {"input": {"currencyCode": "EUR"}}, may_abort=False)
    account = _account(judged)
    if account is not None:
        client.user.accounts.append(account)
    return account


def _account(judged: Judged | None) -> str | None:
    payload = writes.payload_of(judged, "openAccount")
    return None if payload is None or payload["account"] is None else str(payload["account"]["id"])
