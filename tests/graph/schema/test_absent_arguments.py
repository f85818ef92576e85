"""An omitted value means the same as null: as a literal and as a variable, in arguments and in input objects."""

from collections.abc import Iterator

import pytest
from graphql import (
    GraphQLInputObjectType,
    get_named_type,
    get_nullable_type,
    is_list_type,
    is_non_null_type,
    is_required_argument,
)

from graph.schema.root import graphql_schema
from tests.graph.support.argument_walk import selection
from tests.graph.support.callers import Client, SignUp
from tests.graph.support.population import populate


def optional() -> Iterator[tuple[str, str, str, str]]:
    """Yield each place of a list's query that may be omitted or null.

    Each item has the query, the type of the place, the arguments with `%s` for a value, and the arguments without one.
    """
    assert graphql_schema.query_type is not None
    for name, field in graphql_schema.query_type.fields.items():
        if any(is_required_argument(argument) for argument in field.args.values()):
            continue
        for argument, definition in field.args.items():
            if is_non_null_type(definition.type):
                continue  # it has a default, and may be omitted, but is never null
            yield name, str(definition.type), f"({argument}: %s)", ""
            inner = get_named_type(definition.type)
            if isinstance(inner, GraphQLInputObjectType) and not is_list_type(get_nullable_type(definition.type)):
                for part, one in inner.fields.items():
                    yield name, str(one.type), f"({argument}: {{ {part}: %s }})", f"({argument}: {{ }})"


PLACES = {f"{query}{given % '…'}": (query, type_, given, absent) for query, type_, given, absent in optional()}


@pytest.mark.parametrize("place", PLACES)
async def test_null_means_the_same_as_an_omitted_value(client: Client, sign_up: SignUp, place: str) -> None:
    await populate(client.database, 25)
    query, type_, given, absent = PLACES[place]
    assert graphql_schema.query_type is not None
    selected = selection(graphql_schema.query_type.fields[query])
    by_variable = f"query ($value: {type_}) {{ {query}{given % '$value'} {selected} }}"
    answers = [
        await client.data(f"{{ {query}{absent} {selected} }}"),
        await client.data(f"{{ {query}{given % 'null'} {selected} }}"),
        await client.data(by_variable),
        await client.data(by_variable, value=None),
    ]
    assert answers == [answers[0]] * 4
    assert answers[0][query]


def test_lists_and_their_filters_have_optional_places() -> None:
    assert {"users(first: …)", "posts(filter: { search: … })", "postsPage(orderBy: …)"} <= set(PLACES)
