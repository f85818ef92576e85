"""The complete schema: queries, mutations and subscriptions of each noun, and the two queries that find any node."""

import asyncio
from collections.abc import Iterable
from typing import Annotated, Any

import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    NullValueNode,
    Undefined,
)
from strawberry.schema.config import StrawberryConfig

from graph.analysis.cost import ListSize
from graph.errors import BadInput
from graph.execution import DECLARATION
from graph.execution.strawberry_adapter import core_schema
from graph.runtime.context import Info
from graph.schema.comments.mutations import CommentMutations
from graph.schema.comments.subscriptions import CommentSubscriptions
from graph.schema.comments.types import Comment, CommentQueries
from graph.schema.connections import PAGE_SIZE_MAX
from graph.schema.fields import find_node
from graph.schema.ids import NodeKind, parse_any
from graph.schema.money.mutations import MoneyMutations
from graph.schema.money.queries import MoneyQueries
from graph.schema.money.subscriptions import MoneySubscriptions
from graph.schema.money.transfers import TransferMutations
from graph.schema.money.types import Account, Transaction
from graph.schema.nodes import Node
from graph.schema.posts.mutations import PostMutations
from graph.schema.posts.queries import PostQueries
from graph.schema.posts.subscriptions import PostSubscriptions
from graph.schema.posts.types import Post
from graph.schema.scalars import DATE_TIME_OUTPUT, SCALARS
from graph.schema.sessions.mutations import SessionMutations
from graph.schema.users.mutations import UserMutations
from graph.schema.users.queries import UserQueries
from graph.schema.users.types import User

NODES_MAX = 100

NODE_TYPES: dict[NodeKind, type[Node]] = {
    NodeKind.USER: User,
    NodeKind.POST: Post,
    NodeKind.COMMENT: Comment,
    NodeKind.ACCOUNT: Account,
    NodeKind.TRANSACTION: Transaction,
}

for _kind in NodeKind:
    if _kind not in NODE_TYPES:
        raise LookupError(f"NODE_TYPES of graph/schema/root.py has no type for the ids of {_kind.name}: add it")


async def node(
    info: Info, id_: Annotated[strawberry.ID, strawberry.argument(name="id", description="The id of any object.")]
) -> Node | None:
    """Return the object of any kind with the given id."""
    kind, number = parse_any(id_, "id")
    return await find_node(info, kind, NODE_TYPES[kind], number)


async def nodes(
    info: Info,
    ids: Annotated[
        list[strawberry.ID], strawberry.argument(description=f"The ids of any objects, at most {NODES_MAX}.")
    ],
) -> Any:
    """Return the objects with the given ids, in their order, and in the place of a malformed id its error.

    An error in the place of an item fails only that item: the objects of the other ids are returned.
    """
    if len(ids) > NODES_MAX:
        raise BadInput(f"ids has at most {NODES_MAX} ids, not {len(ids)}")
    # All reads start together, so that each kind is one batch.
    return await asyncio.gather(*(_node_or_fault(info, id_, f"ids[{index}]") for index, id_ in enumerate(ids)))


async def _node_or_fault(info: Info, id_: str, where: str) -> Node | BadInput | None:
    try:
        kind, number = parse_any(id_, where)
    except BadInput as fault:
        return fault.with_traceback(None)  # the traceback would keep this frame alive as long as the error
    return await find_node(info, kind, NODE_TYPES[kind], number)


@strawberry.type
class NodeQueries:
    """The queries that find objects of any kind."""

    node: Node | None = strawberry.field(
        resolver=node,
        description=(
            "The object with this id. Null if there is none that the viewer can see. An invalid id is an error."
        ),
    )
    nodes: list[Node | None] = strawberry.field(
        resolver=nodes,
        description=(
            "The objects with these ids, in the order of the ids. Null for an id without an object that the "
            "viewer can see. An invalid id is null with an error at its index, and all other objects are "
            "returned."
        ),
        directives=[ListSize(assumed_size=NODES_MAX)],
    )


