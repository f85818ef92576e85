"""`folio seed`: puts demo data into an empty database, either all of it or none."""

import inspect
import time
from collections.abc import Callable
from typing import Annotated

import typer

from db.connections.database import Database
from db.repositories import checks
from db.seed import seeding
from db.seed.rows import CHILDREN, typical_children
from db.seed.seeding import SeedError, SeedPlan, SeedReport
from graph.cli.support.demo_data import DEMO_PASSWORD
from graph.cli.support.progress import counted, watched
from graph.cli.support.terminal import CommandError, err, out, run_with_database
from graph.runtime.passwords import PasswordHasher

_NUMERALS = ("no", "one", "two", "three", "four", "five")


def _with_children(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for each table of what users write on posts, behind that of the posts."""
    options = list(inspect.signature(command).parameters.values())[:-1]
    for place, child in enumerate(CHILDREN, start=2):
        about = f"The number of {child.table} on all posts. The default is {_NUMERALS[child.per_post]} for each post."
        number = Annotated[int | None, typer.Option(min=0, max=seeding.POSTS_MAX, help=about)]
        one = inspect.Parameter(child.table, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=number)
        options.insert(place, one)
    signature = inspect.Signature([one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in options])
    setattr(command, "__signature__", signature)  # noqa: B010 - which no function declares
    return command


@_with_children
def seed(
    users: Annotated[
        int, typer.Option(min=0, max=seeding.USERS_MAX, help="The number of users. The first two are ada and ben.")
    ] = 1000,
    posts: Annotated[
        int, typer.Option(min=0, max=seeding.POSTS_MAX, help="The number of posts of all users together.")
    ] = 10_000,
    accounts: Annotated[
        int, typer.Option(min=0, max=seeding.ACCOUNTS_MAX, help="The number of money accounts of all users together.")
    ] = 1000,
    number: Annotated[
        int, typer.Option("--seed", help="The seed of the random data: the same number makes the same data.")
    ] = 1,
    password: Annotated[str, typer.Option(help="The password of all users.")] = DEMO_PASSWORD,
    **children: int | None,
) -> None:
    """Fill an empty database with plausible data, the same each time. ada is an administrator."""
    given = {table: count for table, count in children.items() if count is not None}
    plan = SeedPlan(users, posts, accounts, number, typical_children(posts) | given, admin=True)
    started = time.perf_counter()

    async def work(database: Database) -> SeedReport:
        if database.settings.env == "production" and password == DEMO_PASSWORD:
            raise CommandError("in production choose the users' password with --password; the default one is public")
        for refusal in checks.check_password(password):
            raise CommandError(f"--password: {refusal.message}")
        hashed_password = await _hashed(database, password)
        try:
            with watched() as progress:
                return await seeding.seed(database, plan, hashed_password, progress)
        except SeedError as error:
            raise CommandError(str(error)) from None

    report = run_with_database(work, writes=True, undone="nothing was seeded")
    err.print(f"seeded {counted(report)} in {time.perf_counter() - started:.1f} s")
    if people := report["users"]:
        names = "ada, an administrator, or as any other user" if people > 1 else "ada, an administrator"
        out.print(f"sign in as {names}, with the password: {password}", markup=False)


async def _hashed(database: Database, password: str) -> str:
    hasher = PasswordHasher(database.settings)
    try:
        return await hasher.hash(password)
    finally:
        hasher.close()
