"""Attempts to sign in: counted one by one, by login and place; which attempt must wait, and how long."""

import asyncio

import pytest
from sqlalchemy import text

from db.connections.database import Database
from db.connections.leases import Driver
from db.connections.statements import Statement
from db.errors import Refusal
from db.repositories.sign_ins import (
    ELSEWHERE_FACTOR,
    ELSEWHERE_WAIT_MAX_S,
    FIRST_WAIT_S,
    Attempt,
    AttemptLimits,
    count_attempt,
    forget_attempts,
    signed_in_from,
)
from db.repositories.users import NewUser, create_users
from tests.db.support.rows import ADMIN

FREE = 3
WINDOW_S = 200
HERE, THERE = b"here", b"there"
LEFT = Statement(text("SELECT attempts FROM sign_in_attempts ORDER BY attempts"))


@pytest.fixture
async def ada(database: Database) -> int:
    user = NewUser("Ada@example.org", "Ada", "a hash")
    [row] = await database.write(lambda transaction: create_users(transaction, ADMIN, ("id",), [user]))
    number: int = row["id"]
    return number


async def attempt(
    database: Database, login: str = "ada", place: bytes = HERE, *, free: int = FREE, window_s: int = WINDOW_S
) -> Attempt:
    limits = AttemptLimits(free, window_s)
    return await database.write(lambda transaction: count_attempt(transaction, login, place, limits))


async def refused(database: Database, login: str = "ada", place: bytes = HERE) -> str:
    """Return the message of the refusal of an attempt during a wait."""
    with pytest.raises(Refusal) as caught:
        await attempt(database, login, place)
    assert (caught.value.code, caught.value.field) == ("TOO_MANY_ATTEMPTS", ("login",))
    return caught.value.message


async def let_time_pass(superuser: Driver) -> None:
    """End every wait."""
    await superuser.execute("UPDATE sign_in_attempts SET retry_at = clock_timestamp()")


async def sign_in(database: Database, ada: int, place: bytes = HERE, login: str = "ada") -> int:
    """Sign in with a successful attempt; return how many have failed before."""
    counted = await attempt(database, login, place)
    await database.write(lambda transaction: forget_attempts(transaction, login, counted))
    return await database.write(lambda transaction: signed_in_from(transaction, ada, place))


async def test_waits_double_up_to_the_window_and_early_attempts_do_not_count(
    database: Database, superuser: Driver
) -> None:
    waits = []
    for _ in range(FREE + 4):
        waits.append((await attempt(database)).wait_s)
        if waits[-1]:
            assert await refused(database) == f"too many attempts; try again in {waits[-1]} seconds"
            assert await refused(database, "ADA") == f"too many attempts; try again in {waits[-1]} seconds"
        await let_time_pass(superuser)
    assert waits == [0, 0, FIRST_WAIT_S, 2 * FIRST_WAIT_S, 4 * FIRST_WAIT_S, WINDOW_S, WINDOW_S]


async def test_of_simultaneous_attempts_as_many_are_looked_at_as_are_free(database: Database) -> None:
    answers = await asyncio.gather(*(attempt(database) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(answer, Attempt) for answer in answers) == FREE
    assert sum(isinstance(answer, Refusal) for answer in answers) == 20 - FREE


async def test_attempts_are_counted_for_each_login_and_place_on_its_own(database: Database) -> None:
    for login, place in (("ada", HERE), ("bob", HERE), ("ada", THERE), ("ada@example.org", HERE)):
        waits = [(await attempt(database, login, place)).wait_s for _ in range(FREE)]
        assert waits == [0, 0, FIRST_WAIT_S]


async def test_attempts_are_forgotten_after_a_quiet_window(database: Database, superuser: Driver) -> None:
    for _ in range(FREE):
        await attempt(database)
    await refused(database)
    await superuser.execute("UPDATE sign_in_attempts SET retry_at = now(), window_ends_at = now()")
    assert [(await attempt(database)).wait_s for _ in range(FREE)] == [0, 0, FIRST_WAIT_S]


async def test_many_places_together_wait_shortly_and_a_known_one_does_not(database: Database, ada: int) -> None:
    assert await sign_in(database, ada) == 0
    waits = []
    for number in range(FREE * ELSEWHERE_FACTOR):
        counted = await attempt(database, "ada", f"{number}".encode())
        waits.append(counted.wait_s)
        assert (counted.is_known, counted.user_id) == (False, ada)
    assert waits == [0] * (FREE * ELSEWHERE_FACTOR - 1) + [FIRST_WAIT_S]
    assert FIRST_WAIT_S < ELSEWHERE_WAIT_MAX_S < WINDOW_S
    assert await refused(database, "ada", THERE) == f"too many attempts; try again in {FIRST_WAIT_S} seconds"
    assert await attempt(database, "Ada@example.org") == Attempt(is_known=True, user_id=ada, wait_s=0, place=HERE)
    assert await attempt(database) == Attempt(is_known=True, user_id=ada, wait_s=0, place=HERE)


async def test_refusal_for_the_sake_of_other_places_counts_nothing(
    database: Database, superuser: Driver, ada: int
) -> None:
    for number in range(FREE * ELSEWHERE_FACTOR):
        await attempt(database, "ada", f"{number}".encode())
    before = await database.fetch(LEFT, {})
    for _ in range(FREE + 1):
        await refused(database, "ada", THERE)
    assert await database.fetch(LEFT, {}) == before
    await let_time_pass(superuser)
    assert (await attempt(database, "ada", THERE)).wait_s == ELSEWHERE_WAIT_MAX_S


async def test_success_forgets_the_attempts_of_its_place_and_tells_of_all(database: Database, ada: int) -> None:
    for place in (HERE, THERE, THERE):
        await attempt(database, "ada", place)
    await attempt(database, "bob")
    assert await sign_in(database, ada) == 3
    assert await sign_in(database, ada) == 0
    assert [row["attempts"] for row in await database.fetch(LEFT, {})] == [1, 1, 2, 3]  # bob's two, there, elsewhere
    assert (await attempt(database, "ada", THERE)).wait_s == FIRST_WAIT_S


async def test_failures_are_told_to_whom_the_login_belongs_and_to_nobody_else(
    database: Database, superuser: Driver, ada: int
) -> None:
    assert (await attempt(database, "nobody")).user_id is None
    assert (await attempt(database, "treasury")).user_id is None
    assert await superuser.fetchval("SELECT count(*) FROM failed_sign_ins") == 0


async def test_login_of_one_free_attempt_waits_after_it(database: Database) -> None:
    assert (await attempt(database, free=1)).wait_s == FIRST_WAIT_S
