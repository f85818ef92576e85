"""Users in the schema: the types, and the queries that read them. What changes them is in `graph.user_mutations`."""

import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import strawberry

from db import users as repository
from db.accounts import ACCOUNTS, ACCOUNTS_ORDER
from db.cursors import Order
from db.pages import Filter
from db.posts import POSTS
from db.profiles import BIO_LENGTH_MAX, WEBSITE_URL_LENGTH_MAX
from db.statements import Row
from db.users import USERS
from graph.connections import (
    After,
    Before,
    Connection,
    First,
    Last,
    OrderDirection,
    PageArguments,
    chosen_order,
    list_of_parent,
    order_of,
    whole_list,
)
from graph.context import Info, columns_below
from graph.cost import PAGE
from graph.execution import JOINS, Loading
from graph.fields import column, edge, found, identity
from graph.ids import Kind, parse
from graph.nodes import DateTimeRange, Node, given

if TYPE_CHECKING:
    from graph.accounts import Account
    from graph.posts import Post, PostFilter, PostOrder


@strawberry.type(description="What a user tells of themself.")
class Profile:
    """A row of `profiles`."""

    row: strawberry.Private[Row]

    display_name: str | None = column("display_name", "The name to show instead of the username.")
    bio: str | None = column("bio", "A few sentences about the user.", longest=BIO_LENGTH_MAX)
    website_url: str | None = column("website_url", "An http or https URL.", longest=WEBSITE_URL_LENGTH_MAX)


def _profile(info: Info) -> Loading:
    return Loading(info.context.loaders.profile_by_user(columns_below(info, "Profile", "user_id")))


def _posts(
    info: Info,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
    filter_: Annotated[
        Annotated["PostFilter", strawberry.lazy("graph.posts")] | None,
        strawberry.argument(name="filter", description="Only posts that meet all of this."),
    ] = None,
    order_by: Annotated[
        list[Annotated["PostOrder", strawberry.lazy("graph.posts")]] | None,
        strawberry.argument(description="First by the first, then by the next; newest first by default."),
    ] = None,
) -> Loading:
    # Imported here because posts stand on users: the one place where the circle of types closes.
    from graph.posts import Post, post_conditions, post_order  # noqa: PLC0415

    conditions = post_conditions(filter_)
    request = PageArguments(first, after, last, before).request(info, post_order(order_by, conditions))
    return list_of_parent(info, POSTS, "Post", conditions, request, lambda row: Post(row=row))


