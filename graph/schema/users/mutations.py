"""The mutations that create, change and delete users: inputs, payloads and resolvers."""

import asyncio
from collections.abc import Sequence

import strawberry

from db.constraints import violation_of
from db.errors import Refusal
from db.fields import BIO, EMAIL, PASSWORD, USERNAME, check_texts
from db.repositories import checks
from db.repositories import users as repository
from db.repositories.known_passwords import known_passwords
from db.repositories.users import NewUser
from graph.analysis.cost import PASSWORD as COST_OF_PASSWORD
from graph.analysis.cost import Cost, ListSize
from graph.runtime.context import Context, Info, columns_below
from graph.schema.ids import NodeKind, global_id, parse
from graph.schema.mutation_kit import (
    ALONE,
    BULK_MAX,
    Items,
    Refused,
    answer,
    bulk_input,
    bulk_size_checked,
    changes_of,
    mutation,
    mutation_input,
    payload,
)
from graph.schema.permissions import OWNER_OR_ADMIN, admins_alone, public
from graph.schema.users.changes import PROFILE_TEXTS, ProfileInput, UpdateUserPayload, update_user
from graph.schema.users.types import User

CREATED_USERS = ListSize(assumed_size=BULK_MAX, sized_fields=["users"])


USERS = Items("users")


@mutation_input
class CreateUserInput:
    """A user to create, with a profile if one is given. Both are created, or neither."""

    email: str = strawberry.field(description="An email address, unique without regard to case.")
    username: str = strawberry.field(description=USERNAME.description)
    password: str = strawberry.field(description=PASSWORD.description)
    profile: ProfileInput | None = strawberry.field(default=None, description="The profile of the user.")


@payload(
    right=public("every caller may register"),
    refused="Why a user was refused.",
    codes=("EMAIL_TAKEN", "USERNAME_TAKEN", EMAIL.code, USERNAME.code, PASSWORD.code, BIO.code),
)
class CreateUserPayload:
    """The new user, or the reasons why it was refused."""

    user: User | None = answer("The new user.")


@bulk_input
class CreateUsersInput:
    """The users to create. All of them are created, or none. Only administrators may do this."""

    users: list[CreateUserInput] = strawberry.field(description=f"1 to {BULK_MAX} users.")


@payload(right=admins_alone("create users in bulk"), errors_as=CreateUserPayload)
class CreateUsersPayload:
    """The new users, or the reasons why none was created."""

    users: list[User] | None = answer("The new users, in the order of the input. Null if the mutation was refused.")


@mutation_input
class DeleteUserInput:
    """A user to delete, with all of their posts and comments. The deletion is refused if the user owns an account."""

    id: strawberry.ID = strawberry.field(description="The id of the user.")


@payload(right=OWNER_OR_ADMIN, refused="Why a deletion was refused.", codes=("NOT_FOUND", "USER_OWNS_ACCOUNTS"))
class DeleteUserPayload:
    """The id of the deleted user, or the reasons why the deletion was refused."""

    deleted_user_id: strawberry.ID | None = answer("The id of the deleted user.")


# ---------------------------------------------------------------- resolvers


async def create_user(info: Info, input_: CreateUserInput) -> CreateUserPayload:
    """Create one user, with a profile if one is given."""
    [created] = await _create(info, [input_], ALONE)
    return CreateUserPayload(user=created)


async def create_users(info: Info, input_: CreateUsersInput) -> CreateUsersPayload:
    """Create many users, all or none."""
    bulk_size_checked(input_.users, "input.users")
    return CreateUsersPayload(users=await _create(info, input_.users, USERS))


