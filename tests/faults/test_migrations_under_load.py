"""Migrations under load: each runs as a separate statement, and no client notices.

They invalidate what every connection has prepared: the result types, the columns, the plan. Renamed columns get their
old names back a moment later, as in a deployment that is rolled back.
"""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from db.ledger.audit import audit
from db.settings import Settings
from tests.db.support.backends import connected_superuser
from tests.faults import operations
from tests.faults.operations import Body
from tests.faults.served import CREATE_POST, Town, error_counts, served, settle

pytestmark = pytest.mark.long("a storm")

CONNECTIONS = 16

ADDED = ["ALTER TABLE {table} ADD COLUMN later int", "ALTER TABLE {table} DROP COLUMN later"]
FILLED = [
    "ALTER TABLE {table} ADD COLUMN later timestamptz NOT NULL DEFAULT clock_timestamp()",
    "ALTER TABLE {table} DROP COLUMN later",
]
TABLES = ["users", "profiles", "posts", "accounts", "transactions", "sessions", "refresh_tokens"]
MIGRATIONS: dict[str, list[str]] = {
    **{f"{table} column": [one.format(table=table) for one in ADDED] for table in TABLES},
    "filled column": [one.format(table="posts") for one in FILLED],
    "views type": ["ALTER TABLE posts ALTER views TYPE int", "ALTER TABLE posts ALTER views TYPE bigint"],
    "name type": [
        "ALTER TABLE profiles ALTER display_name TYPE varchar(100)",
        "ALTER TABLE profiles ALTER display_name TYPE text",
    ],
    "bio type": ["ALTER TABLE profiles ALTER bio TYPE varchar", "ALTER TABLE profiles ALTER bio TYPE text"],
    "role type": ["ALTER TABLE users ALTER role TYPE varchar(20)", "ALTER TABLE users ALTER role TYPE text"],
    "memo type": ["ALTER TABLE transactions ALTER memo TYPE varchar", "ALTER TABLE transactions ALTER memo TYPE text"],
    "currency type": [
        'ALTER TABLE accounts ALTER currency_code TYPE varchar(3) COLLATE "C"',
        'ALTER TABLE accounts ALTER currency_code TYPE text COLLATE "C"',
    ],
    "version type": ["ALTER TABLE users ALTER version TYPE int", "ALTER TABLE users ALTER version TYPE bigint"],
    "index": [
        "CREATE INDEX CONCURRENTLY ix_later ON posts (author_id, title)",
        "DROP INDEX CONCURRENTLY ix_later",
    ],
    "check": [
        "ALTER TABLE accounts ADD CONSTRAINT later CHECK (balance > -9000000000000000) NOT VALID",
        "ALTER TABLE accounts VALIDATE CONSTRAINT later",
        "ALTER TABLE accounts DROP CONSTRAINT later",
    ],
    "foreign key": [
        "ALTER TABLE posts ADD CONSTRAINT later FOREIGN KEY (author_id) REFERENCES users ON DELETE CASCADE NOT VALID",
        "ALTER TABLE posts VALIDATE CONSTRAINT later",
        "ALTER TABLE posts DROP CONSTRAINT later",
    ],
    "statistics": ["ALTER TABLE posts ALTER title SET STATISTICS 500", "ANALYZE posts"],
}
RENAMED = [("posts", "title"), ("users", "username"), ("accounts", "balance"), ("profiles", "bio")]

Ask = Callable[[Town], Coroutine[Any, Any, Body]]


async def write_and_delete_post(town: Town) -> Body:
    created = await town.client.run(CREATE_POST, by=town.eve, title="Short-lived")
    if "errors" in created:
        return created
    given = created["data"]["createPost"]["post"]["id"]
    return await town.client.run(operations.DELETE_POST, by=town.eve, id=given)


STATEMENT = """query ($id: ID!) {
  account(id: $id) { balance { amount } statement(from: "2000-01-01T00:00:00Z", to: "9999-01-01T00:00:00Z") {
    closingBalance { amount } entries(last: 2) { nodes { balanceAfter { amount } } } } }
}"""


async def statement(town: Town) -> Body:
    body = await town.client.run(STATEMENT, by=town.ida, id=town.payer_account)
    if "errors" not in body:
        account = body["data"]["account"]
        after = account["statement"]["entries"]["nodes"][-1]["balanceAfter"]
        assert account["balance"] == account["statement"]["closingBalance"] == after
    return body


ASKED: list[Ask] = [
    operations.lookup,
    operations.page,
    operations.nested,
    operations.balance,
    operations.money,
    statement,
    operations.update_post,
    operations.update_profile,
    operations.transfer,
    operations.open_account,
    operations.sign_in,
    write_and_delete_post,
]


class Load:
    """Every kind of operation in a loop, from many clients; each error is kept with its operation."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.under_way = "the start"
        self.errors: list[tuple[str, str, list[Any]]] = []
        self.answers = 0
        self._over = False

    async def client(self, first: int) -> None:
        for send in itertools.islice(itertools.cycle(ASKED), first, None):
            if self._over:
                return
            body = await send(self.town)
            self.answers += 1
            if "errors" in body:
                self.errors.append((self.under_way, send.__name__, list(error_counts([body]))))

    async def answered(self, count: int) -> None:
        """Wait until `count` further operations have been answered."""
        wanted = self.answers + count
        while self.answers < wanted:
            await asyncio.sleep(0.005)

    async def run_with_clients(self, migrate: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `migrate` while all clients are working."""
        clients = [asyncio.create_task(self.client(number)) for number in range(CONNECTIONS)]
        try:
            await self.answered(5 * CONNECTIONS)  # so that all operations are compiled and prepared
            await migrate()
            await self.answered(CONNECTIONS)
        finally:
            self._over = True
            await asyncio.gather(*clients)


@pytest.mark.parametrize("engine", ["compiled", "ordinary"])
async def test_no_client_notices_a_migration_under_load(settings: Settings, database_url: str, engine: str) -> None:
    async with (
        served(settings, engine=engine, accounts_per_user_max=10_000) as client,
        connected_superuser(database_url) as superuser,
    ):
        load = Load(await settle(client))

        async def migrate() -> None:
            for name, steps in MIGRATIONS.items():
                for step in steps:
                    load.under_way = f"{name}: {step}"
                    await superuser.execute(step)
                    await load.answered(CONNECTIONS)

        await load.run_with_clients(migrate)
        assert load.errors == []
        assert (await audit(client.database)).clean


async def test_no_client_notices_a_column_that_is_renamed_and_renamed_back_under_load(
    settings: Settings, database_url: str
) -> None:
    async with (
        served(settings, accounts_per_user_max=10_000) as client,
        connected_superuser(database_url) as superuser,
    ):
        load = Load(await settle(client))

        async def migrate() -> None:
            for table, column in RENAMED:
                load.under_way = f"{table}.{column}"
                await superuser.execute(f"ALTER TABLE {table} RENAME {column} TO elsewhere")
                await asyncio.sleep(0.05)
                await superuser.execute(f"ALTER TABLE {table} RENAME elsewhere TO {column}")
                await load.answered(2 * CONNECTIONS)

        await load.run_with_clients(migrate)
        assert load.errors == []
        assert (await audit(client.database)).clean