def _accounts(
    info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Loading:
    from graph.accounts import Account  # noqa: PLC0415 - likewise

    request = PageArguments(first, after, last, before).request(info, ACCOUNTS_ORDER)
    return list_of_parent(info, ACCOUNTS, "Account", {}, request, lambda row: Account(row=row))


@strawberry.type(
    description=(
        "A person who may sign in, or the system's own user `treasury`, from whose accounts all money comes: it is "
        "found by its id, by its name and as an owner, and no list or count of users has it."
    )
)
class User(Node):
    """A row of `users`."""

    row: strawberry.Private[Row]

    id: strawberry.ID = identity(Kind.USER, "Globally unique and opaque; the same object always has the same id.")
    username: str = column("username", "Unique without regard to case: 3 to 32 letters, digits and _.")
    email: str | None = column("email", "Null unless the viewer is this user or an administrator.")
    is_active: bool = column("is_active", "Whether the user may sign in.")
    created_at: datetime.datetime = column("created_at", "When the user was created.")
    updated_at: datetime.datetime = column("updated_at", "When the user was last changed.")
    version: int = column(
        "version", "Rises with every change of the user or the profile; give it back as `expectedVersion`."
    )
    profile: Profile | None = edge(
        "id",
        _profile,
        "What the user tells of themself; null where nothing yet.",
        made=lambda row: Profile(row=row),
    )
    posts: Connection[Annotated["Post", strawberry.lazy("graph.posts")]] = edge(
        "id",
        _posts,
        "Published posts; drafts too where the viewer is this user or an administrator.",
        joins=True,
        directives=[PAGE],
    )
    accounts: Connection[Annotated["Account", strawberry.lazy("graph.accounts")]] = edge(
        "id", _accounts, "Empty unless the viewer is this user or an administrator. Oldest first.", directives=[PAGE]
    )


@strawberry.input(description="Which users; all parts given must hold, and a null part is as good as none.")
class UserFilter:
    """Conditions on users."""

    is_active: bool | None = strawberry.field(default=None, description="Users who may, or may not, sign in.")
    username_prefix: str | None = strawberry.field(
        default=None,
        description="Usernames that begin like this, whatever the case. "
        "White space around it does not count; an empty one is no filter.",
    )
    created_at: DateTimeRange | None = strawberry.field(default=None, description="When the user was created.")


@strawberry.enum(description="What users can be ordered by.")
class UserOrderField(Enum):
    """The order terms of users."""

    CREATED_AT = strawberry.enum_value("CREATED_AT", description="When the user was created.")
    USERNAME = strawberry.enum_value("USERNAME", description="The username, whatever its case.")


@strawberry.input(description="One term of an order of users.")
class UserOrder:
    """A field and a direction."""

    field: UserOrderField = strawberry.field(description="What to order by.")
    direction: OrderDirection = strawberry.field(description="Which way.")


_TERMS = {UserOrderField.CREATED_AT: repository.CREATED_AT, UserOrderField.USERNAME: repository.USERNAME}
_NEWEST_FIRST = order_of("users", ((repository.CREATED_AT, True),), repository.ID)


def user_order(order_by: list[UserOrder] | None) -> Order:
    """Return the order that `orderBy` asks for, newest first by default."""
    if not order_by:
        return _NEWEST_FIRST
    terms = [(_TERMS[one.field], one.direction) for one in order_by]
    return chosen_order("users", terms, repository.ID)


def user_conditions(filter_: UserFilter | None) -> Filter:
    """Return the conditions that a filter stands for."""
    if filter_ is None:
        return {}
    created_at = filter_.created_at or DateTimeRange()
    return given(
        is_active=filter_.is_active,
        username_prefix=(filter_.username_prefix or "").strip() or None,
        created_at_gte=created_at.gte,
        created_at_lt=created_at.lt,
    )


# ---------------------------------------------------------------- queries


def _viewer(info: Info) -> Loading:
    return _of_id(info, info.context.viewer.user_id)


def _user(
    info: Info, id_: Annotated[strawberry.ID, strawberry.argument(name="id", description="The user's id.")]
) -> Loading:
    return _of_id(info, parse(id_, Kind.USER, "id"))


def _of_id(info: Info, user_id: int | None) -> Loading:
    return Loading(info.context.loaders.user_by_id(columns_below(info, "User", "id")), key=user_id)


async def user_of_id(info: Info, user_id: int) -> User | None:
    """Return the user with this row id, with the columns that the selection needs."""
    row = await info.context.loaders.user_by_id(columns_below(info, "User", "id")).load(user_id)
    return None if row is None else User(row=row)


async def user_by_username(
    info: Info, username: Annotated[str, strawberry.argument(description="The username, whatever its case.")]
) -> User | None:
    """Return the user of this name."""
    context = info.context
    columns = columns_below(info, "User", "id")
    row = await repository.user_by_username(context.reader, context.viewer, columns, username)
    return None if row is None else User(row=row)


async def users(
    info: Info,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
    filter_: Annotated[
        UserFilter | None, strawberry.argument(name="filter", description="Only users that meet all of this.")
    ] = None,
    order_by: Annotated[
        list[UserOrder] | None,
        strawberry.argument(description="First by the first, then by the next; newest first by default."),
    ] = None,
) -> Connection[User]:
    """Return a page of all users."""
    request = PageArguments(first, after, last, before).request(info, user_order(order_by))
    return await whole_list(info, USERS, "User", user_conditions(filter_), request, lambda row: User(row=row))


@strawberry.type
class UserQueries:
    """The queries that read users."""

    viewer: User | None = found(
        _viewer, "The signed-in user; null for an anonymous request.", lambda row: User(row=row)
    )
    user: User | None = found(_user, "The user with this id; null where there is none.", lambda row: User(row=row))
    user_by_username: User | None = strawberry.field(
        resolver=user_by_username,
        description="The user of this name, the system's own user too; null where there is none.",
    )
    users: Connection[User] = strawberry.field(
        resolver=users,
        description="All users but the system's own, `treasury`, who is no person.",
        directives=[PAGE],
        metadata={JOINS: True},
    )
