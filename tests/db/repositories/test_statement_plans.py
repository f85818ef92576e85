"""Account statements are read from indexes only: the plans that PostgreSQL makes."""

import re

import pytest

from db.access import Viewer
from db.query.pages import PageRequest
from db.repositories.account_statements import ENTRIES_ORDER, entries_of_statements, statements_of_accounts
from tests.db.query.test_page_plans import ExplainingReader, RepeatingReader
from tests.db.support.books import COLUMNS, START, Books, day
from tests.db.support.rows import ADMIN
from tests.db.support.vacuum import vacuum

ENTRIES = 20_000


@pytest.fixture
async def vacuumed(books: Books) -> Books:
    """Twenty thousand entries, one an hour, which the visibility map marks as visible to all."""
    superuser = books.superuser
    # Flushed first: otherwise VACUUM does not yet see that the rows are committed.
    await superuser.execute("SET synchronous_commit = on")
    await superuser.execute(
        """INSERT INTO transactions (from_id, to_id, amount, created_at)
           SELECT accounts[1 + n % 4], accounts[1 + (n + 1 + n % 3) % 4], 1, $2::timestamptz + n * interval '1 hour'
           FROM (SELECT $1::bigint[] AS accounts) AS given, generate_series(0, $3 - 1) AS n""",
        books.accounts,
        START,
        ENTRIES,
    )
    await vacuum(superuser, "transactions", "accounts")
    return books


def scans(explaining: ExplainingReader) -> list[str]:
    """Return how each scan of the ledger finds its entries: the index, and the columns of it that are used."""
    plan = explaining.plan
    found = []
    for number, line in enumerate(plan):
        if "on transactions" in line:
            how = line.removeprefix("->  ").partition(" on transactions")[0]
            columns = re.findall(r"\(+(\w+) [<>=]", plan[number + 1])
            found.append(f"{how}: {', '.join(columns)}")
    return found


BY_SENDER = "Index Only Scan using ix_transactions_from_id_id_covering: from_id"
BY_RECEIVER = "Index Only Scan using ix_transactions_to_id_id_covering: to_id"


async def test_statements_and_balances_of_deep_pages_are_read_from_indexes_alone(vacuumed: Books) -> None:
    explaining = ExplainingReader(vacuumed.superuser)
    [statement] = await statements_of_accounts(explaining, ADMIN, day(200), day(700), vacuumed.accounts[:1])
    assert statement is not None
    assert statement.entry_count > 4000
    at_start, at_end = [BY_SENDER, BY_RECEIVER], [f"{BY_SENDER}, id", f"{BY_RECEIVER}, id"]
    assert scans(explaining) == [*at_start, *at_end, *at_end]  # the third pair adds up
    request = PageRequest(ENTRIES_ORDER, 20, position=(statement.last_id - 1000,))
    [page] = await entries_of_statements(explaining, COLUMNS, request, [statement])
    assert page.size == 20
    within = [f"{BY_SENDER}, id, id, id", f"{BY_RECEIVER}, id, id, id"]
    assert scans(explaining) == [*within, *reversed(within)]  # the page, and the sum of the entries before it
    assert not any("Sort" in line and "Sort Key" not in line for line in explaining.plan)


@pytest.mark.parametrize("viewer", [Viewer(7), ADMIN])
async def test_statements_are_not_planned_at_each_execution(vacuumed: Books, viewer: Viewer) -> None:
    repeating = RepeatingReader(vacuumed.superuser)
    await statements_of_accounts(repeating, viewer, day(200), day(700), vacuumed.accounts[:1])
    [statement] = await statements_of_accounts(repeating, ADMIN, day(200), day(700), vacuumed.accounts[:1])
    assert statement is not None
    for request in (PageRequest(ENTRIES_ORDER, 20), PageRequest(ENTRIES_ORDER, 20, position=(statement.last_id,))):
        await entries_of_statements(repeating, COLUMNS, request, [statement])
    assert len(repeating.planned) == 4
    assert max(repeating.planned) <= 5, repeating.planned
