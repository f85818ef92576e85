"""What changes users, in the schema: inputs, payloads and resolvers of create, update and delete."""

import asyncio
from collections.abc import Sequence
from enum import Enum
from typing import Annotated

import strawberry
from graphql import GraphQLError

from db.errors import Refusal
from db.repositories import checks
from db.repositories import users as repository
from db.repositories.known_passwords import known_passwords
from db.repositories.users import NewUser
from graph.analysis.cost import PASSWORD, Cost, ListSize
from graph.runtime.context import Context, Info, columns_below
from graph.schema.ids import NodeKind, global_id, parse
from graph.schema.mutation_kit import BULK_MAX, bulk_size_checked, code, errors_field, mutation, user_errors
from graph.schema.nodes import UserError
from graph.schema.users.changes import ProfileInput, UpdateUserPayload, update_user
from graph.schema.users.types import User

CREATED_USERS = ListSize(assumed_size=BULK_MAX, sized_fields=["users"])


@strawberry.input(description="Creates the user and, where given, the profile: both or neither.")
class CreateUserInput:
    """A user to create."""

    email: str = strawberry.field(description="An email address, unique without regard to case.")
    username: str = strawberry.field(
        description="3 to 32 letters, digits and _, beginning with a letter; unique without regard to case."
    )
    password: str = strawberry.field(description="8 to 128 characters.")
    profile: ProfileInput | None = strawberry.field(default=None, description="What the user tells of themself.")


@strawberry.enum(description="Why a user was refused.")
class CreateUserErrorCode(Enum):
    """The codes of createUser."""

    EMAIL_TAKEN = code("EMAIL_TAKEN")
    USERNAME_TAKEN = code("USERNAME_TAKEN")
    INVALID_EMAIL = code("INVALID_EMAIL")
    INVALID_USERNAME = code("INVALID_USERNAME")
    INVALID_PASSWORD = code("INVALID_PASSWORD")
    INVALID_PROFILE = code("INVALID_PROFILE")


@strawberry.type(description="Why a user was refused.")
class CreateUserUserError(UserError):
    """An error of createUser."""

    code: CreateUserErrorCode = strawberry.field(description="What is wrong, for programs.")


@strawberry.type(description="The new user, or why there is none.")
class CreateUserPayload:
    """The payload of createUser."""

    user: User | None = strawberry.field(default=None, description="The new user.")
    user_errors: list[CreateUserUserError] = errors_field()


@strawberry.input(description="All users or none. Administrators only. At most 100.")
class CreateUsersInput:
    """Users to create."""

    users: list[CreateUserInput] = strawberry.field(description="1 to 100 users.")


@strawberry.type(description="All the new users, or why there is none of them.")
class CreateUsersPayload:
    """The payload of createUsers."""

    users: list[User] | None = strawberry.field(
        default=None, description="The new users, in the order of the input; null where there are none."
    )
    user_errors: list[CreateUserUserError] = errors_field()


@strawberry.input(
    description=(
        "Deletes the user and all of their posts. Refused while the user owns an account: the ledger is never cut."
    )
)
class DeleteUserInput:
    """A user to delete."""

    id: strawberry.ID = strawberry.field(description="Which user.")


@strawberry.enum(description="Why a deletion was refused.")
class DeleteUserErrorCode(Enum):
    """The codes of deleteUser."""

    NOT_FOUND = code("NOT_FOUND")
    USER_OWNS_ACCOUNTS = code("USER_OWNS_ACCOUNTS")


@strawberry.type(description="Why a deletion was refused.")
class DeleteUserUserError(UserError):
    """An error of deleteUser."""

    code: DeleteUserErrorCode = strawberry.field(description="What is wrong, for programs.")


@strawberry.type(description="The id that is gone, or why it is not.")
class DeleteUserPayload:
    """The payload of deleteUser."""

    deleted_user_id: strawberry.ID | None = strawberry.field(default=None, description="The id that is gone.")
    user_errors: list[DeleteUserUserError] = errors_field()


# ---------------------------------------------------------------- resolvers


async def create_user(
    info: Info, input_: Annotated[CreateUserInput, strawberry.argument(name="input", description="The user.")]
) -> CreateUserPayload:
    """Create one user with the profile."""
    created, refusals = await _create(info, [input_])
    if refusals:
        # One user has no index in the path of the field.
        alone = [Refusal(refusal.code, refusal.field[2:], refusal.message) for refusal in refusals]
        return CreateUserPayload(user_errors=user_errors(CreateUserUserError, CreateUserErrorCode, alone))
    return CreateUserPayload(user=created[0])


async def create_users(
    info: Info, input_: Annotated[CreateUsersInput, strawberry.argument(name="input", description="The users.")]
) -> CreateUsersPayload:
    """Create many users, all or none."""
    if not info.context.viewer.is_admin:
        raise GraphQLError("only administrators create users in bulk", extensions={"code": "FORBIDDEN"})
    bulk_size_checked(input_.users, "input.users")
    created, refusals = await _create(info, input_.users)
    if refusals:
        return CreateUsersPayload(user_errors=user_errors(CreateUserUserError, CreateUserErrorCode, refusals))
    return CreateUsersPayload(users=created)


