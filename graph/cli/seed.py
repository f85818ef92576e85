"""`folio seed`: puts demo data into an empty database, either all of it or none."""

import time
from typing import Annotated

import typer

from db.connections.database import Database
from db.repositories import checks
from db.seed import seeding
from db.seed.seeding import SeedError, SeedPlan, SeedReport
from graph.cli.support.demo_data import DEMO_PASSWORD
from graph.cli.support.progress import watched
from graph.cli.support.terminal import CommandError, err, out, run_with_database
from graph.runtime.passwords import PasswordHasher


def seed(
    users: Annotated[
        int, typer.Option(min=0, max=seeding.USERS_MAX, help="The number of users. The first two are ada and ben.")
    ] = 1000,
    posts: Annotated[
        int, typer.Option(min=0, max=seeding.POSTS_MAX, help="The number of posts of all users together.")
    ] = 10_000,
    comments: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=seeding.POSTS_MAX,
            help="The number of comments on all posts together. The default is two for each post.",
        ),
    ] = None,
    accounts: Annotated[
        int, typer.Option(min=0, max=seeding.ACCOUNTS_MAX, help="The number of money accounts of all users together.")
    ] = 1000,
    number: Annotated[
        int, typer.Option("--seed", help="The seed of the random data: the same number makes the same data.")
    ] = 1,
    password: Annotated[str, typer.Option(help="The password of all users.")] = DEMO_PASSWORD,
) -> None:
    """Fill an empty database with plausible data, the same each time. ada is an administrator."""
    plan = SeedPlan(users, posts, accounts, number, 2 * posts if comments is None else comments, admin=True)
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
    err.print(
        f"seeded {report.users} users, {report.profiles} profiles, {report.posts} posts, "
        f"{report.comments} comments, {report.accounts} accounts "
        f"and {report.transactions} transactions in {time.perf_counter() - started:.1f} s"
    )
    if report.users:
        names = "ada, an administrator, or as any other user" if report.users > 1 else "ada, an administrator"
        out.print(f"sign in as {names}, with the password: {password}", markup=False)


async def _hashed(database: Database, password: str) -> str:
    hasher = PasswordHasher(database.settings)
    try:
        return await hasher.hash(password)
    finally:
        hasher.close()
