"""`folio doctor` and `folio settings`: is everything as it must be, and if not, what to do."""

import datetime
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Annotated

import typer
import uvloop
from pydantic import SecretStr
from rich.table import Table
from sqlalchemy import text

from db.connections.database import Database
from db.connections.server import takes_writes
from db.errors import Unavailable
from db.migrating import applied_revisions, expected_revision
from db.settings import PREFIX, Settings
from db.statements import Statement
from graph.cli.terminal import configured, out

SERVER_VERSION_MIN = 140_000
CLOCK_SKEW_MAX_S = 2.0


class Verdict(Enum):
    """What became of one check."""

    OK = "[green]ok[/]"
    WARNING = "[yellow]warning[/]"
    FAILURE = "[bold red]failure[/]"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check with its outcome, and what to do where it is not well."""

    subject: str
    verdict: Verdict
    what: str
    remedy: str = ""


def doctor(
    workers: Annotated[int, typer.Option(min=1, help="How many workers are going to run against this database.")] = 1,
) -> None:
    """Check settings, database, migration, clock and pool. Exits 1 where anything fails."""
    with configured() as chosen:
        findings = [_settings_finding(chosen), *uvloop.run(_examine(chosen, workers))]
    table = Table("Check", "", "Found", "What to do")
    for finding in findings:
        table.add_row(finding.subject, finding.verdict.value, finding.what, finding.remedy)
    out.print(table)
    if any(finding.verdict is Verdict.FAILURE for finding in findings):
        raise typer.Exit(1)


def settings() -> None:
    """List every setting with its value, where it comes from and what it means."""
    with configured() as chosen:
        table = Table("Variable", "Value", "Meaning")
        for name, field in Settings.model_fields.items():
            value = getattr(chosen, name)
            shown = "(secret)" if isinstance(value, SecretStr) else "" if value is None else str(value)
            table.add_row(PREFIX + name.upper(), shown, field.description)
        out.print(table)


def _settings_finding(chosen: Settings) -> Finding:
    if chosen.env == "production":
        return Finding("settings", Verdict.OK, "all allowed, for production")
    return Finding(
        "settings",
        Verdict.WARNING,
        "all allowed, for development",
        f"set {PREFIX}ENV=production where others can reach the server",
    )


async def _examine(chosen: Settings, workers: int) -> list[Finding]:
    database = Database(chosen)
    checks: list[Callable[[Database], Awaitable[Finding]]] = [
        _server_finding,
        _writes_finding,
        _migration_finding,
        _clock_finding,
        _role_finding,
        _ledger_finding,
        lambda database: _pool_finding(database, workers),
    ]
    try:
        return [await check(database) for check in checks]
    except Unavailable as error:
        remedy = f"start PostgreSQL, or correct {PREFIX}DATABASE_URL"
        return [Finding("database", Verdict.FAILURE, str(error), remedy)]
    finally:
        await database.close()


_SERVER = Statement(
    text("SELECT current_setting('server_version_num')::int, current_setting('server_version'), getdatabaseencoding()")
)
_CLOCK = Statement(text("SELECT clock_timestamp()"))
_ROLE = Statement(text("SELECT rolname, rolsuper FROM pg_roles WHERE rolname = current_user"))
_LEDGER = Statement(
    text("SELECT has_table_privilege(to_regclass('transactions'), 'UPDATE, DELETE, TRUNCATE') AS writable")
)
_CONNECTIONS = Statement(
    text(
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
        " AS available"
    )
)


async def _server_finding(database: Database) -> Finding:
    number, version, encoding = (await database.fetch(_SERVER, {}))[0]
    if number < SERVER_VERSION_MIN:
        return Finding("database", Verdict.FAILURE, f"PostgreSQL {version}", "use PostgreSQL 14 or later")
    if encoding != "UTF8":
        remedy = "create the database with ENCODING 'UTF8'"
        return Finding("database", Verdict.FAILURE, f"its encoding is {encoding}", remedy)
    return Finding("database", Verdict.OK, f"PostgreSQL {version} answers")


async def _writes_finding(database: Database) -> Finding:
    if await takes_writes(database):
        return Finding("writes", Verdict.OK, "the database takes them")
    remedy = f"point {PREFIX}DATABASE_URL at the primary, or end its read-only mode (a full disk, for instance)"
    return Finding("writes", Verdict.FAILURE, "the database takes no writes", remedy)


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
        return Finding("role", Verdict.OK, f"{name} is no superuser")
    remedy = "connect as a role without SUPERUSER that owns the database: no privilege binds a superuser"
    return Finding("role", Verdict.WARNING, f"{name} is a superuser, who could change the ledger", remedy)


async def _ledger_finding(database: Database) -> Finding:
    writable = (await database.fetch(_LEDGER, {}))[0]["writable"]
    if writable is None:
        return Finding("ledger", Verdict.FAILURE, "there is none", "run `folio migrate upgrade`")
    if not writable:
        return Finding("ledger", Verdict.OK, "append-only for this role")
    remedy = "REVOKE UPDATE, DELETE, TRUNCATE ON transactions FROM PUBLIC and this role, who is to be no superuser"
    return Finding("ledger", Verdict.WARNING, "this role could change rows", remedy)


async def _pool_finding(database: Database, workers: int) -> Finding:
    available = (await database.fetch(_CONNECTIONS, {}))[0]["available"]
    chosen = database.settings
    wanted = workers * (chosen.pool_size + chosen.pool_max_overflow)
    found = f"{workers} x ({chosen.pool_size} + {chosen.pool_max_overflow}) connections of {available}"
    if wanted <= available:
        return Finding("pool", Verdict.OK, found)
    remedy = f"lower {PREFIX}POOL_SIZE, {PREFIX}POOL_MAX_OVERFLOW or --workers, or raise max_connections"
    return Finding("pool", Verdict.FAILURE, found, remedy)
