"""Expired rows are deleted while the server runs, and the log reports it."""

import asyncio
import datetime
import logging

import pytest

from db.connections.leases import Driver
from db.settings import Settings
from graph.app import create_app
from graph.runtime.sweeping import FIRST_AFTER_S, swept
from tests.graph.support.callers import Client, Person, serving
from tests.graph.support.served_app import until

OVER = "INSERT INTO sessions (user_id, expires_at) SELECT $1, now() - $2::interval FROM generate_series(1, 50)"


async def test_expired_sessions_are_deleted_while_requests_are_served(
    client: Client, ida: Person, superuser: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "graph.runtime.sweeping")
    await superuser.execute(OVER, ida.number, datetime.timedelta(hours=3))

    async def is_clean() -> bool:
        assert await client.data("{ viewer { username } }", by=ida) == {"viewer": {"username": "ida"}}
        return await superuser.fetchval("SELECT count(*) FROM sessions") == 1 and bool(caplog.records)

    async def is_logged() -> bool:
        return bool(sum(record.__dict__["fields"]["sessions"] for record in caplog.records) == 100)

    async with swept(client.database, 1000, first_after_s=0, every_s=0.01):
        await until(is_clean, "the expired sessions to be deleted")
        await superuser.execute(OVER, ida.number, datetime.timedelta(hours=3))
        await until(is_clean, "those that came later to go")
        await until(is_logged, "the line in the log")
    first, *_ = [record.__dict__["fields"] for record in caplog.records]
    assert first == {"refresh_tokens": 0, "sessions": 50, "sign_in_attempts": 0, "sign_in_places": 0, "events": 0}


async def test_server_sweeps_for_as_long_as_it_serves(settings: Settings) -> None:
    def sweepers() -> int:
        return sum(task.get_name() == "sweep" for task in asyncio.all_tasks())

    assert FIRST_AFTER_S > 0
    async with serving(create_app(settings)):
        assert sweepers() == 1
    assert sweepers() == 0


async def test_sweeper_continues_after_a_failure(
    client: Client, ida: Person, superuser: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "graph.runtime.sweeping")
    await superuser.execute("ALTER TABLE sign_in_places RENAME TO gone")
    async with swept(client.database, 1000, first_after_s=0, every_s=0.01):

        async def has_failed() -> bool:
            return any(record.levelno == logging.WARNING for record in caplog.records)

        await until(has_failed, "a sweep to fail")
        await superuser.execute("ALTER TABLE gone RENAME TO sign_in_places")
        await superuser.execute(OVER, ida.number, datetime.timedelta(hours=3))

        async def is_swept() -> bool:
            return bool(await superuser.fetchval("SELECT count(*) = 1 FROM sessions"))

        await until(is_swept, "a later sweep")
