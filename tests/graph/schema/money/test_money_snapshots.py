"""A query that reads money with several statements sees one state of the books, whatever moves in between."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from db.settings import Settings
from graph.app import create_app
from tests.graph.support.bank import Bank
from tests.graph.support.callers import Client, Person, SignUp, http_client, serving
from tests.graph.support.recording import recorded

# One balance is read two statements before the other.
BOTH = """query ($own: ID!, $user: ID!) {
  account(id: $own) { balance { amount } }
  user(id: $user) { accounts { nodes { balance { amount } } } }
}"""
# The balance is read one statement before its statement of account, and the entries one statement after it.
STATEMENT = """query ($id: ID!) {
  account(id: $id) { balance { amount }
    statement(from: "2000-01-01T00:00:00Z", to: "9999-01-01T00:00:00Z") {
      closingBalance { amount } received { amount } sent { amount }
      entries(last: 2) { totalCount nodes { balanceAfter { amount } } } } }
}"""
READS = 600

Ends = Sequence[tuple[Person, str]]


@pytest.fixture
async def ends(bank: Bank, sign_up: SignUp) -> Ends:
    """Two users, each with an account of a hundred euros."""
    return [
        (person, await bank.account(person, holding="100")) for person in [await sign_up("ada"), await sign_up("ben")]
    ]


@asynccontextmanager
async def transfers_running(bank: Bank, ends: Ends) -> AsyncIterator[None]:
    """Move money back and forth between two accounts, and assert that this happened more than twice."""
    finished = asyncio.Event()

    async def moved() -> int:
        for number in itertools.count():
            (payer, source), (_, target) = ends if number % 2 else ends[::-1]
            body = await bank.transfer(payer, source, target, "7.00")
            assert body["data"]["transfer"]["userErrors"] == []
            if finished.is_set():
                return number
        raise AssertionError("counting ends")

    transfers = asyncio.create_task(moved())
    try:
        yield
    finally:
        finished.set()
        transfer_count = await transfers
    assert transfer_count > 2


@asynccontextmanager
async def read_by(settings: Settings, engine: str) -> AsyncIterator[Client]:
    """Yield a client of an application that runs queries on only one engine."""
    app = create_app(settings.model_copy(update={"engine": engine}))
    async with serving(app) as address, http_client(address) as http:
        # Two runs of one query may differ here: each engine has its own snapshot.
        vars(app.state.operations.engines).pop("run", None)
        yield Client(http, app.state.services)
        assert bool(app.state.operations.engines.compiled) == (engine == "compiled")


@pytest.mark.parametrize("engine", ["compiled", "ordinary"])
async def test_sum_of_balances_is_constant_while_transfers_run(
    settings: Settings, bank: Bank, ends: Ends, engine: str
) -> None:
    async with read_by(settings, engine) as reader:
        own, user = ends[0][1], f"user_{ends[1][0].number}"

        async def seen() -> list[Decimal]:
            data = await reader.data(BOTH, by=bank.admin, own=own, user=user)
            (other,) = data["user"]["accounts"]["nodes"]
            return [Decimal(data["account"]["balance"]["amount"]), Decimal(other["balance"]["amount"])]

        with recorded() as queries:
            await seen()
        assert sum("balance" in query.query for query in queries) == 2
        async with transfers_running(bank, ends):
            states = [await seen() for _ in range(READS)]
    assert {sum(state) for state in states} == {Decimal("200.00")}
    assert len({tuple(state) for state in states}) > 1  # money moved between the reads


@pytest.mark.parametrize("engine", ["compiled", "ordinary"])
async def test_statement_ends_with_the_balance_of_the_same_query_while_transfers_run(
    settings: Settings, bank: Bank, ends: Ends, engine: str
) -> None:
    async with read_by(settings, engine) as reader, transfers_running(bank, ends):
        counts = set()
        for _ in range(READS):
            account = (await reader.data(STATEMENT, by=ends[0][0], id=ends[0][1]))["account"]
            statement = account["statement"]
            entries = statement["entries"]
            assert account["balance"] == statement["closingBalance"] == entries["nodes"][-1]["balanceAfter"]
            came, went, left = (Decimal(statement[name]["amount"]) for name in ("received", "sent", "closingBalance"))
            assert came - went == left
            counts.add(entries["totalCount"])
    assert len(counts) > 1  # money moved between the reads
