"""Seeding: repeatable, plausible, all or nothing, and only into an empty database."""

import asyncio
import tracemalloc

import pytest

from db.bulk.line_fields import TABLES
from db.connections.database import Database
from db.connections.leases import Driver
from db.seed import seeding
from db.seed.seeding import SeedError, SeedPlan, SeedReport, seed
from tests.db.support.contents import contents, make_empty, no_progress, rows
from tests.db.support.rows import new_account, new_user, new_users

PLAN = SeedPlan(users=40, posts=60, accounts=25, children={"comments": 50})
WRITTEN = {"users": 40, "profiles": 32, "posts": 60, "comments": 50, "accounts": 30, "transactions": 62}

INDEXES = """
SELECT pg_get_indexdef(indexrelid), indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
WHERE relnamespace = 'public'::regnamespace ORDER BY 1
"""


async def counts(superuser: Driver) -> SeedReport:
    """Return the number of rows of each table, without the system user."""
    everybody = {name: f"SELECT count(*) FROM {name}" for name in WRITTEN}  # noqa: S608 - tables of ours
    people = {"users": f"{everybody['users']} WHERE role <> 'system'"}
    return {name: await superuser.fetchval(sql) for name, sql in {**everybody, **people}.items()}


# ---------------------------------------------------------------- the same each time


async def test_same_plan_makes_the_same_contents_byte_for_byte(database: Database, superuser: Driver) -> None:
    await seed(database, PLAN, "a hash", no_progress)
    first = await contents(superuser)
    await make_empty(superuser)
    await seed(database, PLAN, "a hash", no_progress)
    assert await contents(superuser) == first


async def test_another_seed_makes_other_contents_in_every_table(database: Database, superuser: Driver) -> None:
    await seed(database, PLAN, "a hash", no_progress)
    first = await contents(superuser)
    await make_empty(superuser)
    await seed(
        database, SeedPlan(users=40, posts=60, accounts=25, seed=2, children={"comments": 50}), "a hash", no_progress
    )
    second = await contents(superuser)
    filled = {table for table, digest in first.items() if not digest.startswith("0 rows")}
    assert {"users", "profiles", "posts", "accounts", "transactions", "comments"} <= filled
    assert [table for table in sorted(filled) if first[table] == second[table]] == []


