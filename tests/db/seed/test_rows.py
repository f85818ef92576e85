"""Seeded rows: plausible people and texts, and a ledger that balances."""

import datetime
from collections import Counter

from db.connections.database import Database
from db.connections.leases import Driver
from db.seed.seeding import SeedPlan, seed
from db.seed.texts import SENTENCES_MAX, People
from db.seed.words import SENTENCES
from tests.db.support.contents import no_progress, rows

PLAN = SeedPlan(users=40, posts=60, accounts=25)


async def test_first_users_are_ada_the_administrator_and_ben(database: Database, superuser: Driver) -> None:
    await seed(database, SeedPlan(users=2, posts=0, accounts=0, admin=True), "a hash", no_progress)
    found = await rows(superuser, "SELECT id, username, email, is_active, role, hashed_password FROM users ORDER BY id")
    assert found == [
        (1, "treasury", "treasury@folio.invalid", False, "system", "!"),
        (2, "ada", "ada@example.com", True, "admin", "a hash"),
        (3, "ben", "ben@example.com", True, "member", "a hash"),
    ]


async def test_no_user_is_an_administrator_unless_the_plan_has_one(database: Database, superuser: Driver) -> None:
    await seed(database, PLAN, "a hash", no_progress)
    assert await rows(superuser, "SELECT role, count(*) FROM users GROUP BY role ORDER BY role") == [
        ("member", 40),
        ("system", 1),
    ]


async def test_ada_and_ben_have_profiles_posts_and_accounts_to_show(database: Database, superuser: Driver) -> None:
    await seed(database, SeedPlan(users=500, posts=6, accounts=4), "a hash", no_progress)
    found = await rows(
        superuser,
        "SELECT username, display_name, bio <> '', (SELECT count(*) FROM posts WHERE author_id = users.id),"
        " (SELECT string_agg(currency_code, ' ' ORDER BY id) FROM accounts WHERE owner_id = users.id)"
        " FROM users JOIN profiles ON user_id = id WHERE username IN ('ada', 'ben') ORDER BY id",
    )
    assert found == [("ada", "Ada Marsh", True, 3, "EUR JPY"), ("ben", "Ben Okafor", True, 3, "EUR KWD")]


async def test_few_write_much_and_most_write_little(database: Database, superuser: Driver) -> None:
    await seed(database, SeedPlan(users=500, posts=2000, accounts=0), "a hash", no_progress)
    written = [count for _, count in await rows(superuser, "SELECT author_id, count(*) FROM posts GROUP BY author_id")]
    most = sorted(map(int, map(str, written)), reverse=True)
    assert sum(most[:50]) > 850
    assert len([count for count in most if count <= 3]) > 250


async def test_newest_users_are_as_active_as_the_oldest(database: Database, superuser: Driver) -> None:
    await seed(database, SeedPlan(users=200, posts=2000, accounts=300), "a hash", no_progress)
    fifths = await superuser.fetch(
        "SELECT sum(posts)::int, count(*) FILTER (WHERE posts = 0), sum(accounts)::int FROM (SELECT"
        " ntile(5) OVER (ORDER BY id) AS fifth,"
        " (SELECT count(*) FROM posts WHERE author_id = users.id AND published) AS posts,"
        " (SELECT count(*) FROM accounts WHERE owner_id = users.id) AS accounts"
        " FROM users WHERE role <> 'system') AS users GROUP BY fifth ORDER BY fifth",
    )
    for posts, idle, accounts in fifths:
        assert (200 < posts < 600, idle <= 5, 40 < accounts < 90) == (True, True, True), fifths


async def test_newest_posts_have_many_authors(database: Database, superuser: Driver) -> None:
    await seed(database, SeedPlan(users=200, posts=2000, accounts=0), "a hash", no_progress)
    newest = "(SELECT author_id FROM posts ORDER BY id DESC LIMIT 100) AS newest"
    assert await superuser.fetchval(f"SELECT count(DISTINCT author_id) FROM {newest}") > 40  # noqa: S608 - as above


async def test_newest_accounts_have_more_than_their_deposit(database: Database, superuser: Driver) -> None:
    await seed(database, SeedPlan(users=200, posts=0, accounts=300), "a hash", no_progress)
    moved = await rows(
        superuser,
        "SELECT (SELECT count(*) FROM transactions WHERE accounts.id IN (from_id, to_id)) FROM accounts"
        " ORDER BY id DESC LIMIT 20",
    )
    assert [count for [count] in moved if count in {0, 1}] == []


