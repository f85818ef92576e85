"""Lists of users omit the system user, and are still range scans of an index: the plans of pages and counts."""

import datetime
from collections.abc import Mapping

import pytest

from db.access import ANONYMOUS, Viewer
from db.connections.database import Database
from db.connections.leases import Driver
from db.query.cursors import Order
from db.query.pages import PageRequest
from db.repositories.users import CREATED_AT, ID, USERNAME, USERS
from tests.db.query.test_page_plans import ExplainingReader, RepeatingReader
from tests.db.support.rows import ADMIN
from tests.db.support.vacuum import vacuum

COLUMNS = ("id", "username")
FIRST = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
NEWEST_FIRST = Order("users", [(CREATED_AT, True), (ID, True)])
BY_NAME = Order("users", [(USERNAME, False), (ID, False)])
PEOPLE = 4000


@pytest.fixture
async def explaining(superuser: Driver) -> ExplainingReader:
    """A reader of four thousand users, one a minute; every tenth is inactive."""
    # Flushed first: otherwise VACUUM does not yet see that the rows are committed, and a count reads the table.
    await superuser.execute("SET synchronous_commit = on")
    await superuser.execute(
        """INSERT INTO users (email, username, hashed_password, is_active, created_at)
           SELECT format('u%s@example.org', n), format('u%s', lpad(n::text, 4, '0')), repeat('x', 100), n % 10 <> 0,
               $1::timestamptz + n * interval '1 minute'
           FROM generate_series(1, $2) AS n""",
        FIRST,
        PEOPLE,
    )
    await vacuum(superuser, "users")
    return ExplainingReader(superuser)


async def test_deep_page_of_users_is_a_range_of_the_index_of_people(explaining: ExplainingReader) -> None:
    position = (FIRST + datetime.timedelta(minutes=2000), 2000)
    page = await USERS.page(explaining, ANONYMOUS, COLUMNS, {}, PageRequest(NEWEST_FIRST, 10, position=position))
    assert page.size == 10
    assert explaining.plan == [
        "Aggregate",
        "->  Limit",
        "->  Index Scan Backward using ix_users_people_created_at_id on users",
        "Index Cond: (ROW(created_at, id) < ROW(?, ?))",
    ]


async def test_deep_page_of_active_users_is_a_range_of_the_index_of_people(explaining: ExplainingReader) -> None:
    position = (FIRST + datetime.timedelta(minutes=2000), 2000)
    request = PageRequest(NEWEST_FIRST, 10, position=position)
    page = await USERS.page(explaining, ANONYMOUS, COLUMNS, {"is_active": False}, request)
    assert page.size == 10
    assert explaining.plan == [
        "Aggregate",
        "->  Limit",
        "->  Index Scan Backward using ix_users_people_is_active_created_at_id on users",
        "Index Cond: ((is_active = false) AND (ROW(created_at, id) < ROW(?, ?)))",
    ]


async def test_page_of_users_by_name_is_a_range_of_the_index_of_names(explaining: ExplainingReader) -> None:
    request = PageRequest(BY_NAME, 10, position=("u2000", 2001))
    page = await USERS.page(explaining, ANONYMOUS, COLUMNS, {}, request)
    assert page.size == 10
    assert [line for line in explaining.plan if "Scan" in line] == [
        "->  Index Scan using uq_users_username_lower on users"
    ]
    await USERS.page(explaining, ANONYMOUS, COLUMNS, {"username_prefix": "u12"}, PageRequest(BY_NAME, 10))
    assert [line for line in explaining.plan if "Scan" in line] == [
        "->  Index Scan using uq_users_username_lower on users"
    ]


COUNTS: Mapping[str, tuple[dict[str, object], int, str]] = {
    "all": ({}, PEOPLE, "ix_users_people_created_at_id"),
    "inactive": ({"is_active": False}, 400, "ix_users_people_is_active_created_at_id"),
    "since": (
        {"created_at_gte": FIRST + datetime.timedelta(minutes=3901)},
        100,
        "ix_users_people_created_at_id",
    ),
}


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("viewer", [ANONYMOUS, ADMIN], ids=["anybody", "administrator"])
async def test_count_of_users_reads_only_an_index_of_people(
    explaining: ExplainingReader, name: str, viewer: Viewer
) -> None:
    given, count, index = COUNTS[name]
    assert await USERS.count(explaining, viewer, given) == count
    scans = [line for line in explaining.plan if "Scan" in line]
    assert scans == [f"->  Index Only Scan using {index} on users"]
    assert not any("Filter" in line for line in explaining.plan)


async def test_reads_of_users_are_not_planned_at_each_execution(
    explaining: ExplainingReader, superuser: Driver
) -> None:
    repeating = RepeatingReader(superuser)
    page = await USERS.page(repeating, ANONYMOUS, COLUMNS, {}, PageRequest(NEWEST_FIRST, 3), counted=True)
    assert page.total == PEOPLE
    await USERS.count(repeating, ANONYMOUS, {"created_at_gte": FIRST})
    assert max(repeating.planned) <= 5


async def test_no_list_of_users_has_the_system_user(database: Database) -> None:
    for order in (NEWEST_FIRST, BY_NAME):
        for given in ({}, {"username_prefix": "treas"}, {"is_active": False}):
            page = await USERS.page(database, ADMIN, COLUMNS, given, PageRequest(order, 10), counted=True)
            assert (page.size, page.total) == (0, 0)
