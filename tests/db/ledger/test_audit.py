"""The audit finds every kind of wrong row in the ledger, reports the first ones, and uses bounded resources."""

import asyncio

import pytest

from db.access import Viewer
from db.connections.database import Database
from db.connections.leases import Driver
from db.connections.statistics import ExecutedStatement, QueryStatistics, query_statistics
from db.errors import Unavailable
from db.ledger.audit import DIFFERENCES_MAX, AuditReport, Defect, Difference, UnknownTransactionError, audit
from db.repositories.users import update_user
from tests.db.support.backends import OpenDatabase, connected_superuser
from tests.db.support.planted_rows import (
    KEYS,
    PLANTED,
    ROW_ID,
    Ledger,
    balance,
    change,
    of_row,
    pay,
    plant,
    row,
    sum_of,
)
from tests.db.support.rows import ADMIN, deposit, move, new_account, new_user, transfer
from tests.graph.support.served_app import until


@pytest.fixture
async def ledger(
    database: Database, superuser: Driver, payer: Viewer, payer_account: int, payee: Viewer, payee_account: int
) -> Ledger:
    """A correct ledger, before the test changes it."""
    settled = await move(database, payer, transfer(payer_account, payee_account, "25.00", key=KEYS[2]))
    refused = await move(database, payer, transfer(payer_account, payee_account, "75.01", key=KEYS[3]))
    assert (settled.row is None, refused.row is None) == (False, True)
    await superuser.execute("UPDATE users SET updated_at = updated_at - interval '2 hours'")
    treasury = await superuser.fetchval("SELECT id FROM accounts WHERE is_system")
    assert payer.user_id is not None
    assert payee.user_id is not None
    return Ledger(treasury, payer_account, payee_account, payer.user_id, payee.user_id)


def found(report: AuditReport) -> tuple[list[Difference], int, int]:
    return report.differences, report.differences_count, report.undecided


# ---------------------------------------------------------------- defects


async def test_audit_of_a_ledger_that_is_right_finds_nothing(database: Database, ledger: Ledger) -> None:
    report = await audit(database)
    assert (report.accounts, report.transactions, report.keys, report.undecided) == (3, 2, 3, 0)
    assert (report.since, report.last, report.clean, report.differences) == (None, 2, True, [])


async def test_audit_of_an_empty_database_finds_nothing(database: Database) -> None:
    assert await audit(database) == AuditReport()


@pytest.mark.parametrize("name", PLANTED)
async def test_every_planted_defect_is_found(database: Database, superuser: Driver, ledger: Ledger, name: str) -> None:
    planted = PLANTED[name](ledger)
    await plant(superuser, planted.statements)
    report = await audit(database)
    assert found(report) == (planted.differences, len(planted.differences), planted.undecided)
    assert report.clean == (planted.differences == [])


def test_every_defect_is_planted() -> None:
    ledger = Ledger(1, 2, 3, 4, 5)
    assert {one.defect for make in PLANTED.values() for one in make(ledger).differences} == set(Defect)


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 1000])
async def test_batches_of_any_size_find_the_same_in_the_same_order(
    database: Database, superuser: Driver, ledger: Ledger, batch_rows: int
) -> None:
    wrong = (
        pay(ledger.payer_account, ledger.payee_account, 7)
        + row(ledger.payee_account, ledger.payee_account, 5)
        + row(ledger.payer_account, ledger.payee_account, 0)
    )
    await plant(superuser, wrong)
    report = await audit(database, batch_rows=batch_rows)
    assert report.differences == [
        balance(ledger.payer_account, 7493, 7500),
        balance(ledger.payee_account, 2507, 2500),
        of_row(Defect.ONE_ACCOUNT, ROW_ID),
        of_row(Defect.AMOUNT, ROW_ID + 1),
    ]
    assert (report.accounts, report.transactions, report.keys, report.last) == (3, 4, 3, ROW_ID + 1)


async def test_only_the_first_differences_are_kept_and_all_are_counted(
    database: Database, superuser: Driver, ledger: Ledger
) -> None:
    more = (
        "INSERT INTO accounts (owner_id, currency_code, balance) SELECT $1, 'EUR', 1 FROM generate_series(1, $2::int)"
    )
    await superuser.execute(more, ledger.payer, DIFFERENCES_MAX + 5)
    report = await audit(database, batch_rows=7)
    first = ledger.payee_account + 1
    assert report.differences == [balance(account, 1, 0) for account in range(first, first + DIFFERENCES_MAX)]
    assert report.differences_count == DIFFERENCES_MAX + 5 + 1  # and the one for the sum of the currency


async def test_right_of_a_former_administrator_is_undecided(database: Database, payer: Viewer) -> None:
    banker = await new_user(database, role="admin")
    assert banker.user_id is not None
    account = await new_account(database, payer)
    assert (await move(database, banker, deposit(account, "5"))).row is not None
    assert found(await audit(database)) == ([], 0, 0)
    number = banker.user_id
    await database.write(lambda transaction: update_user(transaction, ADMIN, ("id",), number, {"role": "member"}))
    assert found(await audit(database)) == ([], 0, 1)


