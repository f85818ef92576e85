"""The mutation `updateUser`: its input, payload and resolver."""

import asyncio
from collections.abc import Mapping
from typing import Any

import strawberry
from asyncpg import Record

from db.connections.statements import Reader
from db.constraints import violation_of
from db.errors import Refusal
from db.fields import BIO, DISPLAY_NAME, EMAIL, PASSWORD, USERNAME, WEBSITE_URL, check_texts, fields_of
from db.query.pages import Columns
from db.repositories import checks
from db.repositories import users as repository
from db.repositories.known_passwords import known_passwords
from db.repositories.sessions import Standing, end_sessions_of, is_still_password, standing_of
from db.repositories.sign_ins import forget_attempts
from db.repositories.users import Keep
from graph.runtime.context import Context, Info, columns_below
from graph.schema.ids import NodeKind, parse
from graph.schema.mutation_kit import (
    Refused,
    answer,
    change,
    changes_of,
    expected_version,
    mutation_input,
    payload,
)
from graph.schema.permissions import OWNER_OR_ADMIN
from graph.schema.sessions.sign_ins import attempted
from graph.schema.users.types import User

PROFILE_TEXTS = tuple(fields_of("profiles"))


@mutation_input
class ProfileInput:
    """The profile of a user. An absent field keeps its value, and null clears it."""

    display_name: str | None = change(DISPLAY_NAME.description)
    bio: str | None = change(BIO.description)
    website_url: str | None = change(WEBSITE_URL.description)


@mutation_input
class UpdateUserInput:
    """The changes of a user.

    An absent field keeps its value, and null clears a field that may be null. If no value differs, `version` and
    `updatedAt` do not change. A new password always counts as a change.
    """

    id: strawberry.ID = strawberry.field(description="The id of the user.")
    expected_version: int | None = expected_version("user")
    current_password: str | None = strawberry.field(
        default=None,
        description=(
            "The current password. Users must send it to change their own password or email. Administrators need not."
        ),
    )
    email: str | None = change("The new email address. It cannot be null. The change ends the user's other sessions.")
    username: str | None = change("The new username. It cannot be null.")
    password: str | None = change("The new password. It cannot be null. The change ends the user's other sessions.")
    is_active: bool | None = change(
        "Whether the user may sign in. Only administrators may change it. It cannot be null."
    )
    profile: ProfileInput | None = change("The changes of the profile. Null removes the profile.")


@payload(
    right=OWNER_OR_ADMIN,
    refused="Why a change was refused.",
    codes=(
        "NOT_FOUND",
        "VERSION_CONFLICT",
        "EMAIL_TAKEN",
        "USERNAME_TAKEN",
        EMAIL.code,
        USERNAME.code,
        PASSWORD.code,
        BIO.code,
        "INVALID_CURRENT_PASSWORD",
        "TOO_MANY_ATTEMPTS",
    ),
)
class UpdateUserPayload:
    """The changed user, or the reasons why the change was refused."""

    user: User | None = answer("The user after the change.")


# ---------------------------------------------------------------- the resolver


async def update_user(info: Info, input_: UpdateUserInput) -> UpdateUserPayload:
    """Change one user and the user's profile."""
    context, columns = info.context, columns_below(info, "User", "id")
    user_id = parse(input_.id, NodeKind.USER, "input.id")
    given = changes_of(input_, never_null=("is_active",))
    standing = await _standing(context, user_id, given)
    if refusals := _faults(given, standing):
        raise Refused(refusals)
    try:
        row = await _changed(context, columns, user_id, input_, given, standing)
    except Refusal as refusal:
        raise await _worded(context, user_id, input_, refusal) from None
    return UpdateUserPayload(user=User(row=row))


async def _standing(context: Context, user_id: int, given: Mapping[str, Any]) -> Standing | None:
    """Return the current values that the change is checked against.

    It is None if no value needs such a check, or if the viewer may not change the user. For a new password the list of
    known passwords is also loaded, in a thread.
    """
    username, password = given.get("username"), given.get("password")
    if password is not None:
        await asyncio.to_thread(known_passwords)
    is_asked = given.get("email") is not None or password is not None
    if username is not None and checks.check_reserved(username):
        is_asked = True
    if not is_asked or not (context.viewer.is_admin or context.viewer.user_id == user_id):
        return None
    return await standing_of(context.database, user_id)


