"""Clocks that jump by an hour and back, PostgreSQL's and the server's: the order stays, and nothing is duplicated."""

import asyncio
import datetime
import itertools
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from pydantic import SecretStr

from bench.soak.network_proxy import proxied_database
from db.embedded.server import EmbeddedServer, embedded_postgres
from db.repositories.sweeping import sweep
from db.settings import Settings
from db.setup.schema_version import alembic_config
from tests.conftest import superuser_execute
from tests.db.support.backends import connected_superuser
from tests.db.support.clusters import reachable_directory
from tests.faults import operations
from tests.faults.clocks import HOUR_S, Clock, new_clock, postgres_under
from tests.faults.served import Town, error_counts, served, served_by_process, settle, url_of
from tests.faults.storms import storm, with_client
from tests.graph.support.bank import TRANSFER, transfer_input
from tests.graph.support.callers import PASSWORD

pytestmark = pytest.mark.long("servers with clocks of their own")

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "folio.throwaway": "on"}
TIMES = {"operation_deadline_ms": 5000, "statement_timeout_ms": 2000, "lock_timeout_ms": 1000}
DELAY_S = 0.2
JUMPS_S = [HOUR_S, 0, -HOUR_S, 0]
LITTLE_S = 3  # the clocks of two servers may differ by this, and a time server may set one back by it

LEDGER = """query ($id: ID!, $after: String) {
  account(id: $id) { transactions(first: 100, after: $after) { nodes { id } pageInfo { hasNextPage endCursor } } }
}"""
STATEMENT = """query ($id: ID!, $since: DateTime!, $until: DateTime!) {
  account(id: $id) { balance { amount } statement(from: $since, to: $until) {
    openingBalance { amount } closingBalance { amount } entries(first: 100) { nodes { transaction { id } } } } }
}"""
POSTS = """query ($after: String) {
  posts(first: 2, after: $after, orderBy: [{field: CREATED_AT, direction: %s}]) {
    nodes { id } pageInfo { hasNextPage endCursor }
  }
}"""
SIGN_IN = """mutation ($input: SignInInput!) {
  signIn(input: $input) { accessToken refreshToken userErrors { code message } }
}"""
REFRESH = """mutation ($token: String!) {
  refreshSession(input: {refreshToken: $token}) { accessToken refreshToken userErrors { code } }
}"""

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Timed:
    """A PostgreSQL and its clock."""

    server: EmbeddedServer
    clock: Clock


@pytest.fixture(scope="module")
def timed() -> Iterator[Timed]:
    """A PostgreSQL with its own clock; the database `folio` is migrated and serves as a template."""
    with reachable_directory() as path:
        clock = new_clock(path)
        with embedded_postgres(path / "data", options=FAST) as server:
            command.upgrade(alembic_config(server.url()), "head")
        with postgres_under(clock, path / "data", FAST) as server:
            yield Timed(server, clock)


@pytest.fixture
async def own_database(settings: Settings, timed: Timed) -> AsyncIterator[Settings]:
    """Settings with a new database on that server; the clock has the true time again afterwards."""
    name = f"clock_{next(_numbers)}"
    await superuser_execute(timed.server, f"CREATE DATABASE {name} TEMPLATE folio OWNER folio")
    yield settings.model_copy(update={"database_url": SecretStr(timed.server.url(name)), **TIMES})
    timed.clock.jump(0)


@asynccontextmanager
async def town_in(own_database: Settings, clock: Clock | None = None, **changes: object) -> AsyncIterator[Town]:
    """Serve a town from a separate process, with its own clock if one is given."""
    async with served(own_database) as client:
        town = await settle(client)
    variables = {} if clock is None else clock.environment
    async with served_by_process(town.client, variables, **{**TIMES, **changes}) as other_process:
        yield with_client(other_process.client, town)


# ---------------------------------------------------------------- money


async def test_transfers_while_the_clock_jumps_are_made_once_and_stay_in_their_order(
    own_database: Settings, timed: Timed
) -> None:
    async with town_in(own_database) as town, connected_superuser(url_of(own_database)) as superuser:
        seen: list[str] = []
        async with storm(town) as one:
            for offset_s in JUMPS_S:
                timed.clock.jump(offset_s)
                await one.ensure_made(50)
                ledger = await transactions(town)
                assert ledger[: len(seen)] == seen
                seen = ledger
        await one.settle(superuser)
        assert (await transactions(town))[: len(seen)] == seen
        spread = await superuser.fetchval("SELECT max(created_at) - min(created_at) FROM transactions")
        assert spread.total_seconds() > 2 * HOUR_S - 60  # otherwise the clock did not jump


