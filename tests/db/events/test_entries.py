"""The ledger as the log of an account: every movement that touches it, once, in the order of its balances."""

import asyncio

import pytest

from db.access import Viewer
from db.connections.database import Database
from db.connections.leases import Driver
from db.events import EventsExpiredError, EventTopic, Subject
from db.ledger.batches import settle_batch
from db.ledger.group_commit import TransferGroups
from db.ledger.settlement import settle
from tests.db.support.backends import waiting_backend
from tests.db.support.live import live, rows_of, taken
from tests.db.support.rows import ADMIN, SETTLED, deposit, move, new_account, new_user, transfer

ENTRIES = "SELECT id FROM transactions WHERE $1 IN (from_id, to_id) ORDER BY id"


def of(account: int) -> Subject:
    return Subject(EventTopic.ENTRY, account)


async def test_transfer_reaches_both_accounts_and_a_deposit_one(
    database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    async with live(database) as events:
        streams = [await events.open(of(account)) for account in (payer_account, payee_account)]
        moved = await move(database, payer, transfer(payer_account, payee_account, "1.00"))
        held = await move(database, ADMIN, deposit(payee_account, "2.00"))
        assert moved.row is not None
        assert held.row is not None
        assert await rows_of(streams[1], 2) == [moved.row["id"], held.row["id"]]
        assert await rows_of(streams[0], 1) == [moved.row["id"]]
        refused = await move(database, payer, transfer(payer_account, payee_account, "1000.00"))
        assert refused.refusal is not None
        last = await move(database, payer, transfer(payer_account, payee_account, "1.00"))
        assert last.row is not None
        for stream in streams:
            assert await rows_of(stream, 1) == [last.row["id"]]
            stream.close()


@pytest.mark.parametrize("way", ["single", "grouped", "batched"])
async def test_every_transfer_is_one_event_of_each_account_and_can_be_resumed_from_each_cursor(
    database: Database, superuser: Driver, payer: Viewer, payer_account: int, payee_account: int, way: str
) -> None:
    count = 40
    third = await new_account(database, await new_user(database))
    movements = [transfer(payer_account, (payee_account, third)[number % 2], "0.01") for number in range(count)]
    groups = TransferGroups(database)
    async with live(database) as events, groups.running():
        accounts = (payer_account, payee_account, third)
        streams = {account: await events.open(of(account)) for account in accounts}
        if way == "single":
            await asyncio.gather(*(settle(database, payer, SETTLED, one) for one in movements))
        elif way == "grouped":
            await asyncio.gather(*(groups.settle(database, payer, SETTLED, one, lambda _: None) for one in movements))
        else:
            halves = (movements[: count // 2], movements[count // 2 :])
            await asyncio.gather(*(settle_batch(database, payer, SETTLED, one, is_one=False) for one in halves))
        for account, stream in streams.items():
            entries = [row[0] for row in await superuser.fetch(ENTRIES, account)]
            new = entries[1:] if account == payer_account else entries
            assert len(new) == (count if account == payer_account else count // 2)
            found = await taken(stream, len(new))
            assert [event.row_id for event in found] == new
            for index in range(0, len(found), 5):
                resumed = await events.open(of(account), stream.cursor(found[index]))
                assert await rows_of(resumed, len(found) - index - 1) == new[index + 1 :]
                resumed.close()
            stream.close()


async def test_cursor_ahead_of_the_ledger_belongs_to_another_history(
    database: Database, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    async with live(database) as events:
        stream = await events.open(of(payer_account))
        await move(database, payer, transfer(payer_account, payee_account, "1.00"))
        [event] = await taken(stream, 1)
        ahead = event._replace(position=event.position._replace(id=event.position.id + 1))
        with pytest.raises(EventsExpiredError):
            await events.open(of(payer_account), stream.cursor(ahead))
        stream.close()


async def test_transfer_that_waits_for_another_transaction_comes_after_it(
    database: Database, superuser: Driver, payer: Viewer, payer_account: int, payee_account: int
) -> None:
    """The ids of an account are in the order of commits, because they are assigned under the lock of its row."""
    async with live(database) as events:
        stream = await events.open(of(payee_account))
        await superuser.execute("BEGIN")
        lock = "SELECT FROM accounts WHERE id = any($1) ORDER BY id FOR NO KEY UPDATE"
        await superuser.execute(lock, [payer_account, payee_account])
        waiting = asyncio.create_task(move(database, payer, transfer(payer_account, payee_account, "1.00")))
        await waiting_backend(superuser)
        insert = "INSERT INTO transactions (from_id, to_id, amount) VALUES ($1, $2, 1) RETURNING id"
        first = await superuser.fetchval(insert, payer_account, payee_account)
        await superuser.execute("UPDATE accounts SET balance = balance + 1 WHERE id = $1", payee_account)
        await superuser.execute("UPDATE accounts SET balance = balance - 1 WHERE id = $1", payer_account)
        await superuser.execute("COMMIT")
        second = await waiting
        assert second.row is not None
        assert await rows_of(stream, 2) == [first, second.row["id"]]
        stream.close()
