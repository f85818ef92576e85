"""Migrations: up, down and up again, two at once, and no difference between their database and the models."""

import asyncio
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from db.connections.database import Database
from db.connections.leases import Driver
from db.connections.statements import Statement
from db.models import Model
from db.setup.schema_version import alembic_config, expected_revision
from tests.db.support.backends import connected_superuser, run_in_write, waiting_backend
from tests.db.support.rows import ADMIN, deposit, move, new_account, new_user

_ROOT = Path(__file__).parents[3]
_SCRIPTS = list(reversed(list(ScriptDirectory.from_config(alembic_config()).walk_revisions())))
REVISIONS = [script.revision for script in _SCRIPTS]
MODULES = [script.module for script in _SCRIPTS]


async def upgrade(database_url: str, revision: str = "head") -> None:
    await asyncio.to_thread(command.upgrade, alembic_config(database_url), revision)


async def downgrade(database_url: str, revision: str) -> None:
    await asyncio.to_thread(command.downgrade, alembic_config(database_url), revision)


CATALOGUE = {
    "columns": """
        SELECT table_name || '.' || column_name, concat_ws(' ', data_type, collation_name, is_nullable, column_default,
            is_identity, identity_generation, is_generated)
        FROM information_schema.columns WHERE table_schema = 'public'""",
    "constraints": """
        SELECT conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace""",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "relations": """
        SELECT relname, concat_ws(' ', relkind, relpersistence, relrowsecurity, reloptions::text)
        FROM pg_class WHERE relnamespace = 'public'::regnamespace""",
    "functions": "SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "dictionaries": """
        SELECT dictname, concat_ws(' ', dicttemplate::text, dictinitoption)
        FROM pg_ts_dict WHERE dictnamespace = 'public'::regnamespace""",
    "configurations": """
        SELECT concat_ws(' ', cfgname, maptokentype, mapseqno), dictname
        FROM pg_ts_config JOIN pg_ts_config_map ON mapcfg = pg_ts_config.oid JOIN pg_ts_dict ON mapdict = pg_ts_dict.oid
        WHERE cfgnamespace = 'public'::regnamespace""",
    "types": "SELECT typname, typtype::text FROM pg_type WHERE typnamespace = 'public'::regnamespace",
    "triggers": "SELECT tgname, tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal",
}


async def catalogue(database_url: str) -> Mapping[str, Mapping[str, str]]:
    """Return the catalogue of a database in PostgreSQL's own words, without Alembic's table."""
    async with connected_superuser(database_url) as superuser:
        found = {kind: await superuser.fetch(query) for kind, query in CATALOGUE.items()}
    return {kind: {row[0]: row[1] for row in rows if "alembic" not in row[0]} for kind, rows in found.items()}


async def test_models_and_migrations_make_the_same_database(database_url: str, empty_database_url: str) -> None:
    functions = [statement for module in MODULES for statement in getattr(module, "CREATE", ())]
    engine = create_async_engine(empty_database_url, poolclass=NullPool)
    async with engine.begin() as connection:
        for statement in functions:  # the models use these functions, but cannot create them
            await connection.exec_driver_sql(statement)
        await connection.run_sync(Model.metadata.create_all)
    await engine.dispose()
    migrated, modelled = await catalogue(database_url), await catalogue(empty_database_url)
    assert migrated == modelled
    assert len(migrated["columns"]) > 50


async def test_autogenerate_finds_no_difference(database_url: str) -> None:
    await asyncio.to_thread(command.check, alembic_config(database_url))


async def test_all_the_way_up_down_and_up_again_is_the_same_database(empty_database_url: str) -> None:
    empty = await catalogue(empty_database_url)
    await upgrade(empty_database_url)
    first = await catalogue(empty_database_url)
    await downgrade(empty_database_url, "base")
    assert await catalogue(empty_database_url) == empty
    async with connected_superuser(empty_database_url) as superuser:
        tables = await superuser.fetch("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        assert sorted(row[0] for row in tables) == ["alembic_version", "alembic_version_pkc"]
        assert await superuser.fetch("SELECT * FROM alembic_version") == []
    await upgrade(empty_database_url)
    assert await catalogue(empty_database_url) == first
    await asyncio.to_thread(command.check, alembic_config(empty_database_url))


async def test_every_step_down_undoes_its_step_up(empty_database_url: str) -> None:
    assert REVISIONS[-1] == expected_revision()
    for revision in REVISIONS:
        before = await catalogue(empty_database_url)
        await upgrade(empty_database_url, "+1")
        after = await catalogue(empty_database_url)
        assert after != before
        await downgrade(empty_database_url, "-1")
        assert await catalogue(empty_database_url) == before
        await upgrade(empty_database_url, revision)
        assert await catalogue(empty_database_url) == after


async def test_two_simultaneous_upgrades_both_end_well(empty_database_url: str) -> None:
    # Processes, because Alembic's context is global within one.
    script = "import sys; from alembic import command; from db.setup.schema_version import alembic_config; "
    script += "command.upgrade(alembic_config(sys.argv[1]), 'head')"
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-c", script, empty_database_url),
            cwd=_ROOT,
            stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(2)
    ]
    endings = await asyncio.gather(*(process.communicate() for process in processes))
    assert [(process.returncode, ending[1]) for process, ending in zip(processes, endings, strict=True)] == [
        (0, b""),
        (0, b""),
    ]
    async with connected_superuser(empty_database_url) as superuser:
        rows = await superuser.fetch("SELECT version_num FROM alembic_version")
    assert [row[0] for row in rows] == [expected_revision()]


async def test_upgrade_waits_for_a_running_upgrade(empty_database_url: str) -> None:
    async with connected_superuser(empty_database_url) as superuser:
        await superuser.execute("SELECT pg_advisory_lock($1)", int.from_bytes(b"folio"))
        upgrading = asyncio.create_task(upgrade(empty_database_url))
        await waiting_backend(superuser)
        assert await superuser.fetchval("SELECT to_regclass('alembic_version')") is None
        await superuser.execute("SELECT pg_advisory_unlock_all()")
        await upgrading
        assert await superuser.fetchval("SELECT version_num FROM alembic_version") == expected_revision()


def is_concurrent(revision: str) -> bool:
    """Return whether a migration runs outside a transaction: others do not wait for it, but it waits for all others."""
    path = ScriptDirectory.from_config(alembic_config()).get_revision(revision).path
    return re.search("^ +with .*autocommit_block", Path(path).read_text(encoding="utf-8"), re.MULTILINE) is not None


async def test_migration_that_cannot_get_its_lock_fails_and_changes_nothing(
    database_url: str, superuser: Driver
) -> None:
    newest = next(revision for revision in reversed(REVISIONS) if not is_concurrent(revision))
    if newest != REVISIONS[-1]:
        await downgrade(database_url, newest)
    before = await catalogue(database_url)
    tables = await superuser.fetch("SELECT relname FROM pg_class WHERE relname = ANY($1)", list(Model.metadata.tables))
    async with superuser.transaction():
        for (table,) in tables:
            await superuser.execute(f"LOCK TABLE {table} IN ACCESS SHARE MODE")  # as any reader does
        with pytest.raises(DBAPIError, match="canceling statement due to lock timeout"):
            await downgrade(database_url, "-1")
    assert await catalogue(database_url) == before
    assert await superuser.fetchval("SELECT version_num FROM alembic_version") == newest


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_migration_bounds_its_waits_or_is_concurrent(revision: str) -> None:
    path = Path(ScriptDirectory.from_config(alembic_config()).get_revision(revision).path)
    text_of = path.read_text(encoding="utf-8")
    if is_concurrent(revision):
        assert "concurrently" in text_of, f"{path.name}: what leaves its transaction does so to work CONCURRENTLY"
    else:
        for setting in ("lock_timeout", "statement_timeout"):
            assert text_of.count(f"SET LOCAL {setting}") == 2, (
                f"{path.name}: begin upgrade() and downgrade() with SET LOCAL {setting}, as migrations/script.py.mako"
            )


async def test_index_whose_building_was_interrupted_is_built_by_the_next_upgrade(database_url: str) -> None:
    concurrent = [revision for revision in REVISIONS if is_concurrent(revision)]
    assert concurrent
    for revision in reversed(concurrent):
        if revision != REVISIONS[-1]:
            await downgrade(database_url, revision)
        upgraded = await catalogue(database_url)
        await downgrade(database_url, "-1")
        known = (await catalogue(database_url))["indexes"]
        async with connected_superuser(database_url) as superuser:
            for name in set(upgraded["indexes"]) - set(known):
                # The state after a cancelled build: the index exists, and is invalid.
                try:
                    await superuser.execute(upgraded["indexes"][name])
                except asyncpg.UndefinedColumnError:
                    continue  # the migration adds this column, too
                await superuser.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1::regclass", name)
            await upgrade(database_url, revision)
            invalid = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
            assert await superuser.fetch(invalid) == [], (
                f"{revision}: drop the index, if it is there, before it is built"
            )
        assert await catalogue(database_url) == upgraded


async def test_ledger_is_append_only_for_its_owner_too(database: Database, superuser: Driver) -> None:
    account = await new_account(database, await new_user(database), holding="5.00")
    owner = await superuser.fetchval("SELECT tableowner FROM pg_tables WHERE tablename = 'transactions'")
    async with database.read() as snapshot:
        assert await snapshot.driver.fetchval("SELECT current_user") == owner == "folio"
    for statement in ("UPDATE transactions SET amount = 1", "DELETE FROM transactions", "TRUNCATE transactions"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for table transactions"):
            await run_in_write(database, Statement(text(statement)))
    assert (await move(database, ADMIN, deposit(account, "1.00"))).refusal is None
    rows = await superuser.fetch("SELECT amount FROM transactions ORDER BY id")
    assert [row["amount"] for row in rows] == [500, 100]