SCHEMA = """\
Folio: users and their profiles, posts and comments, money accounts, and the transactions between accounts.

Sign in with the mutation `signIn`, and send its `accessToken` with every request as `Authorization: Bearer …`.
`refreshSession` exchanges the refresh token for new tokens.

The cost of an operation is limited. `@cost` and `@listSize` state the cost of each field and the length of each list.
If a request has `"extensions": {"cost": true}`, the `extensions` of its response contain the cost and the maximum. An
operation above a limit is refused: the `extensions` of the error contain a code, the measured value and the maximum."""

QUERY = f"""\
The queries. All callers can read users, published posts and their comments. Private data of a user (email, drafts,
accounts and transactions) is returned only to this user and to administrators. For all others it is null, empty or
missing.

Lists are connections: `first` with `after`, or `last` with `before`, at most {PAGE_SIZE_MAX} items at once.

A malformed id, or an id of another type than the field expects, is an error with the code BAD_USER_INPUT. A valid id
of no existing object returns null."""

MUTATION = """\
The mutations. Each requires the access token of a signed-in user, except `signIn`, `refreshSession` and `createUser`.

A refusal of a user's input is data: `userErrors` with a code and the path of the field. In this case nothing is
written. A malformed id, which only a program can send, is an error with the code BAD_USER_INPUT, and its field writes
nothing. Several mutations of one operation run one after the other, each in a separate transaction."""

SUBSCRIPTION = """\
The subscriptions. Each sends an event for each change of its subject, in the order of the changes. The rows of an event
are read when it is sent, with the rights of the viewer.

Each event has a cursor. After an interruption, subscribe again with the last cursor as `after`: the events that were
missed are sent first, each once. Events are kept for a limited time, and transactions always. If the events after a
cursor are not kept any more, the error has the code EVENTS_EXPIRED: fetch the data again, and subscribe without
`after`."""


@strawberry.type(description=QUERY)
class Query(NodeQueries, UserQueries, PostQueries, CommentQueries, MoneyQueries):
    """The queries of all nouns."""


@strawberry.type(description=MUTATION)
class Mutation(SessionMutations, UserMutations, PostMutations, CommentMutations, MoneyMutations, TransferMutations):
    """The mutations of all nouns."""


@strawberry.type(description=SUBSCRIPTION)
class Subscription(PostSubscriptions, CommentSubscriptions, MoneySubscriptions):
    """The subscriptions of all nouns."""


def without_null_defaults(of: GraphQLSchema) -> GraphQLSchema:
    """Remove the default null from all arguments and input fields of a schema, and return the schema.

    Strawberry prints `= null` for each parameter with the default None. A resolver gets None without this too, because
    None is the default of its parameter. The schema shows a default only where clients need to know it.
    """
    for type_ in of.type_map.values():
        if isinstance(type_, GraphQLInputObjectType):
            _drop_null_defaults(type_.fields.values())
        elif isinstance(type_, GraphQLObjectType | GraphQLInterfaceType):
            for field in type_.fields.values():
                _drop_null_defaults(field.args.values())
    return of


def _drop_null_defaults(inputs: Iterable[GraphQLArgument | GraphQLInputField]) -> None:
    for one in inputs:
        if one.default_value is None:
            one.default_value = Undefined
        if one.default is not None and isinstance(one.default.literal, NullValueNode):
            one.default = None  # as in a schema that was parsed from text


schema = strawberry.Schema(
    query=Query, mutation=Mutation, subscription=Subscription, config=StrawberryConfig(scalar_map=SCALARS)
)

graphql_schema = without_null_defaults(core_schema(schema))
"""What graphql-core validates and executes against."""

graphql_schema.description = SCHEMA  # which Strawberry has no argument for
graphql_schema.type_map["DateTime"].extensions[DECLARATION] = DATE_TIME_OUTPUT


def schema_text() -> str:
    """Return the schema in GraphQL's schema definition language, as `schema.graphql` holds it."""
    roots = "schema {\n  query: Query\n  mutation: Mutation\n  subscription: Subscription\n}"
    return f'"""\n{SCHEMA}\n"""\n{roots}\n\n{schema.as_str().rstrip()}\n'
