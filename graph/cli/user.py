"""`folio user`: actions that only the operator of the server may do, such as making the first administrator.

Changes go through `db.repositories.users`, with the same rules as for an administrator's client: the system user cannot
be changed, and a new password or a deactivation ends all sessions of the user.
"""

import getpass
import os
import sys
from collections.abc import Mapping
from typing import Annotated

import typer
from asyncpg import Record

from db.access import Viewer
from db.connections.database import Database
from db.connections.statements import Reader
from db.fields import USERNAME
from db.repositories import checks
from db.repositories.sessions import end_sessions_of
from db.repositories.user_roster import listed_users, user_of_login
from db.repositories.users import NewUser, create_users, update_user
from graph.cli.support.terminal import CommandError, out, run_with_database
from graph.runtime.passwords import PasswordHasher
from graph.schema.ids import NodeKind, global_id

PASSWORD_VARIABLE = "NEW_USER_PASSWORD"  # noqa: S105 - the name of a variable

OPERATOR = Viewer(is_admin=True)

Login = Annotated[str, typer.Argument(help="The username or the email address of the user.", metavar="USER")]

commands = typer.Typer(no_args_is_help=True)


@commands.command()
def create(
    username: Annotated[str, typer.Argument(help=f"{USERNAME.limit}.")],
    email: Annotated[str, typer.Argument(help="The email address.")],
    admin: Annotated[bool, typer.Option("--admin", help="Make an administrator.")] = False,
) -> None:
    """Create a user. The command prompts for the password, or reads it from NEW_USER_PASSWORD or standard input."""
    password = _new_password()
    role = "admin" if admin else "member"

    async def work(database: Database) -> int:
        new = await _checked(database, username, email, password, role)
        rows = await database.write(lambda transaction: create_users(transaction, OPERATOR, ("id",), [new]))
        user_id: int = rows[0]["id"]
        return user_id

    user_id = run_with_database(work, writes=True, undone="no user was created")
    out.print(f"{role} {username} is created, with the id {global_id(NodeKind.USER, user_id)}")


@commands.command("list")
def list_(
    admins: Annotated[bool, typer.Option("--admins", help="Only administrators.")] = False,
) -> None:
    """List users, oldest first: id, username, role, whether they may sign in, email address."""

    async def work(database: Database) -> None:
        async for page in listed_users(database, only_admins=admins):
            for row in page:
                out.print(_line(row), markup=False)

    run_with_database(work, undone="the list is not complete")


@commands.command()
def promote(user: Login) -> None:
    """Make a user an administrator."""
    _change(user, {"role": "admin"}, "is an administrator")


@commands.command()
def demote(user: Login) -> None:
    """Make an administrator a member again."""
    _change(user, {"role": "member"}, "is a member")


@commands.command()
def activate(user: Login) -> None:
    """Allow a user to sign in again."""
    _change(user, {"is_active": True}, "may sign in")


@commands.command()
def deactivate(user: Login) -> None:
    """Prevent a user from signing in, and end all sessions of the user. The data of the user stays."""
    _change(user, {"is_active": False}, "may no longer sign in, and is signed out everywhere")


@commands.command("set-password")
def set_password(user: Login) -> None:
    """Set a new password for a user, and end all their sessions. The password is read as in `create`."""
    _change(user, {}, "has a new password, and is signed out everywhere", password=_new_password())


def _change(login: str, changes: Mapping[str, object], done: str, *, password: str | None = None) -> None:
    async def work(database: Database) -> tuple[str, bool]:
        given = dict(changes)
        if password is not None:
            given["hashed_password"] = await _hashed(database, password)

        async def write(transaction: Reader) -> tuple[str, bool]:
            found = await user_of_login(transaction, login)
            if found is None:
                raise CommandError(f"no user has the username or email address {login!r}; `folio user list` shows them")
            if found["role"] == "system":
                raise CommandError(
                    f"{found['username']} is the system user, which is not a person and cannot be changed"
                )
            if all(found.get(name) == value for name, value in given.items()):
                return found["username"], False  # no new version, which would cause conflicts for clients
            await update_user(transaction, OPERATOR, ("id",), found["id"], given)
            if "hashed_password" in given or given.get("is_active") is False:
                await end_sessions_of(transaction, found["id"])
            return found["username"], True

        return await database.write(write)

    username, is_changed = run_with_database(work, writes=True)
    out.print(f"{username} {done}" + ("" if is_changed else " already"), markup=False)


def _line(row: Record) -> str:
    number, state = global_id(NodeKind.USER, row["id"]), "active" if row["is_active"] else "inactive"
    return f"{number:<12} {row['username']:<32} {row['role']:<6} {state:<8} {row['email']}"


def _new_password() -> str:
    given = os.environ.get(PASSWORD_VARIABLE)
    if not given and not sys.stdin.isatty():
        given = sys.stdin.readline().rstrip("\n")
    if given:
        return given
    if not sys.stdin.isatty():
        raise CommandError(
            f"no password was given: set {PASSWORD_VARIABLE}, type it at a terminal, or send it on standard input"
        )
    try:
        password = getpass.getpass("Password: ", sys.stderr)
        again = getpass.getpass("The same password again: ", sys.stderr)
    except EOFError:
        raise CommandError("no password was given; nothing was changed") from None
    if password != again:
        raise CommandError("the two passwords differ; nothing was changed")
    return password


async def _checked(database: Database, username: str, email: str, password: str, role: str) -> NewUser:
    for refusal in USERNAME.check(username):
        raise refusal
    hashed = await _hashed(database, password, username, email)
    return NewUser(checks.normal_email(email), username, hashed, role=role)


async def _hashed(database: Database, password: str, *names: str) -> str:
    for refusal in checks.check_password(password, *names):
        raise refusal
    hasher = PasswordHasher(database.settings)
    try:
        return await hasher.hash(password)
    finally:
        hasher.close()
