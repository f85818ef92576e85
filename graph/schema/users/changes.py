"""What changes a user, in the schema: input, payload and resolver of `updateUser`."""

import asyncio
from enum import Enum
from typing import Annotated

import strawberry
from asyncpg import Record

from db.connections.statements import Reader
from db.errors import CONSTRAINTS, Refusal
from db.query.pages import Columns
from db.repositories import checks
from db.repositories import users as repository
from db.repositories.known_passwords import known_passwords
from db.repositories.sessions import Standing, end_sessions_of, is_still_password, standing_of
from db.repositories.sign_ins import forget_attempts
from db.repositories.users import Keep
from graph.errors import BadInput
from graph.runtime.context import Context, Info, columns_below
from graph.schema.ids import NodeKind, parse
from graph.schema.mutation_kit import code, errors_field, user_errors
from graph.schema.nodes import UserError
from graph.schema.sessions.sign_ins import attempted
from graph.schema.users.types import User


@strawberry.input(description="What a user tells of themself. Absent fields stay as they are; null clears one.")
class ProfileInput:
    """The columns of a profile."""

    display_name: str | None = strawberry.field(
        default=strawberry.UNSET, description="The name to show instead of the username; at most 100 characters."
    )
    bio: str | None = strawberry.field(
        default=strawberry.UNSET, description="A few sentences; at most 5,000 characters."
    )
    website_url: str | None = strawberry.field(
        default=strawberry.UNSET, description="An http or https URL; at most 2,000 characters."
    )

    def columns(self) -> dict[str, str | None]:
        """Return the columns that were given, null ones too."""
        given = {"display_name": self.display_name, "bio": self.bio, "website_url": self.website_url}
        return {name: value for name, value in given.items() if value is not strawberry.UNSET}


@strawberry.input(
    description=(
        "Absent fields stay as they are; an explicit null clears a field that may be null. Where no value differs, "
        "version and updatedAt stay as they are, too; a new password always counts as a change."
    )
)
class UpdateUserInput:
    """Changes to a user."""

    id: strawberry.ID = strawberry.field(description="Which user.")
    expected_version: int | None = strawberry.field(
        default=None,
        description=("Refuses with VERSION_CONFLICT where the user has changed since; null or absent skips the check."),
    )
    current_password: str | None = strawberry.field(
        default=None,
        description=(
            "The password as it is now. Users need it to change their own password or email; administrators do not."
        ),
    )
    email: str | None = strawberry.field(
        default=strawberry.UNSET, description="A new email address; never null. Ends the user's other sessions."
    )
    username: str | None = strawberry.field(default=strawberry.UNSET, description="A new username; never null.")
    password: str | None = strawberry.field(
        default=strawberry.UNSET, description="A new password; never null. Ends the user's other sessions."
    )
    is_active: bool | None = strawberry.field(
        default=strawberry.UNSET, description="Whether the user may sign in; administrators only; never null."
    )
    profile: ProfileInput | None = strawberry.field(
        default=strawberry.UNSET, description="Changes to the profile; null removes it."
    )


@strawberry.enum(description="Why a change was refused.")
class UpdateUserErrorCode(Enum):
    """The codes of updateUser."""

    NOT_FOUND = code("NOT_FOUND")
    VERSION_CONFLICT = code("VERSION_CONFLICT")
    EMAIL_TAKEN = code("EMAIL_TAKEN")
    USERNAME_TAKEN = code("USERNAME_TAKEN")
    INVALID_EMAIL = code("INVALID_EMAIL")
    INVALID_USERNAME = code("INVALID_USERNAME")
    INVALID_PASSWORD = code("INVALID_PASSWORD")
    INVALID_PROFILE = code("INVALID_PROFILE")
    INVALID_CURRENT_PASSWORD = code("INVALID_CURRENT_PASSWORD")
    TOO_MANY_ATTEMPTS = code("TOO_MANY_ATTEMPTS")


@strawberry.type(description="Why a change was refused.")
class UpdateUserUserError(UserError):
    """An error of updateUser."""

    code: UpdateUserErrorCode = strawberry.field(description="What is wrong, for programs.")


@strawberry.type(description="The changed user, or why nothing changed.")
class UpdateUserPayload:
    """The payload of updateUser."""

    user: User | None = strawberry.field(default=None, description="The user as they are now.")
    user_errors: list[UpdateUserUserError] = errors_field()


# ---------------------------------------------------------------- the resolver


async def update_user(
    info: Info, input_: Annotated[UpdateUserInput, strawberry.argument(name="input", description="The changes.")]
) -> UpdateUserPayload:
    """Change one user, and the profile with it."""
    context, columns = info.context, columns_below(info, "User", "id")
    user_id = parse(input_.id, NodeKind.USER, "input.id")
    standing = await _standing(context, user_id, input_)
    refusals = _change_faults(input_, standing)
    if refusals:
        return _refused(refusals)
    try:
        row = await _changed(context, columns, user_id, input_, standing)
    except Refusal as refusal:
        return _refused([await _worded(context, user_id, input_, refusal)])
    return UpdateUserPayload(user=User(row=row))


def _refused(refusals: list[Refusal]) -> UpdateUserPayload:
    return UpdateUserPayload(user_errors=user_errors(UpdateUserUserError, UpdateUserErrorCode, refusals))


