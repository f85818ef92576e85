"""The demo data of `folio dev`: inserted once into an empty database, and kept for later starts."""

import time

from db.access import ANONYMOUS
from db.connections.database import Database
from db.repositories.sessions import credentials_of
from db.repositories.users import USERS
from db.seed.rows import typical_children
from db.seed.seeding import SeedPlan, seed
from graph.cli.support.progress import counted
from graph.cli.support.terminal import err
from graph.runtime.passwords import PasswordHasher

DEMO_USERNAME = "ada"
DEMO_PASSWORD = "folio demo"  # noqa: S105 - the password of a demo user on the developer's machine
DEMO_PLAN = SeedPlan(users=200, posts=2000, accounts=300, children=typical_children(2000), admin=True)


async def prepare_demo(database: Database) -> bool:
    """Seed the database if it has no users except the system user; return whether the demo sign-in works."""
    hasher = PasswordHasher(database.settings)
    try:
        if await USERS.count(database, ANONYMOUS, {}) <= 1:
            started = time.perf_counter()
            await seed(database, DEMO_PLAN, await hasher.hash(DEMO_PASSWORD), lambda *_: None)
            err.print(f"added demo data: {counted(DEMO_PLAN.counts)} in {time.perf_counter() - started:.1f} s")
        demo = await credentials_of(database, DEMO_USERNAME)
        return await hasher.verify(demo.hashed_password if demo else None, DEMO_PASSWORD)
    finally:
        hasher.close()
