"""`folio audit` from the user's point of view: output, exit codes, progress, Ctrl-C, time limits, a lost database."""

import asyncio
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from db.connections.leases import Driver
from db.ledger.audit import DIFFERENCES_MAX
from tests.graph.cli.test_serving import ROOT
from tests.graph.support.commands import LIMIT_S, Ended, Running, start
from tests.graph.support.served_app import until

INTERRUPTED = 130

# The system user has the id 1.
LEDGER = """
INSERT INTO users (email, username, hashed_password) VALUES ('ida@example.com', 'ida', 'none');
INSERT INTO accounts (owner_id, currency_code, balance, is_system) VALUES
    (1, 'EUR', -1000, true), (2, 'EUR', 700, false), (2, 'EUR', 300, false),
    (1, 'JPY', -50, true), (2, 'JPY', 50, false);
INSERT INTO transactions (from_id, to_id, amount) VALUES (1, 2, 1000), (2, 3, 300), (4, 5, 50);
"""
CHECKED = "checked 5 accounts, 3 transactions and 0 idempotency keys, up to transaction_3\n"
RIGHT = "every balance is right\n"
# A delay in seconds for each row that is read from accounts with the application's rights.
SLOW = """
CREATE FUNCTION slow() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep({seconds}); RETURN true; END $$;
ALTER TABLE accounts ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts FORCE ROW LEVEL SECURITY;
CREATE POLICY slow ON accounts USING (slow());
"""
AT_WORK = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"

Audit = Callable[..., Running]


@pytest.fixture
async def audit(superuser: Driver, database_url: str, files: Path) -> Audit:
    """Run `folio audit …` on a ledger without errors."""
    await superuser.execute(LEDGER)

    def run(*arguments: str, statement_timeout_ms: int = 10_000) -> Running:
        limit = str(statement_timeout_ms)
        command = ["audit", *arguments]
        return start(command, files / "work", FOLIO_DATABASE_URL=database_url, FOLIO_STATEMENT_TIMEOUT_MS=limit)

    return run


async def ended(running: Running) -> Ended:
    return await asyncio.to_thread(running.ended)


# ---------------------------------------------------------------- what it says


async def test_audit_of_a_correct_ledger_prints_what_was_checked_and_where_to_continue(audit: Audit) -> None:
    found = await ended(audit())
    assert (found.code, found.err) == (0, "")
    assert found.out.startswith(CHECKED)
    assert found.out.endswith(RIGHT)


async def test_transaction_for_the_next_audit_is_accepted_by_it(audit: Audit) -> None:
    async def is_whole_ledger_reported() -> bool:  # others write to other databases of this server
        return "the next audit can be: folio audit --since transaction_3\n" in (await ended(audit())).out

    await until(is_whole_ledger_reported, "a moment without a writer")
    found = await ended(audit("--since", "transaction_3"))
    assert (found.code, found.err) == (0, "")
    assert found.out.startswith(
        "checked 2 accounts, 1 transactions and 0 idempotency keys, from transaction_3 up to transaction_3\n"
    )
    assert found.out.endswith(RIGHT)
    assert (await ended(audit("--since", "2"))).out.startswith("checked 4 accounts, 2 transactions")


async def test_empty_ledger_is_correct_and_names_no_transaction_to_start_from(database_url: str, files: Path) -> None:
    found = await ended(start(["audit"], files / "work", FOLIO_DATABASE_URL=database_url))
    message = f"checked 0 accounts, 0 transactions and 0 idempotency keys\n{RIGHT}"
    assert (found.code, found.out, found.err) == (0, message, "")


async def test_first_difference_is_described_and_all_are_listed(audit: Audit, superuser: Driver) -> None:
    await superuser.execute("UPDATE accounts SET balance = balance + 1 WHERE id IN (2, 5)")
    first = (
        "account_2 (row 2 of accounts): the balance is 7.01 EUR, the ledger says 7.00 EUR, the difference is 0.01 EUR"
    )
    found = await ended(audit())
    assert (found.code, found.err) == (1, f"folio: 4 differences, the first: {first}\n")
    assert found.out == (
        f"{CHECKED}{first}\n"
        "account_5 (row 5 of accounts): the balance is 51 JPY, the ledger says 50 JPY, the difference is 1 JPY\n"
        "EUR: all balances add up to 0.01 EUR, not to zero\n"
        "JPY: all balances add up to 1 JPY, not to zero\n"
    )


