"""Each field of each list's rows read alone, by every kind of caller.

A field that a caller may not see is null in the statement, which then reads no column of its table at all.
"""

from collections.abc import Iterator, Mapping

import pytest
from graphql import GraphQLObjectType, get_named_type, get_nullable_type, is_leaf_type, is_required_argument

from graph.schema.root import graphql_schema
from tests.graph.support.callers import Client, Person, SignUp
from tests.graph.support.population import populate

# Each object with lists, and the root field that reads one of them, if it is not the root itself.
PARENTS: Mapping[str, str] = {"Query": "", "User": "user", "Post": "post", "Account": "account"}


def object_type(name: str) -> GraphQLObjectType:
    found = graphql_schema.get_type(name)
    assert isinstance(found, GraphQLObjectType)
    return found


def fields_of_lists() -> Iterator[tuple[str, str, str]]:
    """Yield each connection's parent and name with each leaf of its nodes, but those that need arguments."""
    for parent in PARENTS:
        for name, field in object_type(parent).fields.items():
            connection = get_named_type(field.type).name
            if connection.endswith("Connection") and not any(map(is_required_argument, field.args.values())):
                node = object_type(connection.removesuffix("Connection"))
                leaves = (leaf for leaf, of in node.fields.items() if is_leaf_type(get_nullable_type(of.type)))
                yield from ((parent, name, leaf) for leaf in leaves)


@pytest.mark.parametrize("caller", ["nobody", "member", "administrator"])
async def test_each_field_alone_is_read_without_errors(client: Client, sign_up: SignUp, caller: str) -> None:
    population = await populate(client.database, 2)
    ids = {"User": population.users[0], "Post": population.posts[0], "Account": population.accounts[0]}
    by: Person | None = None if caller == "nobody" else await sign_up("reader", admin=caller == "administrator")
    count = 0
    for parent, name, leaf in fields_of_lists():
        field = PARENTS[parent]
        before, behind = ("{", "}") if not field else (f'{{ {field}(id: "{ids[parent]}") {{', "} }")
        for rest in (
            f"(first: 1) {{ nodes {{ {leaf} }} }}",
            f"(last: 1) {{ nodes {{ {leaf} }} }}",
            f"(first: 1) {{ totalCount edges {{ node {{ {leaf} }} }} }}",
        ):
            await client.data(f"{before} {name}{rest} {behind}", by=by)
        count += 1
    assert count > 30