async def _create(info: Info, inputs: Sequence[CreateUserInput], items: Items) -> list[User]:
    context, columns = info.context, columns_below(info, "User", "id")
    await asyncio.to_thread(known_passwords)
    refusals = [refusal.below(*items.path(index)) for index, one in enumerate(inputs) for refusal in _faults(one)]
    refusals += _repeated("EMAIL_TAKEN", "email", [_one_spelling(one.email) for one in inputs], items)
    refusals += _repeated("USERNAME_TAKEN", "username", [one.username for one in inputs], items)
    if refusals:
        raise Refused(refusals)
    users = [await _new_user(context, one) for one in inputs]
    try:
        rows = await context.write(
            lambda transaction: repository.create_users(transaction, context.viewer, columns, users)
        )
    except Refusal as refusal:
        taken = await _taken(context, users, items)
        raise Refused(taken or [items.refusal_of_any(refusal, len(users))]) from None
    return [User(row=row) for row in rows]


def _faults(one: CreateUserInput) -> list[Refusal]:
    refusals = checks.check_email(one.email) + USERNAME.check(one.username) + checks.check_reserved(one.username)
    refusals += checks.check_password(one.password, one.username, one.email)
    return refusals if one.profile is None else refusals + check_texts(PROFILE_TEXTS, changes_of(one.profile))


def _repeated(code: str, field: str, values: list[str], items: Items) -> list[Refusal]:
    first: dict[str, int] = {}
    refusals = []
    for index, value in enumerate(values):
        earlier = first.setdefault(value.lower(), index)
        if earlier != index:
            message = f"the same {field} as that of user {earlier} of this input"
            refusals.append(Refusal(code, (*items.path(index), field), message))
    return refusals


def _one_spelling(email: str) -> str:
    try:
        return checks.normal_email(email)
    except Refusal:
        return email  # refused already; the same invalid email twice is also a repetition


async def _new_user(context: Context, one: CreateUserInput) -> NewUser:
    return NewUser(
        email=checks.normal_email(one.email),
        username=one.username,
        hashed_password=await context.services.passwords.hash(one.password),
        profile=None if one.profile is None else changes_of(one.profile),
    )


async def _taken(context: Context, users: Sequence[NewUser], items: Items) -> list[Refusal]:
    """Return a refusal for each name that is taken. A constraint has reported only one of them.

    If a username is taken, emails are reported only to viewers who may see emails. Otherwise any caller could find out
    whether an email address is in use, without a trace. An input that is otherwise valid leaves a trace: it creates a
    user if the email is free.
    """
    emails, usernames = await repository.taken_names(context.database, users)
    if not context.viewer.is_admin and any(user.username.lower() in usernames for user in users):
        emails = set()
    refusals = []
    for index, user in enumerate(users):
        if user.email.lower() in emails:
            refusals.append(violation_of("uq_users_email_lower").below(*items.path(index)))
        if user.username.lower() in usernames:
            refusals.append(violation_of("uq_users_username_lower").below(*items.path(index)))
    return refusals


async def delete_user(info: Info, input_: DeleteUserInput) -> DeleteUserPayload:
    """Delete one user with their posts."""
    context = info.context
    user_id = parse(input_.id, NodeKind.USER, "input.id")
    async with context.turn([("user", user_id, context.viewer.user_id or 0)]):
        await context.write(lambda transaction: repository.delete_user(transaction, context.viewer, user_id))
    return DeleteUserPayload(deleted_user_id=global_id(NodeKind.USER, user_id))


@strawberry.type
class UserMutations:
    """The mutations of users."""

    create_user: CreateUserPayload = mutation(
        create_user, "Creates a user. The caller need not be signed in.", COST_OF_PASSWORD, takes="The user."
    )
    create_users: CreateUsersPayload = mutation(
        create_users,
        "Creates users in bulk. Only administrators may do this.",
        Cost(weight="10000"),
        CREATED_USERS,
        takes="The users.",
    )
    update_user: UpdateUserPayload = mutation(
        update_user,
        "Changes a user. Only the user and administrators may do this.",
        COST_OF_PASSWORD,
        takes="The changes.",
    )
    delete_user: DeleteUserPayload = mutation(
        delete_user, "Deletes a user. Only the user and administrators may do this.", takes="The user."
    )