# The digest of a request for the second transaction.
HASH = """sha256('["transfer",2,3,"3",null]')"""
# The statements that write the defect, and the line on standard error.
WORDS = {
    "UPDATE accounts SET currency_code = 'USD' WHERE id = 3; UPDATE accounts SET balance = 0 WHERE id = 2": (
        "the first: account_2 (row 2 of accounts): the balance is 0.00 EUR, the ledger says 7.00 EUR, "
        "the difference is -7.00 EUR"
    ),
    "UPDATE accounts SET currency_code = 'USD' WHERE id = 3": (
        "the first: transaction_2 (row 2 of transactions): its accounts hold different currencies"
    ),
    "ALTER TABLE accounts DROP CONSTRAINT ck_accounts_balance_not_negative; UPDATE accounts SET is_system = false": (
        "2 differences, the first: account_1 (row 1 of accounts): the balance is -10.00 EUR: "
        "it is below zero, and not a system account"
    ),
    "UPDATE accounts SET currency_code = 'XXX' WHERE id IN (4, 5); UPDATE accounts SET balance = 7 WHERE id = 5": (
        "2 differences, the first: account_5 (row 5 of accounts): the balance is 7 units of XXX, "
        "the ledger says 50 units of XXX, the difference is -43 units of XXX"
    ),
    "INSERT INTO idempotency_keys (owner_id, key, operation, request_hash) VALUES (2, '{key}', 'transfer', '')": (
        "1 difference: the idempotency key {key} of user_2 (row 1 of idempotency_keys): "
        "it has neither a transaction nor a refusal"
    ),
    "INSERT INTO idempotency_keys (owner_id, key, operation, request_hash) VALUES (2, '{key}', 'transfer', {hash});"
    "UPDATE transactions SET key_id = 1, memo = 'rent' WHERE id = 2": (
        "1 difference: transaction_2 (row 2 of transactions): it differs from the request of its key: "
        "accounts, amount, memo or key were changed"
    ),
    "INSERT INTO users (email, username, hashed_password, updated_at) VALUES ('e@x.org', 'eve', '!', '2026-01-01');"
    "INSERT INTO idempotency_keys (owner_id, key, operation, request_hash) VALUES (3, '{key}', 'transfer', {hash});"
    "UPDATE transactions SET key_id = 1 WHERE id = 2": (
        "1 difference: transaction_2 (row 2 of transactions): its key belongs to user_3, "
        "who is neither the owner of its source account nor an administrator"
    ),
}


@pytest.mark.parametrize("statements", WORDS)
async def test_difference_is_printed_with_public_id_and_row(audit: Audit, superuser: Driver, statements: str) -> None:
    key = "0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e"
    await superuser.execute(statements.format(key=key, hash=HASH))
    found = await ended(audit())
    assert found.code == 1
    assert found.err.startswith("folio: ")
    assert found.err.endswith(f"{WORDS[statements].format(key=key)}\n")
    assert "the next audit" not in found.out
    assert RIGHT not in found.out


async def test_undecided_right_is_printed_and_is_no_difference(audit: Audit, superuser: Driver) -> None:
    await superuser.execute(
        "INSERT INTO idempotency_keys (owner_id, key, operation, request_hash) "
        """VALUES (9, gen_random_uuid(), 'transfer', sha256('["transfer",2,3,"3",null]')); """
        "UPDATE transactions SET key_id = 1 WHERE id = 2"
    )
    found = await ended(audit())
    assert (found.code, found.err) == (0, "")
    assert "1 transactions have keys of users who are not administrators now" in found.out


async def test_number_of_listed_differences_is_bounded(audit: Audit, superuser: Driver) -> None:
    await superuser.execute(
        "INSERT INTO accounts (owner_id, currency_code, balance) SELECT 2, 'EUR', 1 FROM generate_series(1, $1::int)",
        DIFFERENCES_MAX + 20,
    )
    found = await ended(audit())
    assert found.err.startswith(f"folio: {DIFFERENCES_MAX + 21} differences, the first: account_6 (row 6 of accounts)")
    lines = found.out.splitlines()
    assert (len(lines), lines[-1]) == (DIFFERENCES_MAX + 2, "… and 21 more")


# ---------------------------------------------------------------- --since


