"""Events come in an order in which no later commit stands before an event that was read."""

from db.connections.database import Database
from db.connections.leases import Driver
from db.events.log import EventLog
from db.events.topics import EventTopic, Subject
from tests.db.support.backends import connected_superuser
from tests.db.support.live import EVERYTHING_PUBLISHED, insert_post, live, rows_of, taken


async def test_event_waits_for_an_older_transaction_that_is_still_open(
    database: Database, database_url: str, superuser: Driver, authors: list[int]
) -> None:
    log = EventLog(database)
    async with live(database) as events, connected_superuser(database_url) as older:
        stream = await events.open(EVERYTHING_PUBLISHED)
        start = stream.position
        transaction = older.transaction()
        await transaction.start()
        first = await insert_post(older, authors[0])
        second = await insert_post(superuser, authors[1])
        page = await log.read(EVERYTHING_PUBLISHED, start, 10)
        assert (page.events, page.is_complete, page.is_pending) == ([], True, True)
        await transaction.commit()
        found = await taken(stream, 2)
        assert [event.row_id for event in found] == [first, second]
        assert found[0].position < found[1].position
        stream.close()


async def test_long_transaction_that_only_reads_delays_nothing(
    database: Database, database_url: str, superuser: Driver, authors: list[int]
) -> None:
    async with live(database) as events, connected_superuser(database_url) as reading:
        async with reading.transaction(isolation="repeatable_read"):
            await reading.fetch("SELECT FROM posts")
            stream = await events.open(EVERYTHING_PUBLISHED)
            post = await insert_post(superuser, authors[0])
            assert await rows_of(stream, 1) == [post]
        stream.close()


async def test_transaction_that_is_rolled_back_sends_nothing(
    database: Database, superuser: Driver, authors: list[int]
) -> None:
    async with live(database) as events:
        stream = await events.open(EVERYTHING_PUBLISHED)
        await superuser.execute("BEGIN")
        await insert_post(superuser, authors[0])
        await superuser.execute("SAVEPOINT inner_one")
        await insert_post(superuser, authors[0])
        await superuser.execute("ROLLBACK")
        post = await insert_post(superuser, authors[0])
        assert await rows_of(stream, 1) == [post]
        assert await superuser.fetchval("SELECT count(*) FROM events") == 1
        stream.close()


async def test_part_that_is_rolled_back_sends_nothing_and_the_rest_comes_in_its_order(
    database: Database, superuser: Driver, authors: list[int]
) -> None:
    async with live(database) as events:
        stream = await events.open(Subject(EventTopic.PUBLISHED, authors[0]))
        async with superuser.transaction():
            first = await insert_post(superuser, authors[0])
            await superuser.execute("SAVEPOINT inner_one")
            await insert_post(superuser, authors[0])
            await superuser.execute("ROLLBACK TO inner_one")
            last = await insert_post(superuser, authors[0])
        marker = await insert_post(superuser, authors[0])
        assert await rows_of(stream, 3) == [first, last, marker]
        stream.close()