async def test_size_of_the_batches_does_not_change_the_contents(
    database: Database, superuser: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await seed(database, PLAN, "a hash", no_progress)
    first = await contents(superuser)
    await make_empty(superuser)
    monkeypatch.setattr(seeding, "BATCH_ROWS", 7)
    await seed(database, PLAN, "a hash", no_progress)
    assert await contents(superuser) == first


async def test_more_posts_leave_people_and_money_as_they_are(database: Database, superuser: Driver) -> None:
    await seed(database, PLAN, "a hash", no_progress)
    first = await contents(superuser)
    await make_empty(superuser)
    await seed(database, SeedPlan(users=40, posts=61, accounts=25, children={"comments": 50}), "a hash", no_progress)
    second = await contents(superuser)
    assert [table for table in first if first[table] != second[table]] == ["comments", "posts"]


def test_every_table_that_is_exported_is_seeded() -> None:
    assert sorted(set(TABLES) - PLAN.counts.keys()) == [], "add a PostedRows to CHILDREN in db/seed/rows.py"


# ---------------------------------------------------------------- sizes


async def test_report_has_the_number_of_rows_of_each_table(database: Database, superuser: Driver) -> None:
    assert await seed(database, PLAN, "a hash", no_progress) == WRITTEN
    assert await counts(superuser) == WRITTEN


@pytest.mark.parametrize(
    ("plan", "report"),
    [
        (
            SeedPlan(users=0, posts=0, accounts=0),
            {"users": 0, "profiles": 0, "posts": 0, "comments": 0, "accounts": 0, "transactions": 0},
        ),
        (
            SeedPlan(users=1, posts=0, accounts=0),
            {"users": 1, "profiles": 1, "posts": 0, "comments": 0, "accounts": 0, "transactions": 0},
        ),
        (
            SeedPlan(users=1, posts=1, accounts=1),
            {"users": 1, "profiles": 1, "posts": 1, "comments": 0, "accounts": 2, "transactions": 1},
        ),
        (
            SeedPlan(users=1, posts=7, accounts=2),
            {"users": 1, "profiles": 1, "posts": 7, "comments": 0, "accounts": 3, "transactions": 4},
        ),
        (
            SeedPlan(users=2, posts=1, accounts=2, transfers_per_account=0),
            {"users": 2, "profiles": 2, "posts": 1, "comments": 0, "accounts": 3, "transactions": 2},
        ),
    ],
    ids=["nothing", "one user", "one of each", "one owner of all", "deposits only"],
)
async def test_small_plans_are_carried_out(
    database: Database, superuser: Driver, plan: SeedPlan, report: SeedReport
) -> None:
    assert await seed(database, plan, "a hash", no_progress) == report
    assert await counts(superuser) == report


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (SeedPlan(users=0, posts=1, accounts=0), "posts belong to users; seed at least 1 user, or 0 posts"),
        (
            SeedPlan(users=0, posts=0, accounts=1),
            "accounts belong to users; seed at least 1 user, or 0 accounts",
        ),
        (SeedPlan(users=-1, posts=0, accounts=0), "users is -1; it must be 0 or more"),
        (SeedPlan(1, 1, 1, transfers_per_account=-2), "transfers_per_account is -2; it must be 0 or more"),
        (SeedPlan(users=2_000_001, posts=0, accounts=0), "users is 2000001; the maximum is 2000000"),
        (SeedPlan(users=1, posts=10**9, accounts=0), "posts is 1000000000; the maximum is 100000000"),
        (SeedPlan(users=1, posts=0, accounts=10**12), "accounts is 1000000000000; the maximum is 2000000"),
        (SeedPlan(1, 1, 1, children={"comments": 10**9}), "comments is 1000000000; the maximum is 100000000"),
        (
            SeedPlan(1, 0, 1, children={"comments": 1}),
            "comments belong to posts; seed at least 1 post, or 0 comments",
        ),
    ],
)
async def test_impossible_plans_are_refused(database: Database, plan: SeedPlan, message: str) -> None:
    with pytest.raises(SeedError) as refusal:
        await seed(database, plan, "a hash", no_progress)
    assert str(refusal.value) == message


# ---------------------------------------------------------------- all or nothing, and afterwards


async def test_database_with_users_and_accounts_is_refused_and_unchanged(database: Database, superuser: Driver) -> None:
    await new_account(database, await new_user(database), holding="5")
    before = await contents(superuser)
    with pytest.raises(SeedError) as refusal:
        await seed(database, PLAN, "a hash", no_progress)
    assert str(refusal.value) == (
        "the database has users and accounts already, and only an empty one is seeded; "
        "point FOLIO_DATABASE_URL at a new database, or FOLIO_DATA_DIR at a new directory"
    )
    assert await contents(superuser) == before


async def test_filled_database_is_refused_before_anything_is_made(database: Database, superuser: Driver) -> None:
    await new_user(database)
    many = SeedPlan(users=500_000, posts=0, accounts=0)
    tracemalloc.start()
    try:
        with pytest.raises(SeedError, match="has users already"):
            await seed(database, many, "a hash", no_progress)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * many.users  # not even an integer for each user


async def test_seeded_database_is_not_seeded_again(database: Database, superuser: Driver) -> None:
    await seed(database, PLAN, "a hash", no_progress)
    before = await contents(superuser)
    with pytest.raises(SeedError, match="has users and posts and accounts already"):
        await seed(database, PLAN, "a hash", no_progress)
    assert await contents(superuser) == before


async def test_interrupted_seeding_leaves_no_rows_and_all_indexes(database: Database, superuser: Driver) -> None:
    before = (await contents(superuser), await rows(superuser, INDEXES))

    def interrupt(table: str, done: int, total: int) -> None:
        if table == "indexes":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await seed(database, PLAN, "a hash", interrupt)
    assert (await contents(superuser), await rows(superuser, INDEXES)) == before


async def test_role_that_does_not_own_the_tables_is_refused(database: Database, superuser: Driver) -> None:
    await superuser.execute("ALTER TABLE posts OWNER TO postgres; GRANT ALL ON posts TO folio")
    before = await contents(superuser)
    with pytest.raises(SeedError) as refusal:
        await seed(database, PLAN, "a hash", no_progress)
    assert str(refusal.value) == (
        "must be owner of table posts; seed with a FOLIO_DATABASE_URL whose role owns the tables"
    )
    assert await contents(superuser) == before


