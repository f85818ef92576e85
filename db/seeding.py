"""Writing seeded data into an empty database, by COPY. `db.seed_rows` makes the rows.

Invariants: all or nothing, in one transaction that refuses to begin where anything is stored already; rows are made
while they are copied, so that millions need no more memory than thousands; afterwards the identity columns continue
behind the rows, and the planner knows the tables.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from db.engine import Database
from db.seed_rows import (
    Crowd,
    Ledger,
    SeedPlan,
)

__all__ = ["SeedError", "SeedPlan", "SeedReport", "seed"]

logger = logging.getLogger(__name__)

# One COPY takes so many rows. Each has its own statement timeout, and PostgreSQL keeps the foreign keys that are to be
# checked at its end in memory.
BATCH_ROWS = 2000
ANALYZE_TIMEOUT = "10min"

Progress: TypeAlias = Callable[[str, int, int], None]


class SeedError(Exception):
    """Data that cannot be seeded as asked for. Nothing was written; the message says why and what to do."""


@dataclass(frozen=True)
class SeedReport:
    """How many rows each table was given; `accounts` counts the system's own too."""

    users: int
    profiles: int
    posts: int
    accounts: int
    transactions: int


async def seed(database: Database, plan: SeedPlan, hashed_password: str, progress: Progress) -> SeedReport:
    """Fill an empty, migrated database as `plan` says. All users get the same password.

    Args:
        database: holds no user but the system's own.
        plan: what to seed.
        hashed_password: the password of every seeded user, hashed.
        progress: told the table, how many of its rows are written, and how many there will be.

    Raises:
        SeedError: the database is not empty, or the plan cannot be carried out.
        Unavailable: the database does not answer, or not in time.
    """
    _demand_possible(plan)
    crowd = Crowd(plan)
    ledger = Ledger(plan, crowd)
    report = await database.write(work)
    await _analyze(database)
    return report
