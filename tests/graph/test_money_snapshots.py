"""A query that reads money by several statements sees one state of the books, whatever is moved in between."""

import asyncio
import itertools
from decimal import Decimal

import pytest

from db.settings import Settings
from graph.app import create_app
from tests.graph.bank import Bank
from tests.graph.callers import Client, SignUp, http_client, serving
from tests.graph.recording import recorded

# The one balance is read two statements before the other.
BOTH = """query ($own: ID!, $user: ID!) {
  account(id: $own) { balance { amount } }
  user(id: $user) { accounts { nodes { balance { amount } } } }
}"""
READS = 60


@pytest.mark.parametrize("engine", ["compiled", "ordinary"])
async def test_sum_of_balances_is_constant_while_transfers_run(
    client: Client, sign_up: SignUp, settings: Settings, engine: str
) -> None:
    bank = Bank(client, await sign_up("anna", admin=True))
    ada, ben = await sign_up("ada"), await sign_up("ben")
    ends = [(ada, await bank.account(ada, holding="100")), (ben, await bank.account(ben, holding="100"))]
    finished = asyncio.Event()

    async def moved() -> int:
        for number in itertools.count():
            (payer, source), (_, target) = ends if number % 2 else ends[::-1]
            body = await bank.transfer(payer, source, target, "7.00")
            assert body["data"]["transfer"]["userErrors"] == []
            if finished.is_set():
                return number
        raise AssertionError("counting ends")

    app = create_app(settings.model_copy(update={"engine": engine}))
    async with serving(app) as address, http_client(address) as http:
        # Two runs of one query differ here by right: each engine reads alone.
        vars(app.state.operations.engines).pop("run", None)
        reader = Client(http, app.state.services)

        async def seen() -> list[Decimal]:
            data = await reader.data(BOTH, by=bank.admin, own=ends[0][1], user=f"user_{ben.number}")
            (other,) = data["user"]["accounts"]["nodes"]
            return [Decimal(data["account"]["balance"]["amount"]), Decimal(other["balance"]["amount"])]

        with recorded() as queries:
            await seen()
        assert sum("balance" in query.query for query in queries) == 2
        transfers = asyncio.create_task(moved())
        states = [await seen() for _ in range(READS)]
        finished.set()
        assert await transfers > 2
        assert bool(app.state.operations.engines.compiled) == (engine == "compiled")
    assert {sum(state) for state in states} == {Decimal("200.00")}
    assert len({tuple(state) for state in states}) > 1  # money did move between the reads