async def transactions(town: Town) -> list[str]:
    """Return the ids of all transactions of ida's account, page by page, oldest first."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        data = await town.client.data(LEDGER, by=town.ida, id=town.payer_account, after=cursor)
        page = data["account"]["transactions"]
        found += [row["id"] for row in page["nodes"]]
        cursor = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return found[::-1]


async def test_statements_of_consecutive_periods_have_each_entry_once_whatever_the_clock_did(
    own_database: Settings, timed: Timed
) -> None:
    async with town_in(own_database) as town:
        for offset_s in (0, *JUMPS_S, -HOUR_S, HOUR_S):
            timed.clock.jump(offset_s)
            for _ in range(3):
                assert error_counts([await operations.transfer(town)]) == {}
        timed.clock.jump(0)
        now = datetime.datetime.now(datetime.UTC)
        halves = [(now + datetime.timedelta(minutes=30 * number)).isoformat() for number in range(-3, 4)]
        cuts = ["1970-01-01T00:00:00Z", *halves, "9999-01-01T00:00:00Z"]
        found: list[str] = []
        held, balance, sizes = "", Decimal(0), []
        for since, until in itertools.pairwise(cuts):
            data = await town.client.data(STATEMENT, by=town.eve, id=town.payee_account, since=since, until=until)
            held, statement = data["account"]["balance"]["amount"], data["account"]["statement"]
            assert Decimal(statement["openingBalance"]["amount"]) == balance
            balance = Decimal(statement["closingBalance"]["amount"])
            found += [row["transaction"]["id"] for row in statement["entries"]["nodes"]]
            sizes.append(len(statement["entries"]["nodes"]))
        _deposit, *transferred = await transactions(town)
        assert found == transferred
        assert balance == Decimal(held)
        assert len([size for size in sizes if size]) > 1  # otherwise one statement has all entries


@pytest.mark.parametrize("offset_s", [HOUR_S, -HOUR_S], ids=["forward", "back"])
@pytest.mark.parametrize("is_replay", [False, True], ids=["first", "again"])
async def test_request_whose_answer_is_lost_before_the_clock_jumps_reports_correctly_whether_it_is_a_replay(
    own_database: Settings, timed: Timed, offset_s: int, *, is_replay: bool
) -> None:
    url = url_of(own_database)
    async with (
        proxied_database(url) as proxy,
        connected_superuser(url) as superuser,
        town_in(own_database, database_url=proxy.url(url)) as town,
    ):
        given = transfer_input(town.payer_account, town.payee_account, "0.01")
        key = uuid.UUID(str(given["idempotencyKey"]))
        if is_replay:
            assert error_counts([await town.client.run(TRANSFER, by=town.ida, input=given)]) == {}
        assert error_counts([await operations.transfer(town)]) == {}  # the next transfer is then a single statement
        proxy.delay(DELAY_S)
        proxy.cut_at(key.bytes, answer=True)
        sending = asyncio.create_task(town.client.run(TRANSFER, by=town.ida, input=given))
        while not proxy.counts.cut:
            assert not sending.done()
            await asyncio.sleep(0.001)
        timed.clock.jump(offset_s)  # before the request is retried, which is after DELAY_S
        assert await superuser.fetchval("SELECT count(*) FROM idempotency_keys WHERE key = $1", key) == 1
        proxy.pass_through()
        body = await sending
        assert error_counts([body]) == {}
        assert body["data"]["transfer"]["replayed"] is is_replay


# ---------------------------------------------------------------- pages


@pytest.mark.parametrize("direction", ["ASC", "DESC"])
async def test_pages_are_complete_while_the_clock_jumps_and_posts_are_written(
    own_database: Settings, timed: Timed, direction: str
) -> None:
    async with town_in(own_database) as town:

        async def write(offset_s: int) -> str:
            timed.clock.jump(offset_s)
            body = await operations.create_post(town)
            post: str = body["data"]["createPost"]["post"]["id"]
            return post

        there = {*town.posts, *[await write(offset_s) for offset_s in JUMPS_S * 3]}
        found: list[str] = []
        cursor: str | None = None
        for offset_s in itertools.cycle(JUMPS_S):
            page = (await town.client.data(POSTS % direction, after=cursor))["posts"]
            found += [row["id"] for row in page["nodes"]]
            if not page["pageInfo"]["hasNextPage"] or len(found) > 10 * len(there):
                break
            cursor = page["pageInfo"]["endCursor"]
            await write(offset_s)
        assert sorted(post for post in found if post in there) == sorted(there)
        assert len(found) == len(set(found))


# ---------------------------------------------------------------- sessions, sign-ins, budgets


async def sign_in(town: Town, password: str = PASSWORD) -> dict[str, Any]:
    data = await town.client.data(SIGN_IN, input={"login": "ida", "password": password})
    payload: dict[str, Any] = data["signIn"]
    return payload


def refusals(payload: dict[str, Any]) -> list[str]:
    return [error["code"] for error in payload["userErrors"]]


@pytest.mark.parametrize(("before_s", "after_s"), [(0, -HOUR_S), (HOUR_S, 0)], ids=["put back", "was ahead"])
async def test_wait_for_a_sign_in_is_no_longer_than_its_window_when_the_clock_jumps_back(
    own_database: Settings, timed: Timed, before_s: int, after_s: int
) -> None:
    async with town_in(own_database, sign_in_attempts_max=2) as town:
        timed.clock.jump(before_s)
        tries = [refusals(await sign_in(town, "a wrong password")) for _ in range(3)]
        assert tries == [["INVALID_CREDENTIALS"], ["INVALID_CREDENTIALS"], ["TOO_MANY_ATTEMPTS"]]
        timed.clock.jump(after_s)
        # The jump does not end the wait, which the old clock has set; the next failure increases it.
        assert refusals(await sign_in(town, "a wrong password")) == ["INVALID_CREDENTIALS"]
        refused = await sign_in(town)
        [error] = refused["userErrors"]
        assert error["code"] == "TOO_MANY_ATTEMPTS"
        assert error["message"] in {f"too many attempts; try again in {left} seconds" for left in range(50, 61)}
        timed.clock.jump(after_s + 61)
        assert refusals(await sign_in(town)) == []


async def test_sweep_while_the_clock_is_an_hour_ahead_deletes_no_row_that_is_valid_at_the_true_time(
    own_database: Settings, timed: Timed
) -> None:
    ttl_s = HOUR_S // 2
    async with served(own_database, refresh_token_ttl_s=ttl_s, sign_in_attempts_max=1) as client:
        town = await settle(client)
        first = (await sign_in(town))["refreshToken"]
        second = (await client.data(REFRESH, token=first))["refreshSession"]["refreshToken"]
        assert refusals(await sign_in(town, "a wrong password")) == ["INVALID_CREDENTIALS"]
        timed.clock.jump(HOUR_S)
        await sweep(client.database, ttl_s)
        timed.clock.jump(0)
        assert refusals(await sign_in(town, "a wrong password")) == ["TOO_MANY_ATTEMPTS"]
        third = (await client.data(REFRESH, token=second))["refreshSession"]["refreshToken"]
        assert third is not None
        # The spent token still reveals that a copy was used, and ends the session.
        for token in (first, third):
            assert (await client.data(REFRESH, token=token))["refreshSession"]["refreshToken"] is None


async def test_server_whose_clock_jumps_keeps_users_signed_in_and_accepts_no_token_from_the_future(
    settings: Settings, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    clock = new_clock(tmp_path)
    async with town_in(settings, clock) as town:

        async def is_known(token: str) -> bool:
            answer = await town.client.post("{ viewer { username } }", by=replace(town.ida, token=token))
            assert answer.status_code in {200, 401}
            return answer.status_code == 200

        tokens = await sign_in(town)
        assert await is_known(tokens["accessToken"])
        clock.jump(-LITTLE_S)
        assert await is_known(tokens["accessToken"])
        for offset_s in (-HOUR_S, 0, HOUR_S, 0):
            clock.jump(offset_s)
            assert not await is_known(tokens["accessToken"])
            tokens = (await town.client.data(REFRESH, token=tokens["refreshToken"]))["refreshSession"]
            assert await is_known(tokens["accessToken"])


async def test_budget_is_there_again_within_two_minutes_whatever_the_clock_of_the_server_does(
    settings: Settings, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    clock = new_clock(tmp_path)
    async with town_in(settings, clock, passwords_per_minute_per_address_max=3) as town:

        async def spent() -> int:
            """Send requests until the budget is spent; return the number of seconds to wait that the server sends."""
            for _ in range(4):
                given = {"login": "ida", "password": PASSWORD}
                answer = await town.client.post(SIGN_IN, input=given)
                if answer.status_code == 429:
                    return int(answer.headers["retry-after"])
            raise AssertionError("the budget is never spent")

        for offset_s in JUMPS_S:
            clock.jump(offset_s)
            left_s = await spent()
            assert 0 < left_s <= 2 * 60
            clock.jump(offset_s + left_s)
            assert refusals(await sign_in(town)) == []