# ---------------------------------------------------------------- since a transaction


async def test_audit_since_a_transaction_finds_what_is_after_and_not_what_is_before(
    database: Database, superuser: Driver, ledger: Ledger, payee: Viewer
) -> None:
    other = await new_account(database, payee, holding="1.00")  # transaction 3
    await plant(superuser, "DELETE FROM idempotency_keys")
    await superuser.execute(change("accounts", ledger.payer_account, "balance = balance + 1"))
    for since in (3, 2, 1):
        assert not (await audit(database, since)).clean
    await superuser.execute("UPDATE transactions SET key_id = NULL")
    after = await audit(database, 3)
    assert (found(after), after.since, after.last) == (([], 0, 0), 3, 3)
    assert (after.accounts, after.transactions, after.keys) == (2, 1, 0)
    wrong = balance(ledger.payer_account, 7501, 7500)
    assert (await audit(database, 2)).differences == [wrong]
    assert (await audit(database)).differences == [wrong, sum_of("EUR", 1)]
    await superuser.execute(change("accounts", other, "balance = 5"))
    assert (await audit(database, 3)).differences == [balance(other, 5, 100)]


async def test_touched_account_is_checked_with_its_whole_balance(
    database: Database, superuser: Driver, ledger: Ledger, payer: Viewer
) -> None:
    await plant(superuser, change("transactions", 1, "amount = 9999"))
    await move(database, payer, transfer(ledger.payer_account, ledger.payee_account, "1.00"))
    report = await audit(database, 3)
    assert report.differences == [balance(ledger.payer_account, 7400, 7399)]
    assert (report.accounts, report.transactions, report.keys) == (2, 1, 1)


@pytest.mark.parametrize("batch_rows", [1, 2, 1000])
async def test_account_that_is_touched_often_is_checked_once(
    database: Database, superuser: Driver, ledger: Ledger, payer: Viewer, payee: Viewer, batch_rows: int
) -> None:
    for _ in range(3):
        await move(database, payer, transfer(ledger.payer_account, ledger.payee_account, "1.00"))
        await move(database, payee, transfer(ledger.payee_account, ledger.payer_account, "2.00"))
    await superuser.execute(change("accounts", ledger.payee_account, "balance = 0"))
    report = await audit(database, 3, batch_rows=batch_rows)
    assert report.differences == [balance(ledger.payee_account, 0, 2200)]
    assert (report.accounts, report.transactions, report.keys) == (2, 6, 6)


# The audit cannot find an account that only a deleted row refers to.
@pytest.mark.parametrize("name", [name for name in PLANTED if name != "a row that was deleted"])
async def test_audit_since_the_first_transaction_finds_all_but_sums(
    database: Database, superuser: Driver, ledger: Ledger, name: str
) -> None:
    planted = PLANTED[name](ledger)
    await plant(superuser, planted.statements)
    expected = [one for one in planted.differences if one.defect is not Defect.SUM]
    report = await audit(database, 1)
    assert sorted(report.differences, key=str) == sorted(expected, key=str)
    assert report.undecided == planted.undecided


@pytest.mark.parametrize("since", [3, 2**63 - 1])
async def test_unknown_transaction_is_refused_and_the_last_one_named(
    database: Database, ledger: Ledger, since: int
) -> None:
    with pytest.raises(UnknownTransactionError) as caught:
        await audit(database, since)
    assert caught.value.last == 2


async def test_next_audit_begins_before_uncommitted_transactions(
    database: Database, superuser: Driver, database_url: str, ledger: Ledger, payer: Viewer
) -> None:
    await superuser.execute("SET session_replication_role = replica")
    async with connected_superuser(database_url) as slow:
        opened = slow.transaction()
        await opened.start()
        await slow.execute(row(ledger.treasury, ledger.payee_account, 5))  # it has the id 3; balances stay unchanged
        other = await new_account(database, payer, holding="1.00")
        first = await audit(database)
        assert (first.last, first.next_since, first.clean) == (4, None, True)
        await superuser.execute("UPDATE transactions SET created_at = created_at - interval '2 hours' WHERE id = 1")
        second = await audit(database)
        assert (second.last, second.next_since) == (4, 1)
        await opened.commit()
    assert (await audit(database, 4)).differences == [balance(ledger.treasury, -10_100, -10_105)]
    third = await audit(database, second.next_since)
    assert balance(ledger.payee_account, 2500, 2505) in third.differences
    assert other not in [one.id for one in third.differences]


async def test_next_audit_begins_after_the_last_transaction_when_there_is_no_writer(
    database: Database, ledger: Ledger
) -> None:
    async def begins_at_two() -> bool:  # other databases of this server have writers, too
        return (await audit(database)).next_since == 2

    await until(begins_at_two, "a moment without a writer")


# ---------------------------------------------------------------- bounds