async def _changed(
    context: Context,
    columns: Columns,
    user_id: int,
    input_: UpdateUserInput,
    given: Mapping[str, Any],
    standing: Standing | None,
) -> Record:
    """Change the user, and return the row of the user after the change."""
    changes = {name: value for name, value in given.items() if name not in {"password", "profile"}}
    if "email" in changes:
        changes["email"] = checks.normal_email(changes["email"])
    if standing is not None and changes.get("email") == standing.email:
        del changes["email"]
    password = given.get("password")
    # Administrators can set the password of any user, including themselves. To require the current password of them
    # would protect nothing.
    proves = standing is not None and not context.viewer.is_admin and (password is not None or "email" in changes)
    if proves and standing is not None:
        await _prove(context, user_id, input_.current_password, standing)
    if password is not None:
        changes["hashed_password"] = await context.services.passwords.hash(password)
    profile = given.get("profile", Keep.KEEP)
    if isinstance(profile, ProfileInput):
        profile = changes_of(profile)

    async def work(transaction: Reader) -> Record:
        if proves and standing is not None:
            await _still_proved(transaction, user_id, standing)
        updated = await repository.update_user(
            transaction, context.viewer, columns, user_id, changes, profile, expected_version=input_.expected_version
        )
        is_out = updated.was_active and changes.get("is_active") is False
        if is_out or not changes.keys().isdisjoint({"hashed_password", "email"}):
            # End the sessions that the old password or mailbox could have opened, but not the session of this request.
            await end_sessions_of(transaction, user_id, kept_id=context.viewer.session_id)
        return updated.row

    async with context.turn([("user", user_id, context.viewer.user_id or 0)]):
        return await context.write(work)


def _not_the_password() -> Refusal:
    message = "to change your password or email, send your current password as currentPassword"
    return Refusal("INVALID_CURRENT_PASSWORD", ("currentPassword",), message)


async def _prove(context: Context, user_id: int, current: str | None, standing: Standing) -> None:
    """Verify the current password. A session may be stolen; it must not be enough to take over the account.

    Raises:
        Refusal: INVALID_CURRENT_PASSWORD; or TOO_MANY_ATTEMPTS, against guesses with a stolen session.
    """
    if current is None:
        raise _not_the_password()
    # The space separates these attempts from those of sign-ins: no login begins with one.
    login = f" user {user_id}"
    try:
        attempt = await attempted(context, login)
    except Refusal as refusal:
        raise Refusal(refusal.code, ("currentPassword",), refusal.message) from None
    if not await context.services.passwords.verify(standing.hashed_password, current[: PASSWORD.length_max + 1]):
        raise _not_the_password()
    await context.database.write(lambda transaction: forget_attempts(transaction, login, attempt))


async def _still_proved(transaction: Reader, user_id: int, standing: Standing) -> None:
    if not await is_still_password(transaction, user_id, standing.hashed_password):
        raise _not_the_password()


async def _worded(context: Context, user_id: int, input_: UpdateUserInput, refusal: Refusal) -> Refusal:
    """Return the refusal for the client. If email and username are both taken, only the username is reported.

    Otherwise a caller could find out whether an email address is in use, with an input that never changes anything and
    that no user notices.
    """
    if refusal.code != "EMAIL_TAKEN" or context.viewer.is_admin or not isinstance(input_.username, str):
        return refusal
    key = repository.username_key(input_.username)
    found = (await repository.users_by_usernames(context.database, context.viewer, ("id",), [key])).get(key)
    if found is None or found["id"] == user_id:
        return refusal
    return violation_of("uq_users_username_lower")


def _faults(given: Mapping[str, Any], standing: Standing | None) -> list[Refusal]:
    nulls = [one for one in (EMAIL, USERNAME, PASSWORD) if given.get(one.name, "") is None]
    refusals = [refusal for one in nulls for refusal in one.check(None)]
    email, username, password = (given.get(one.name) for one in (EMAIL, USERNAME, PASSWORD))
    if email is not None:
        refusals += checks.check_email(email)
    if username is not None:
        refusals += USERNAME.check(username)
        if standing is None or standing.username.lower() != username.lower():  # the user may keep a reserved name
            refusals += checks.check_reserved(username)
    if password is not None:
        names = [] if standing is None else [standing.username, standing.email]
        refusals += checks.check_password(password, *names, *(name for name in (username, email) if name is not None))
    profile = given.get("profile")
    return refusals if profile is None else refusals + check_texts(PROFILE_TEXTS, changes_of(profile))
