"""`folio doctor`: checks settings, database, migration, clock and pool, and advises. It changes nothing."""

import datetime
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Annotated

import typer
import uvloop
from rich.markup import escape
from rich.table import Table
from sqlalchemy import text

from db.connections.database import Database
from db.connections.server import durability
from db.connections.statements import Statement
from db.embedded.server import EmbeddedError
from db.settings import PREFIX, Settings, load_settings
from db.setup.development import with_database
from db.setup.diagnosis import DatabaseProblem, examine, explained_problems
from db.setup.schema_version import applied_revisions, expected_revision
from graph.cli.support.terminal import CommandError, errors_reported_once, out

CLOCK_SKEW_MAX_S = 2.0


class Verdict(Enum):
    """The result of one check."""

    OK = "[green]ok[/]"
    WARNING = "[yellow]warning[/]"
    FAILURE = "[bold red]failure[/]"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check with its result, and what to do after a warning or failure."""

    subject: str
    verdict: Verdict
    reason: str
    remedy: str = ""


def doctor(
    workers: Annotated[int, typer.Option(min=1, help="How many workers will use this database.")] = 1,
) -> None:
    """Check settings, database, migration, clock and pool. Exits with 1 if a check fails."""
    chosen = load_settings()
    findings = [_settings_finding(chosen)]
    try:
        with with_database(chosen, existing=True) as ready, errors_reported_once():
            findings += uvloop.run(_examine(ready, workers))
    except EmbeddedError as error:
        findings.append(Finding("database", Verdict.FAILURE, str(error)))
    table = Table("Check", "", "Found", "What to do")
    for finding in findings:
        table.add_row(finding.subject, finding.verdict.value, escape(finding.reason), escape(finding.remedy))
    out.print(table)
    failures = [finding for finding in findings if finding.verdict is Verdict.FAILURE]
    if failures:
        first = failures[0]
        others = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
        remedy = f"; {first.remedy}" if first.remedy else ""
        raise CommandError(f"{first.subject}: {first.reason}{remedy}{others}")


def _settings_finding(chosen: Settings) -> Finding:
    if chosen.env == "production":
        return Finding("settings", Verdict.OK, "valid, for production")
    return Finding(
        "settings",
        Verdict.WARNING,
        "valid, for development",
        f"set {PREFIX}ENV=production where others can reach the server",
    )


async def _examine(chosen: Settings, workers: int) -> list[Finding]:
    try:
        state = await examine(chosen)
    except DatabaseProblem as problem:
        return [Finding("database", Verdict.FAILURE, problem.reason, problem.remedy)]
    database = Database(chosen)
    checks: dict[str, Callable[[Database], Awaitable[Finding]]] = {
        "migration": _migration_finding,
        "clock": _clock_finding,
        "role": _role_finding,
        "ledger": _ledger_finding,
        "events": _events_finding,
        "durability": _durability_finding,
        "pool": lambda database: _pool_finding(database, workers),
    }
    try:
        return [
            _finding("database", state.problem(chosen), f"PostgreSQL {state.version} responds"),
            _finding("writes", state.read_only(chosen), "the database accepts them"),
            *[await _checked(subject, check, database) for subject, check in checks.items()],
        ]
    finally:
        await database.close()


async def _checked(subject: str, check: Callable[[Database], Awaitable[Finding]], database: Database) -> Finding:
    """Return the finding of a check, or a failure where it cannot run. The other checks still run."""
    try:
        with explained_problems(database.settings):
            return await check(database)
    except DatabaseProblem as problem:
        return Finding(subject, Verdict.FAILURE, problem.reason, problem.remedy)


def _finding(subject: str, problem: DatabaseProblem | None, ok: str) -> Finding:
    if problem is None:
        return Finding(subject, Verdict.OK, ok)
    return Finding(subject, Verdict.FAILURE, problem.reason, problem.remedy)


_CLOCK = Statement(text("SELECT clock_timestamp()"))


_ROLE = Statement(text("SELECT rolname, rolsuper FROM pg_roles WHERE rolname = current_user"))


_LEDGER = Statement(
    text(
        "SELECT has_table_privilege(to_regclass('transactions'), 'UPDATE, DELETE, TRUNCATE')"
        " OR has_table_privilege(to_regclass('idempotency_keys'), 'UPDATE, DELETE, TRUNCATE') AS writable"
    )
)


_DISABLED_TRIGGERS = Statement(
    text(
        """
        SELECT tgrelid::regclass::text AS table_name, tgname AS name FROM pg_trigger
        WHERE tgrelid IN (to_regclass('posts'), to_regclass('comments'), to_regclass('transactions'))
            AND NOT tgisinternal AND tgenabled NOT IN ('O', 'A')
        ORDER BY 1, 2
        """
    )
)


_CONNECTIONS = Statement(
    text(
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
        " AS available"
    )
)


async def _migration_finding(database: Database) -> Finding:
    applied = list(await applied_revisions(database))
    if applied == [expected_revision()]:
        return Finding("migration", Verdict.OK, f"at {applied[0]}, as expected")
    found = f"at {', '.join(applied) or 'none'}, expected is {expected_revision()}"
    return Finding("migration", Verdict.FAILURE, found, "run `folio migrate upgrade`")


async def _clock_finding(database: Database) -> Finding:
    before = time.time()
    there: datetime.datetime = (await database.fetch(_CLOCK, {}))[0][0]
    skew = there.timestamp() - (before + time.time()) / 2
    if abs(skew) <= CLOCK_SKEW_MAX_S:
        return Finding("clock", Verdict.OK, f"{abs(skew):.3f} s from the database's")
    remedy = "synchronise both clocks by NTP: access tokens expire by this one, sessions by the database's"
    return Finding("clock", Verdict.FAILURE, f"{skew:+.1f} s from the database's", remedy)


async def _role_finding(database: Database) -> Finding:
    name, superuser = (await database.fetch(_ROLE, {}))[0]
    if not superuser:
        return Finding("role", Verdict.OK, f"{name} is not a superuser")
    remedy = "connect as a role without SUPERUSER that owns the database: no privilege binds a superuser"
    return Finding("role", Verdict.WARNING, f"{name} is a superuser, who could change the ledger", remedy)


async def _ledger_finding(database: Database) -> Finding:
    writable = (await database.fetch(_LEDGER, {}))[0]["writable"]
    if writable is None:
        return Finding("ledger", Verdict.FAILURE, "its tables do not exist", "run `folio migrate upgrade`")
    if not writable:
        return Finding("ledger", Verdict.OK, "append-only for this role")
    remedy = (
        "REVOKE UPDATE, DELETE, TRUNCATE ON transactions, idempotency_keys FROM PUBLIC and this role, which must not "
        "be a superuser"
    )
    return Finding("ledger", Verdict.WARNING, "this role could change rows", remedy)


async def _events_finding(database: Database) -> Finding:
    disabled = await database.fetch(_DISABLED_TRIGGERS, {})
    if not disabled:
        return Finding("events", Verdict.OK, "no trigger that writes them is disabled")
    table = disabled[0]["table_name"]
    found = f"the trigger {disabled[0]['name']} of {table} is disabled: subscribers miss changes"
    return Finding("events", Verdict.FAILURE, found, f"ALTER TABLE {table} ENABLE TRIGGER {disabled[0]['name']}")


async def _durability_finding(database: Database) -> Finding:
    promised = await durability(database)
    if promised.problem is None:
        return Finding("durability", Verdict.OK, "acknowledged writes survive a crash")
    if promised.is_throwaway:
        remedy = "store nothing of value there: the database is marked as folio.throwaway"
        return Finding("durability", Verdict.WARNING, promised.problem, remedy)
    remedy = (
        "switch it on in postgresql.conf, and for role and database; if the data has no value: "
        "ALTER DATABASE … SET folio.throwaway = on"
    )
    return Finding("durability", Verdict.FAILURE, promised.problem, remedy)


async def _pool_finding(database: Database, workers: int) -> Finding:
    available = (await database.fetch(_CONNECTIONS, {}))[0]["available"]
    chosen = database.settings
    # Each worker has one more connection, which listens for events.
    wanted = workers * (chosen.pool_size + chosen.pool_max_overflow + 1)
    found = f"{workers} x ({chosen.pool_size} + {chosen.pool_max_overflow} + 1) connections of {available}"
    if wanted <= available:
        return Finding("pool", Verdict.OK, found)
    remedy = f"lower {PREFIX}POOL_SIZE, {PREFIX}POOL_MAX_OVERFLOW or --workers, or raise max_connections"
    return Finding("pool", Verdict.FAILURE, found, remedy)
