"""Money under load: concurrent transfers, a running audit, lost connections, and books that still balance."""

import asyncio
from collections import Counter
from decimal import Decimal
from random import Random

import pytest

from db.connections.leases import Driver
from db.ledger.audit import AuditReport, Defect, Difference, audit
from db.settings import Settings
from tests.graph.support.bank import Bank, Body, new_key, refused
from tests.graph.support.callers import Client, Person, SignUp
from tests.running.repeating import Cases

WORKERS = 8
KILLS = 6
KILL_EVERY_S = 0.15
ATTEMPTS_MAX = 50

TOO_LITTLE = refused("transfer", "INSUFFICIENT_FUNDS", "amount", "the balance of the account is less than this amount")
KILL_ALL = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'folio'"
)


class Ring:
    """Some accounts of different owners with 100.00 EUR each, and the amounts that the responses report as moved."""

    def __init__(self, bank: Bank, owners: dict[str, Person]) -> None:
        self.bank = bank
        self.owners = owners
        self.expected = dict.fromkeys(owners, Decimal(100))

    async def transfer(self, source: str, target: str, amount: Decimal) -> bool:
        """Send one transfer and return whether it was made; the response is either a settlement or a lack of funds."""
        body = await self.bank.transfer(self.owners[source], source, target, str(amount))
        if body == TOO_LITTLE:
            return False
        assert transaction_of(body)["amount"] == {"amount": str(amount), "currencyCode": "EUR"}
        self.expected[source] -= amount
        self.expected[target] += amount
        return True

    async def held(self) -> dict[str, Decimal]:
        return {account: Decimal(await self.bank.balance(account)) for account in self.owners}

    def chosen(self, choice: Random) -> tuple[str, str, Decimal]:
        """Return two different accounts and an amount of up to 60.00."""
        source, target = choice.sample(sorted(self.owners), 2)
        return source, target, Decimal(choice.randint(1, 6000)).scaleb(-2)


def transaction_of(body: Body) -> Body:
    payload: Body = body["data"]["transfer"]
    assert payload["userErrors"] == []
    transaction: Body = payload["transaction"]
    return transaction


