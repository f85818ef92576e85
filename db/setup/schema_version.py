"""The version of the database's schema: Alembic's configuration, the applied revision, and the expected one.

Alembic owns the schema. Its configuration for developers who run `alembic` is in pyproject.toml. The same configuration
is repeated here in code, because an installed wheel has no pyproject.toml.
"""

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Text, column, select, table, text

from db.connections.statements import Reader, Statement

_ROOT = Path(__file__).resolve().parents[2]
_HAS_VERSIONS = Statement(text("SELECT to_regclass('alembic_version') IS NOT NULL"))
_VERSIONS = Statement(select(column("version_num", Text)).select_from(table("alembic_version")))


def alembic_config(database_url: str | None = None) -> Config:
    """Return Alembic's configuration. `migrations/env.py` connects to `database_url`, a `postgresql+asyncpg://` URL."""
    pyproject = _ROOT / "pyproject.toml"
    # The default is the object that was sys.stdout when Alembic was imported.
    config = Config(toml_file=str(pyproject) if pyproject.is_file() else None, stdout=sys.stdout)
    config.set_main_option("script_location", str(_ROOT / "migrations").replace("%", "%%"))
    config.attributes["database_url"] = database_url
    return config


@cache
def expected_revision() -> str:
    """Return the newest revision of this code's migrations."""
    revision = ScriptDirectory.from_config(alembic_config()).get_current_head()
    if revision is None:
        raise RuntimeError("there are no migrations")
    return revision


async def applied_revisions(reader: Reader) -> Sequence[str]:
    """Return the applied revisions of the database: one, or none if no migration was ever applied."""
    exists = await reader.fetch(_HAS_VERSIONS, {})
    return [row[0] for row in await reader.fetch(_VERSIONS, {})] if exists[0][0] else []
