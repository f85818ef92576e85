"""`folio user`: what only whoever runs the server may do, such as making the first administrator."""

import os
from typing import Annotated

import typer

from db import checks
from db.connections.database import Database
from db.errors import Refusal
from db.users import NewUser, create_users
from db.viewer import Viewer
from graph.cli.terminal import CommandError, out, run_with_database
from graph.ids import Kind, global_id
from graph.passwords import PasswordHasher

PASSWORD_VARIABLE = "NEW_USER_PASSWORD"  # noqa: S105 - the name of a variable

commands = typer.Typer(no_args_is_help=True)


@commands.callback()
def _family() -> None:
    """Keep `create` a command of its own although it is the only one."""


@commands.command()
def create(
    username: Annotated[str, typer.Argument(help="3 to 32 letters, digits and _, beginning with a letter.")],
    email: Annotated[str, typer.Argument(help="The email address.")],
    admin: Annotated[bool, typer.Option("--admin", help="Make an administrator.")] = False,
) -> None:
    """Create a user. The password is asked for, or taken from the variable NEW_USER_PASSWORD."""
    password = os.environ.get(PASSWORD_VARIABLE) or typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    role = "admin" if admin else "member"

    async def work(database: Database) -> int:
        try:
            new = await _checked(database, username, email, password, role)
            viewer = Viewer(is_admin=True)
            rows = await database.write(lambda transaction: create_users(transaction, viewer, ("id",), [new]))
        except Refusal as refusal:
            raise CommandError(f"{'.'.join(refusal.field)}: {refusal.message}") from None
        user_id: int = rows[0]["id"]
        return user_id

    user_id = run_with_database(work)
    out.print(f"{role} {username} is created, with the id {global_id(Kind.USER, user_id)}")


async def _checked(database: Database, username: str, email: str, password: str, role: str) -> NewUser:
    for refusal in checks.check_username(username) + checks.check_password(password):
        raise refusal
    hasher = PasswordHasher(database.settings)
    try:
        return NewUser(checks.normal_email(email), username, await hasher.hash(password), role=role)
    finally:
        hasher.close()
