"""The schema put together: each noun's queries and mutations, and the two queries that find any node."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import strawberry
from graphql import GraphQLSchema
from strawberry.schema.config import StrawberryConfig
from strawberry.tools import merge_types

from graph.accounts import MoneyQueries, account_of_id, transaction_of_id
from graph.context import Info
from graph.cost import ListSize
from graph.errors import BadInput
from graph.ids import Kind, parse_any
from graph.money_mutations import MoneyMutations
from graph.nodes import Node
from graph.post_mutations import PostMutations
from graph.posts import PostQueries, post_of_id
from graph.scalars import SCALARS
from graph.sessions import SessionMutations
from graph.user_mutations import UserMutations
from graph.users import UserQueries, user_of_id

NODES_MAX = 100

_BY_KIND: dict[Kind, Callable[[Info, int], Awaitable[Node | None]]] = {
    Kind.USER: user_of_id,
    Kind.POST: post_of_id,
    Kind.ACCOUNT: account_of_id,
    Kind.TRANSACTION: transaction_of_id,
}


async def node(
    info: Info, id_: Annotated[strawberry.ID, strawberry.argument(name="id", description="Any id of this API.")]
) -> Node | None:
    """Return the object of any kind that an id names."""
    kind, number = parse_any(id_, "id")
    return await _BY_KIND[kind](info, number)


async def nodes(
    info: Info, ids: Annotated[list[strawberry.ID], strawberry.argument(description="At most 100 ids of this API.")]
) -> Any:
    """Return the objects that ids name, in their order, and in the place of a malformed id its error.

    An error in the place of an item fails that item alone: the objects that the other ids name are answered.
    """
    if len(ids) > NODES_MAX:
        raise BadInput(f"ids has at most {NODES_MAX} ids, not {len(ids)}")
    # Started together, so that each kind is one batch.
    return await asyncio.gather(*(_node_or_fault(info, id_, f"ids[{index}]") for index, id_ in enumerate(ids)))


async def _node_or_fault(info: Info, id_: str, where: str) -> Node | BadInput | None:
    try:
        kind, number = parse_any(id_, where)
    except BadInput as fault:
        return fault.with_traceback(None)  # which would keep this frame for as long as the error
    return await _BY_KIND[kind](info, number)


@strawberry.type
class NodeQueries:
    """The queries that find objects of any kind."""

    node: Node | None = strawberry.field(
        resolver=node,
        description="The object with this id; null where the viewer can see none. An id of no kind is an error.",
    )
    nodes: list[Node | None] = strawberry.field(
        resolver=nodes,
        description=(
            "The objects with these ids, in their order; null where the viewer can see none. A malformed id is null "
            "with an error at its place, and the others are answered."
        ),
        directives=[ListSize(assumed_size=NODES_MAX)],
    )


Query = merge_types("Query", (NodeQueries, UserQueries, PostQueries, MoneyQueries))
Mutation = merge_types("Mutation", (SessionMutations, UserMutations, PostMutations, MoneyMutations))

schema = strawberry.Schema(query=Query, mutation=Mutation, config=StrawberryConfig(scalar_map=SCALARS))

graphql_schema: GraphQLSchema = schema._schema  # noqa: SLF001 - Strawberry offers no public way to its graphql-core schema
"""What graphql-core validates and executes against."""


def schema_text() -> str:
    """Return the schema in GraphQL's schema definition language, as `schema.graphql` holds it."""
    return schema.as_str().rstrip() + "\n"