async def _create(info: Info, inputs: Sequence[CreateUserInput]) -> tuple[list[User], list[Refusal]]:
    """Return the created users or the refusals, whose fields begin with `users` and the index."""
    context, columns = info.context, columns_below(info, "User", "id")
    await asyncio.to_thread(known_passwords)
    refusals = [refusal for index, one in enumerate(inputs) for refusal in _faults(one, index)]
    refusals += _repeated("EMAIL_TAKEN", "email", [_one_spelling(one.email) for one in inputs])
    refusals += _repeated("USERNAME_TAKEN", "username", [one.username for one in inputs])
    if refusals:
        return [], refusals
    users = [await _new_user(context, one) for one in inputs]
    try:
        rows = await context.write(
            lambda transaction: repository.create_users(transaction, context.viewer, columns, users)
        )
    except Refusal as refusal:
        return [], await _taken(context, users) or [_of_one(refusal, len(users))]
    return [User(row=row) for row in rows], []


def _faults(one: CreateUserInput, index: int) -> list[Refusal]:
    refusals = checks.check_username(one.username) + checks.check_reserved(one.username)
    refusals += checks.check_password(one.password, one.username, one.email)
    if one.profile is not None:
        refusals += checks.check_profile(one.profile.columns())
    try:
        checks.normal_email(one.email)
    except Refusal as refusal:
        refusals.insert(0, refusal)
    return [refusal.below("users", str(index)) for refusal in refusals]


def _repeated(code: str, field: str, values: list[str]) -> list[Refusal]:
    first: dict[str, int] = {}
    refusals = []
    for index, value in enumerate(values):
        earlier = first.setdefault(value.lower(), index)
        if earlier != index:
            message = f"the same {field} as that of user {earlier} of this input"
            refusals.append(Refusal(code, ("users", str(index), field), message))
    return refusals


def _one_spelling(email: str) -> str:
    try:
        return checks.normal_email(email)
    except Refusal:
        return email  # refused already; the same fault twice is a repetition, too


async def _new_user(context: Context, one: CreateUserInput) -> NewUser:
    return NewUser(
        email=checks.normal_email(one.email),
        username=one.username,
        hashed_password=await context.services.passwords.hash(one.password),
        profile=None if one.profile is None else one.profile.columns(),
    )


async def _taken(context: Context, users: Sequence[NewUser]) -> list[Refusal]:
    """Return a refusal for each name that is taken. A constraint has decided already; this tells all of them.

    But who may not see emails is not told of one beside a username that is taken: else anybody could ask for emails,
    and nobody would notice. Who gets everything else right makes a user where the email is free.
    """
    emails, usernames = await repository.taken_names(context.database, users)
    if not context.viewer.is_admin and any(user.username.lower() in usernames for user in users):
        emails = set()
    refusals = []
    for index, user in enumerate(users):
        if user.email.lower() in emails:
            message = "another user has this email address"
            refusals.append(Refusal("EMAIL_TAKEN", ("users", str(index), "email"), message))
        if user.username.lower() in usernames:
            message = "another user has this username"
            refusals.append(Refusal("USERNAME_TAKEN", ("users", str(index), "username"), message))
    return refusals


def _of_one(refusal: Refusal, users: int) -> Refusal:
    """Return a constraint's refusal with its place: of several users it does not say which one it is about."""
    return refusal.below("users", "0") if users == 1 else Refusal(refusal.code, ("users",), refusal.message)


async def delete_user(
    info: Info, input_: Annotated[DeleteUserInput, strawberry.argument(name="input", description="The user.")]
) -> DeleteUserPayload:
    """Delete one user with their posts."""
    context = info.context
    user_id = parse(input_.id, NodeKind.USER, "input.id")
    try:
        async with context.turn([("user", user_id, context.viewer.user_id or 0)]):
            await context.write(lambda transaction: repository.delete_user(transaction, context.viewer, user_id))
    except Refusal as refusal:
        return DeleteUserPayload(user_errors=user_errors(DeleteUserUserError, DeleteUserErrorCode, [refusal]))
    return DeleteUserPayload(deleted_user_id=global_id(NodeKind.USER, user_id))


@strawberry.type
class UserMutations:
    """The mutations of users."""

    create_user: CreateUserPayload = mutation(create_user, "Creates a user; anyone may.", PASSWORD)
    create_users: CreateUsersPayload = mutation(
        create_users, "Creates users in bulk; administrators only.", Cost(weight="10000"), CREATED_USERS
    )
    update_user: UpdateUserPayload = mutation(
        update_user, "Changes a user; the user themself or an administrator may.", PASSWORD
    )
    delete_user: DeleteUserPayload = mutation(delete_user, "Deletes a user; the user themself or an administrator may.")