async def _standing(context: Context, user_id: int, input_: UpdateUserInput) -> Standing | None:
    """Return what the change is checked against, where something has to be, and where the viewer may change the user.

    The list of known passwords is loaded with it, in a thread.
    """
    if isinstance(input_.password, str):
        await asyncio.to_thread(known_passwords)
    is_reserved = isinstance(input_.username, str) and bool(checks.check_reserved(input_.username))
    is_asked = is_reserved or isinstance(input_.email, str) or isinstance(input_.password, str)
    if not is_asked or not (context.viewer.is_admin or context.viewer.user_id == user_id):
        return None
    return await standing_of(context.database, user_id)


async def _changed(
    context: Context, columns: Columns, user_id: int, input_: UpdateUserInput, standing: Standing | None
) -> Record:
    """Return the row of the user as they are after the change."""
    changes = _changes(input_)
    if standing is not None and changes.get("email") == standing.email:
        del changes["email"]
    is_password = isinstance(input_.password, str)
    # Administrators set anybody's, their own too: to ask them would protect nothing.
    proves = standing is not None and not context.viewer.is_admin and (is_password or "email" in changes)
    if proves and standing is not None:
        await _prove(context, user_id, input_.current_password, standing)
    if isinstance(input_.password, str):
        changes["hashed_password"] = await context.services.passwords.hash(input_.password)
    profile = _profile_changes(input_)

    async def work(transaction: Reader) -> Record:
        if proves and standing is not None:
            await _still_proved(transaction, user_id, standing)
        updated = await repository.update_user(
            transaction, context.viewer, columns, user_id, changes, profile, expected_version=input_.expected_version
        )
        is_out = updated.was_active and changes.get("is_active") is False
        if is_out or not changes.keys().isdisjoint({"hashed_password", "email"}):
            # Sessions end that the old password or mailbox could have opened. The session that makes the change stays.
            await end_sessions_of(transaction, user_id, but=context.viewer.session_id)
        return updated.row

    async with context.turn([("user", user_id, context.viewer.user_id or 0)]):
        return await context.write(work)


def _not_the_password() -> Refusal:
    message = "to change your password or email, give your password as it is now"
    return Refusal("INVALID_CURRENT_PASSWORD", ("currentPassword",), message)


async def _prove(context: Context, user_id: int, current: str | None, standing: Standing) -> None:
    """Look at the current password. A session alone, which may be stolen, must not become more than a session.

    Raises:
        Refusal: INVALID_CURRENT_PASSWORD; TOO_MANY_ATTEMPTS, for a stolen session must not be a way to guess either.
    """
    if current is None:
        raise _not_the_password()
    # No login begins with a space.
    login = f" user {user_id}"
    try:
        attempt = await attempted(context, login)
    except Refusal as refusal:
        raise Refusal(refusal.code, ("currentPassword",), refusal.message) from None
    if not await context.services.passwords.verify(standing.hashed_password, current[: checks.PASSWORD_LENGTH_MAX + 1]):
        raise _not_the_password()
    await context.database.write(lambda transaction: forget_attempts(transaction, login, attempt))


async def _still_proved(transaction: Reader, user_id: int, standing: Standing) -> None:
    if not await is_still_password(transaction, user_id, standing.hashed_password):
        raise _not_the_password()


async def _worded(context: Context, user_id: int, input_: UpdateUserInput, refusal: Refusal) -> Refusal:
    """Return the refusal as it is told: that an email is taken is not told with a username that is taken, too.

    Else the two together would ask for an email without a change that anybody notices.
    """
    if refusal.code != "EMAIL_TAKEN" or context.viewer.is_admin or not isinstance(input_.username, str):
        return refusal
    found = await repository.user_by_username(context.database, context.viewer, ("id",), input_.username)
    if found is None or found["id"] == user_id:
        return refusal
    return Refusal("USERNAME_TAKEN", ("username",), CONSTRAINTS["uq_users_username_lower"].message)


def _change_faults(input_: UpdateUserInput, standing: Standing | None) -> list[Refusal]:
    refusals = []
    codes = {"email": "INVALID_EMAIL", "username": "INVALID_USERNAME", "password": "INVALID_PASSWORD"}
    for name, invalid in codes.items():
        if getattr(input_, name) is None:
            refusals.append(Refusal(invalid, (name,), f"{name} cannot be null; leave it out to keep it"))
    if input_.is_active is None:
        raise BadInput("input.isActive cannot be null; leave it out to keep it")
    if isinstance(input_.email, str):
        try:
            checks.normal_email(input_.email)
        except Refusal as refusal:
            refusals.append(refusal)
    if isinstance(input_.username, str):
        refusals += checks.check_username(input_.username)
        if standing is None or standing.username.lower() != input_.username.lower():  # who has one keeps it
            refusals += checks.check_reserved(input_.username)
    if isinstance(input_.password, str):
        names = [] if standing is None else [standing.username, standing.email]
        names += [name for name in (input_.username, input_.email) if isinstance(name, str)]
        refusals += checks.check_password(input_.password, *names)
    if isinstance(input_.profile, ProfileInput):
        refusals += checks.check_profile(input_.profile.columns())
    return refusals


def _profile_changes(input_: UpdateUserInput) -> dict[str, str | None] | Keep | None:
    if input_.profile is strawberry.UNSET:
        return Keep.KEEP
    return None if input_.profile is None else input_.profile.columns()


def _changes(input_: UpdateUserInput) -> dict[str, object]:
    changes: dict[str, object] = {}
    if isinstance(input_.email, str):
        changes["email"] = checks.normal_email(input_.email)
    if isinstance(input_.username, str):
        changes["username"] = input_.username
    if isinstance(input_.is_active, bool):
        changes["is_active"] = input_.is_active
    return changes