async def ring_of(bank: Bank, sign_up: SignUp, size: int) -> Ring:
    people = [await sign_up(f"user{number}") for number in range(size)]
    return Ring(bank, {await bank.account(person, holding="100"): person for person in people})


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with enough time for all waiting transfers on a busy machine: only a lack of money causes refusals."""
    patient = {"lock_timeout_ms": 100_000, "statement_timeout_ms": 100_000, "pool_timeout_s": 100.0}
    return settings.model_copy(update={**patient, "operation_deadline_ms": 200_000})


@pytest.fixture
async def bank(client: Client, sign_up: SignUp) -> Bank:
    return Bank(client, await sign_up("anna", admin=True))


# ---------------------------------------------------------------- races


@pytest.mark.parametrize("size", [2, 10])
async def test_simultaneous_transfers_move_exactly_the_amounts_of_their_answers(
    bank: Bank, sign_up: SignUp, cases: Cases, size: int
) -> None:
    ring, choice = await ring_of(bank, sign_up, size), cases.random()
    outcomes = await asyncio.gather(*(ring.transfer(*ring.chosen(choice)) for _ in range(150)))
    held = await ring.held()
    assert held == ring.expected
    assert (sum(held.values()), min(held.values()) >= 0) == (100 * size, True)
    report = await audit(bank.client.database)
    # One deposit for each account, and the system account that they came from. Each key has a transaction or a refusal.
    assert report.clean
    assert (report.accounts, report.transactions, report.keys) == (
        size + 1,
        size + outcomes.count(True),
        size + len(outcomes),
    )
    assert False in outcomes  # so that there was a race for the last cent
    assert bank.client.database.counters.retries == 0  # rows are locked in one order: there was no deadlock


async def test_account_is_emptied_by_as_many_transfers_as_it_can_pay(bank: Bank, sign_up: SignUp) -> None:
    ring = await ring_of(bank, sign_up, 2)
    payer_account, payee_account = ring.owners
    outcomes = await asyncio.gather(*(ring.transfer(payer_account, payee_account, Decimal("7.00")) for _ in range(40)))
    assert outcomes.count(True) == 14
    assert await ring.held() == {payer_account: Decimal("2.00"), payee_account: Decimal("198.00")}


# ---------------------------------------------------------------- the audit


async def test_audit_finds_a_balance_that_was_changed_by_hand(bank: Bank, sign_up: SignUp, superuser: Driver) -> None:
    ring = await ring_of(bank, sign_up, 3)
    numbers = [int(account.removeprefix("account_")) for account in ring.owners]
    assert (await audit(bank.client.database)).differences == []
    change = "UPDATE accounts SET balance = balance + $2 WHERE id = $1"
    await superuser.execute(change, numbers[0], 1)
    await superuser.execute(change, numbers[2], -10_000)
    assert (await audit(bank.client.database)).differences == [
        Difference(Defect.BALANCE, numbers[0], "EUR", 10_001, 10_000),
        Difference(Defect.BALANCE, numbers[2], "EUR", 0, 10_000),
        Difference(Defect.SUM, currency_code="EUR", stored=-9_999),
    ]
    await superuser.execute(change, numbers[0], -1)
    await superuser.execute(change, numbers[2], 10_000)
    assert (await audit(bank.client.database)).differences == []


async def test_audit_finds_a_row_of_the_ledger_that_was_changed_by_hand(
    bank: Bank, sign_up: SignUp, superuser: Driver
) -> None:
    ring = await ring_of(bank, sign_up, 1)
    [account] = (int(account.removeprefix("account_")) for account in ring.owners)
    treasury = await superuser.fetchval("SELECT id FROM accounts WHERE is_system")
    await superuser.execute("UPDATE transactions SET amount = amount - 1")
    report = await audit(bank.client.database)
    assert Counter(report.differences) == Counter(
        [
            Difference(Defect.BALANCE, account, "EUR", 10_000, 9_999),
            Difference(Defect.BALANCE, treasury, "EUR", -10_000, -9_999),
            Difference(Defect.REQUEST, 1, "EUR", key_owner=bank.admin.number),
        ]
    )
    assert not report.clean


async def test_audit_while_money_moves_finds_no_difference(bank: Bank, sign_up: SignUp, cases: Cases) -> None:
    ring, choice = await ring_of(bank, sign_up, 4), cases.random()
    storm = asyncio.gather(*(ring.transfer(*ring.chosen(choice)) for _ in range(150)))
    reports: list[AuditReport] = []
    while not storm.done():
        reports.append(await audit(bank.client.database, batch_rows=20))
        reports.append(await audit(bank.client.database, reports[-1].last, batch_rows=20))
    assert [report for report in reports if not report.clean] == []
    # The audits saw the ledger grow, and not only its beginning and its end.
    assert len({report.last for report in reports}) > 3
    assert (await audit(bank.client.database)).transactions == 4 + (await storm).count(True)


# ---------------------------------------------------------------- connections that die


async def test_lost_connections_in_a_storm_of_transfers_lose_and_duplicate_nothing(
    bank: Bank, sign_up: SignUp, superuser: Driver, cases: Cases
) -> None:
    ring, choice = await ring_of(bank, sign_up, 4), cases.random()
    over = asyncio.Event()
    acknowledged: dict[str, str] = {}
    movements: dict[str, tuple[str, str]] = {}
    failures: Counter[str] = Counter()

    async def send(key: str) -> Body:
        source, target = movements[key]
        return await bank.transfer(ring.owners[source], source, target, "0.01", idempotencyKey=key)

    async def pay() -> None:
        while not over.is_set():
            key = new_key()
            movements[key] = ring.chosen(choice)[:2]
            body = await send(key)
            if "errors" in body:
                failures.update(error["extensions"]["code"] for error in body["errors"])
            else:
                acknowledged[key] = transaction_of(body)["id"]

    async def kill() -> None:
        for _ in range(KILLS):
            await asyncio.sleep(KILL_EVERY_S)
            await superuser.fetchval(KILL_ALL)
        over.set()

    await asyncio.gather(kill(), *(pay() for _ in range(WORKERS)))
    assert set(failures) <= {
        "DATABASE_UNAVAILABLE"
    }  # the key settles an outcome that was lost at COMMIT, if it can be read
    assert (await audit(bank.client.database)).clean

    for key in movements:
        body = await send(key)
        expected = acknowledged.setdefault(key, transaction_of(body)["id"])
        assert transaction_of(body)["id"] == expected
    assert len(set(acknowledged.values())) == len(movements)
    report = await audit(bank.client.database)
    assert (report.clean, report.accounts, report.transactions) == (True, 5, 4 + len(movements))
    assert sum((await ring.held()).values()) == 400
