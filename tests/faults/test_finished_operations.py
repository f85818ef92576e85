"""An operation that has ended sends no more statements: other callers may use its connection by then.

A non-null field that fails ends the whole operation. Pending reads of its other fields must not be sent on a returned
connection, which may be in the middle of another caller's transaction.
"""

import asyncio
import itertools
from typing import Any

import pytest

from db.ledger.audit import audit
from db.settings import Settings
from tests.faults.served import Town, error_counts, served, served_by_process, settle
from tests.graph.support.bank import TRANSFER, transfer_input
from tests.graph.support.callers import Client, Person

ATTACKERS = 4
READS = 60
TRANSFERS = 15

FAILED = "BAD_USER_INPUT: first should be from 1 to 100, not 101"
MONEY = "query ($id: ID!) { account(id: $id) { balance { amount } transactions(first: 3) { nodes { id } } } }"
FEED = "{ posts(first: 5) { totalCount nodes { title author { username profile { bio } } } } }"

engines = pytest.mark.parametrize("engine", ["compiled", "ordinary"])


def failing_document(town: Town, name: str) -> str:
    """Return an operation on money that fails at once, while many other fields still wait."""
    users = " ".join(
        f'u{n}: user(id: "{who.id}") {{ username profile {{ bio }} posts(first: 1) {{ totalCount nodes {{ id }} }} }}'
        for n, who in enumerate([town.ida, town.eve, town.bank.admin] * 2)
    )
    account = f'a: node(id: "{town.payer_account}") {{ ... on Account {{ balance {{ amount }} }} }}'
    return f"query {name} {{ bad: posts(first: 101) {{ nodes {{ id }} }} {account} {users} }}"


class OtherClients:
    """Clients that read and pay at the same time, and their responses."""

    def __init__(self, town: Town, client: Client) -> None:
        self.town = town
        self.client = client
        self.answers: list[dict[str, Any]] = []

    async def send(self, query: str, by: Person, **variables: Any) -> None:
        self.answers.append(await self.client.run(query, by=by, **variables))

    async def read(self) -> None:
        for _ in range(READS):
            await self.send(MONEY, self.town.ida, id=self.town.payer_account)
            await self.send(FEED, self.town.eve)

    async def pay(self) -> None:
        town = self.town
        for _ in range(TRANSFERS):
            await self.send(TRANSFER, town.ida, input=transfer_input(town.payer_account, town.payee_account, "0.01"))


async def attack(
    town: Town, client: Client, numbers: "itertools.count[int]", over: asyncio.Event
) -> list[dict[str, Any]]:
    """Send failing operations, each a new document, until `over` is set; return the responses."""
    answers = []
    while not over.is_set():
        answers.append(await client.run(failing_document(town, f"A{next(numbers)}")))
    return answers


@pytest.mark.long("a storm")
@engines
async def test_operation_that_failed_early_touches_no_connection_of_others(settings: Settings, engine: str) -> None:
    async with served(settings) as client, served_by_process(client, engine=engine) as process:
        town = await settle(client)
        innocents, numbers, over = OtherClients(town, process.client), itertools.count(), asyncio.Event()
        attackers = [asyncio.create_task(attack(town, process.client, numbers, over)) for _ in range(ATTACKERS)]
        work = [innocents.read() for _ in range(3)] + [innocents.pay() for _ in range(2)]
        await asyncio.gather(*work)
        over.set()
        attacks = [answer for answers in await asyncio.gather(*attackers) for answer in answers]
        assert error_counts(innocents.answers) == {}
        assert len(innocents.answers) == 3 * 2 * READS + 2 * TRANSFERS
        assert await town.bank.balance(town.payee_account) == f"{2 * TRANSFERS / 100:.2f}"
        assert (await audit(client.database)).clean
        assert error_counts(attacks) == {FAILED: len(attacks)}
        assert len(attacks) > 50


@engines
async def test_operation_that_failed_early_costs_no_connection(settings: Settings, engine: str) -> None:
    async with served(settings, engine=engine, pool_size=1, pool_max_overflow=0) as client:
        town = await settle(client)
        before = client.database.counters.connects
        answers = [await client.run(failing_document(town, f"L{number}")) for number in range(50)]
        assert error_counts(answers) == {FAILED: 50}
        assert client.database.counters.connects == before