@pytest.mark.parametrize(
    ("since", "message"),
    [
        ("account_3", "account_3 is the id of an account, but the id of a transaction is expected"),
        *[
            (text, f"{text} is not the id of a transaction")
            for text in (
                "abc",
                "0",
                "007",
                "-1",
                "1.5",
                "transaction_0",
                "transaction_",
                "9223372036854775808",
                "\u0661",
            )
        ],
    ],
)
async def test_invalid_id_of_a_transaction_is_refused(audit: Audit, since: str, message: str) -> None:
    found = await ended(audit(f"--since={since}"))
    assert (found.code, found.out) == (2, "")
    words = " ".join(found.err.replace("│", " ").split())
    assert f"{message}; write it as transaction_123 or 123" in words


@pytest.mark.parametrize("since", ["4", "transaction_4"])
async def test_transaction_that_is_not_in_the_ledger_is_refused(audit: Audit, since: str) -> None:
    found = await ended(audit("--since", since))
    line = "folio: --since: there is no transaction_4 in this ledger; the last one is transaction_3\n"
    assert (found.code, found.out, found.err) == (1, "", line)


async def test_ledger_without_transactions_refuses_since(database_url: str, files: Path) -> None:
    found = await ended(start(["audit", "--since", "1"], files / "work", FOLIO_DATABASE_URL=database_url))
    line = "folio: --since: there is no transaction_1 in this ledger; it has no transaction yet\n"
    assert (found.code, found.out, found.err) == (1, "", line)


# ---------------------------------------------------------------- time, Ctrl-C, faults


@pytest.mark.long("slow statements are waited for")
async def test_statement_may_take_longer_than_those_of_requests(audit: Audit, superuser: Driver) -> None:
    # The server's limit would end it after 0.5 s, the client's limit after 2.5 s.
    await superuser.execute(SLOW.format(seconds=0.7))
    found = await ended(audit(statement_timeout_ms=500))
    assert (found.code, found.err) == (0, "")
    assert found.out.startswith(CHECKED)


async def at_work(superuser: Driver) -> bool:
    return bool(await superuser.fetchval(f"SELECT count(*) {AT_WORK}"))


async def test_interruption_in_the_middle_ends_at_once_and_leaves_no_backend(audit: Audit, superuser: Driver) -> None:
    await superuser.execute(SLOW.format(seconds=60))
    running = audit()

    async def is_at_work() -> bool:
        return await at_work(superuser)

    await until(is_at_work, "the audit")
    running.interrupt()
    found = await ended(running)
    assert (found.code, found.out, found.err) == (
        INTERRUPTED,
        "",
        "folio: interrupted; the audit is not complete\n",
    )
    assert await superuser.fetchval(OTHERS) == 0


async def test_database_lost_during_the_audit_is_reported_in_one_line(audit: Audit, superuser: Driver) -> None:
    await superuser.execute(SLOW.format(seconds=60))
    running = audit()

    async def is_at_work() -> bool:
        return await at_work(superuser)

    await until(is_at_work, "the audit")
    await superuser.execute(f"SELECT pg_terminate_backend(pid) {AT_WORK}")
    found = await ended(running)
    assert (found.code, found.out, found.err.count("\n")) == (1, "", 1)
    assert found.err.startswith('folio: the database "t_')
    assert "; read the log of the server" in found.err


async def test_progress_is_shown_only_at_a_terminal(audit: Audit, database_url: str, files: Path) -> None:
    assert (await ended(audit())).err == ""
    command = [sys.executable, "-c", "from graph.cli import main; main()", "audit"]
    environment = {**os.environ, "FOLIO_DATABASE_URL": database_url, "TERM": "xterm", "PYTHONPATH": str(ROOT)}
    reader, writer = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *command, cwd=files / "work", env=environment, stdout=subprocess.DEVNULL, stderr=writer
    )
    os.close(writer)
    shown = await asyncio.to_thread(read_all, reader)
    assert await asyncio.wait_for(process.wait(), LIMIT_S) == 0
    words = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    for table, rows in (("accounts", 5), ("transactions", 3), ("idempotency_keys", 0)):
        assert re.search(rf"{table} +\S+ +{rows} +0:00:0", words), words


def read_all(terminal: int) -> str:
    """Return the output of a terminal until no process has it open."""
    parts = []
    try:
        while part := os.read(terminal, 65_536):
            parts.append(part)
    except OSError:  # Linux reports the end of a terminal like this
        pass
    os.close(terminal)
    return b"".join(parts).decode()