MANY = """
INSERT INTO accounts (owner_id, currency_code, balance)
SELECT owner_id, 'EUR', 2 FROM accounts, generate_series(1, 20000) WHERE id = {payee_account};
UPDATE accounts SET balance = balance - 40000 WHERE id = {treasury};
INSERT INTO idempotency_keys (owner_id, key, operation, request_hash)
SELECT 1, gen_random_uuid(), 'deposit', '' FROM generate_series(1, 40000);
INSERT INTO transactions (from_id, to_id, amount, key_id)
SELECT {treasury}, {payee_account} + 1 + (id - 4) / 2, 1, id FROM idempotency_keys WHERE id > 3;
UPDATE idempotency_keys SET request_hash = sha256(convert_to('["deposit",null,' || to_id || ',"0.01",null]', 'UTF8'))
  FROM transactions WHERE key_id = idempotency_keys.id AND key_id > 3;
"""


@pytest.mark.parametrize("since", [None, 3])
async def test_large_ledger_takes_no_temporary_file_and_one_row_for_each_statement(
    open_database: OpenDatabase, superuser: Driver, ledger: Ledger, since: int | None
) -> None:
    await superuser.execute(MANY.format(payee_account=ledger.payee_account, treasury=ledger.treasury))
    name = await superuser.fetchval("SELECT current_database()")
    # So little memory that a sort or hash of the whole table needs a temporary file.
    await superuser.execute(f"ALTER DATABASE {name} SET work_mem = '256kB'")
    ran: list[ExecutedStatement] = []
    token = query_statistics.set(QueryStatistics(on_statement=ran.append))
    try:
        report = await audit(open_database(), since, batch_rows=1000)
    finally:
        query_statistics.reset(token)
    assert found(report) == ([], 0, 0)
    assert report.accounts == (20_003 if since is None else 20_001)
    assert report.transactions == (40_002 if since is None else 40_000)
    assert len(ran) > 100
    assert max(one.rows or 0 for one in ran) == 1
    assert await temporary_files(superuser) == 0


@pytest.mark.parametrize("since", [None, 3])
async def test_statement_returns_no_more_rows_than_its_batch_has(
    database: Database, superuser: Driver, ledger: Ledger, since: int | None
) -> None:
    await superuser.execute(MANY.format(payee_account=ledger.payee_account, treasury=ledger.treasury))
    await superuser.execute("UPDATE accounts SET balance = balance + 1; DELETE FROM transactions WHERE id % 2 = 1")
    ran: list[ExecutedStatement] = []
    token = query_statistics.set(QueryStatistics(on_statement=ran.append))
    try:
        report = await audit(database, None if since is None else 4, batch_rows=500)
    finally:
        query_statistics.reset(token)
    assert report.differences_count > 20_000
    assert len(report.differences) == DIFFERENCES_MAX
    assert max(one.rows or 0 for one in ran) <= 2 * 500  # two accounts for each transaction of the batch


async def temporary_files(superuser: Driver) -> int:
    """Return the number of temporary files that statements of this database have written so far."""
    await superuser.execute("SELECT pg_stat_clear_snapshot()")
    files: int = await superuser.fetchval("SELECT temp_files FROM pg_stat_database WHERE datname = current_database()")
    return files


async def test_progress_reports_how_much_of_each_table_is_done(database: Database, ledger: Ledger) -> None:
    progress: list[tuple[str, int, int | None]] = []
    await audit(database, None, lambda *one: progress.append(one), batch_rows=2)
    assert progress == [
        *[("accounts", done, 3) for done in (0, 2, 3)],
        *[("transactions", done, 2) for done in (0, 2)],
        *[("idempotency_keys", done, 3) for done in (0, 2, 3)],
    ]


# ---------------------------------------------------------------- one snapshot


async def test_all_statements_see_the_moment_at_which_the_audit_began(
    database: Database, superuser: Driver, ledger: Ledger
) -> None:
    started, changed = asyncio.Event(), []

    def on_progress(table: str, done: int, total: int | None) -> None:
        started.set()

    async def write_defects() -> None:
        await started.wait()
        await superuser.execute("UPDATE accounts SET balance = balance + 1")
        changed.append(True)

    spoiling = asyncio.create_task(write_defects())
    report = await audit(database, None, on_progress, batch_rows=1)
    await spoiling
    assert (report.clean, changed) == (True, [True])
    assert not (await audit(database)).clean


async def test_audit_that_loses_its_connection_reports_it(
    database: Database, superuser: Driver, ledger: Ledger
) -> None:
    started = asyncio.Event()

    async def kill() -> None:
        await started.wait()
        await superuser.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'folio'"
        )

    killing = asyncio.create_task(kill())
    # The audit has more batches than the kill interrupts.
    await superuser.execute("INSERT INTO users (email, username, hashed_password) VALUES ('a@b.c', 'abc', '!')")
    await superuser.execute(
        "INSERT INTO accounts (owner_id, currency_code) SELECT id, 'EUR' FROM users, generate_series(1, 5000)"
    )
    with pytest.raises(Unavailable, match="connection to the database was lost"):
        await audit(database, None, lambda *_: started.set(), batch_rows=1)
    await killing