async def test_indexes_afterwards_are_those_before(database: Database, superuser: Driver) -> None:
    before = await rows(superuser, INDEXES)
    await seed(database, PLAN, "a hash", no_progress)
    assert await rows(superuser, INDEXES) == before


async def _rows_expected(superuser: Driver) -> list[tuple[object, ...]]:
    """Return how many rows the planner expects in each table; -1 if it has no statistics."""
    return await rows(
        superuser,
        "SELECT relname, reltuples::int FROM pg_class WHERE relname IN"
        " ('users', 'profiles', 'posts', 'accounts', 'transactions') AND relkind = 'r' ORDER BY relname",
    )


async def test_planner_has_statistics_of_the_tables_afterwards(database: Database, superuser: Driver) -> None:
    await seed(database, PLAN, "a hash", no_progress)
    expected = [
        ("accounts", 30),
        ("posts", 60),
        ("profiles", 32),
        ("transactions", WRITTEN["transactions"]),
        ("users", 41),
    ]
    assert await _rows_expected(superuser) == expected


async def test_planner_does_not_assume_that_tables_without_new_rows_are_empty(
    database: Database, superuser: Driver
) -> None:
    await seed(database, SeedPlan(users=2, posts=0, accounts=0), "a hash", no_progress)
    expected = [("accounts", -1), ("posts", -1), ("profiles", 2), ("transactions", -1), ("users", 3)]
    assert await _rows_expected(superuser) == expected


async def test_ids_continue_after_the_seeded_rows(database: Database, superuser: Driver) -> None:
    await seed(database, PLAN, "a hash", no_progress)
    following = {
        table: await superuser.fetchval("SELECT nextval(pg_get_serial_sequence($1, 'id'))", table)
        for table in ("users", "posts", "accounts", "transactions")
    }
    assert following == {"users": 42, "posts": 61, "accounts": 31, "transactions": WRITTEN["transactions"] + 1}


async def test_ids_of_deleted_users_are_not_reused(database: Database, superuser: Driver) -> None:
    gone = await new_users(database, 3)
    await superuser.execute("DELETE FROM users WHERE id = any($1)", gone)
    await seed(database, PLAN, "a hash", no_progress)
    assert await superuser.fetchval("SELECT id FROM users WHERE username = 'ada'") == max(gone) + 1


async def test_user_who_signs_up_during_seeding_has_an_id_after_the_seeded_users(database: Database) -> None:
    signing_up: list[asyncio.Task[list[int]]] = []

    def sign_up(table: str, done: int, total: int) -> None:
        if not signing_up:
            signing_up.append(asyncio.create_task(new_users(database)))

    await seed(database, PLAN, "a hash", sign_up)
    assert await signing_up[0] == [42]


async def test_progress_reports_done_and_total_of_each_table(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeding, "BATCH_ROWS", 2)
    progress: list[tuple[str, int, int]] = []
    await seed(database, SeedPlan(users=1, posts=3, accounts=0), "a hash", lambda *news: progress.append(news))
    assert [news for news in progress if news[0] != "indexes"] == [
        ("users", 0, 1),
        ("users", 1, 1),
        ("profiles", 0, 1),
        ("profiles", 1, 1),
        ("posts", 0, 3),
        ("posts", 2, 3),
        ("posts", 3, 3),
        ("comments", 0, 0),
        ("accounts", 0, 0),
        ("transactions", 0, 0),
    ]
    assert [news for news in progress if news[0] == "indexes"] == [("indexes", done, 9) for done in range(10)]


async def test_comments_are_younger_than_their_posts_and_their_authors(database: Database, superuser: Driver) -> None:
    await seed(database, SeedPlan(users=40, posts=60, accounts=0, children={"comments": 500}), "a hash", no_progress)
    too_old = """SELECT count(*) FROM comments
        JOIN posts ON posts.id = post_id JOIN users ON users.id = comments.author_id
        WHERE comments.created_at < posts.created_at OR comments.created_at < users.created_at"""
    assert await superuser.fetchval(too_old) == 0
    ids = await superuser.fetch("SELECT id FROM comments ORDER BY created_at, id")
    assert [row[0] for row in ids] == list(range(1, 501))