async def test_texts_have_the_lengths_of_posts(database: Database, superuser: Driver) -> None:
    await seed(database, SeedPlan(users=5, posts=2000, accounts=0), "a hash", no_progress)
    assert await rows(superuser, "SELECT id FROM posts WHERE length(content) NOT BETWEEN 200 AND 3000") == []
    assert await rows(superuser, "SELECT id FROM posts WHERE views > 0 AND NOT published") == []


async def test_no_user_acts_before_joining_and_ids_rise_with_time(database: Database, superuser: Driver) -> None:
    await seed(database, PLAN, "a hash", no_progress)
    too_early = await rows(
        superuser,
        "SELECT 'post', p.id FROM posts p JOIN users u ON u.id = author_id WHERE p.created_at < u.created_at"
        " UNION ALL SELECT 'edit', id FROM posts WHERE updated_at < created_at"
        " UNION ALL SELECT 'change', id FROM users WHERE updated_at < created_at"
        " UNION ALL SELECT 'account', a.id FROM accounts a JOIN users u ON u.id = owner_id"
        " WHERE a.created_at < u.created_at AND NOT is_system"
        " UNION ALL SELECT 'transaction', t.id FROM transactions t JOIN accounts a ON a.id IN (from_id, to_id)"
        " WHERE t.created_at < a.created_at",
    )
    assert too_early == []
    for table in ("users WHERE role <> 'system'", "posts", "accounts", "transactions"):
        instants = await rows(superuser, f"SELECT created_at FROM {table} ORDER BY id")  # noqa: S608 - a table of ours
        assert instants == sorted(instants)


async def test_instants_lie_within_four_years_that_end_on_a_fixed_day(database: Database, superuser: Driver) -> None:
    await seed(database, PLAN, "a hash", no_progress)
    joined = await superuser.fetchval("SELECT created_at FROM users WHERE username = 'ada'")
    assert joined == datetime.datetime(2022, 11, 2, tzinfo=datetime.UTC)
    latest = await superuser.fetchval(
        "SELECT greatest((SELECT max(updated_at) FROM users WHERE role <> 'system'),"
        " (SELECT max(updated_at) FROM posts), (SELECT max(created_at) FROM transactions))"
    )
    assert joined < latest < datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)


# ---------------------------------------------------------------- the ledger


async def test_every_balance_is_the_sum_of_the_ledger_and_was_never_overdrawn(
    database: Database, superuser: Driver
) -> None:
    await seed(database, SeedPlan(users=40, posts=0, accounts=100, transfers_per_account=9), "a hash", no_progress)
    accounts = await superuser.fetch("SELECT id, currency_code, balance, is_system FROM accounts")
    system = {row["id"] for row in accounts if row["is_system"]}
    replayed: Counter[int] = Counter()
    overdrawn = []
    for row in await superuser.fetch("SELECT id, from_id, to_id, amount FROM transactions ORDER BY id"):
        replayed[row["from_id"]] -= row["amount"]
        replayed[row["to_id"]] += row["amount"]
        if row["from_id"] not in system and replayed[row["from_id"]] < 0:
            overdrawn.append(row["id"])
    assert overdrawn == []
    assert {row["id"]: row["balance"] for row in accounts} == {row["id"]: replayed[row["id"]] for row in accounts}


async def test_each_currency_has_one_system_account_that_is_the_source_of_all_its_money(
    database: Database, superuser: Driver
) -> None:
    await seed(database, SeedPlan(users=40, posts=0, accounts=100), "a hash", no_progress)
    found = await rows(
        superuser,
        "SELECT currency_code, count(*) FILTER (WHERE is_system AND owner_id = 1 AND balance < 0), sum(balance)"
        " FROM accounts GROUP BY currency_code ORDER BY currency_code",
    )
    assert found == [("EUR", 1, 0), ("GBP", 1, 0), ("JPY", 1, 0), ("KWD", 1, 0), ("USD", 1, 0)]


async def test_money_moves_within_a_currency_and_under_no_key(database: Database, superuser: Driver) -> None:
    await seed(database, SeedPlan(users=40, posts=0, accounts=100), "a hash", no_progress)
    wrong = await rows(
        superuser,
        "SELECT t.id FROM transactions t JOIN accounts f ON f.id = from_id JOIN accounts g ON g.id = to_id"
        " WHERE f.currency_code <> g.currency_code OR key_id IS NOT NULL OR g.is_system",
    )
    assert wrong == []


# ---------------------------------------------------------------- texts


def test_no_two_of_many_users_share_a_username() -> None:
    people = People(PLAN.random("names"))
    assert len({people.names(number)[0].lower() for number in range(50_000)}) == 50_000


def test_steps_through_the_sentences_never_repeat_one() -> None:
    assert [divisor for divisor in range(2, len(SENTENCES)) if len(SENTENCES) % divisor == 0] == []
    assert len(SENTENCES) > SENTENCES_MAX
