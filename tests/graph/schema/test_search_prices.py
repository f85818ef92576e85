"""The price of a search, given in the document or as a variable."""

from typing import Any

import pytest

from graph.operations.cache import Operations
from graph.schema.root import graphql_schema

OPERATIONS = Operations(graphql_schema, introspection=True, suggestions=True)


@pytest.mark.parametrize(
    ("declared", "given", "variables", "weight"),
    [
        ("", '{search: "a"}', {}, 50),
        ("", "{search: null}", {}, 0),
        ("", "{published: true}", {}, 0),
        ("", "null", {}, 0),
        ("($s: String)", "{search: $s}", {}, 50),
        ("($f: PostFilter)", "$f", {}, 0),
        ("($f: PostFilter)", "$f", {"f": None}, 0),
        ("($f: PostFilter)", "$f", {"f": {"search": None, "published": True}}, 0),
        ("($f: PostFilter)", "$f", {"f": {"search": "a"}}, 50),
        ('($f: PostFilter = {search: "a"})', "$f", {}, 50),
        ('($f: PostFilter = {search: "a"})', "$f", {"f": None}, 0),
        ('($f: PostFilter = {search: "a"})', "$f", {"f": {"views": {"gte": 1}}}, 0),
    ],
)
def test_search_has_its_weight_wherever_it_is_given(
    declared: str, given: str, variables: dict[str, Any], weight: int
) -> None:
    lists = f"a: posts(first: 5, filter: {given}) {{ totalCount }} b: posts(first: 1) {{ totalCount }}"
    text = f"query {declared} {{ {lists} }}"
    pricing = OPERATIONS.find(text, None).pricing
    for _ in range(2):  # the price of one value is not reused for another
        assert pricing.price(variables).cost == 22 + weight
        assert pricing.price({"f": {"search": "b"}}).cost == 22 + (50 if "$f" in given or weight else 0)
    assert pricing.dearest()[0].cost == 22 + (50 if "$f" in given or weight else 0)


def test_search_of_each_parent_is_charged_for_each_parent() -> None:
    text = '{ users(first: 10) { nodes { posts(first: 5, filter: {search: "a"}) { totalCount } } } }'
    assert OPERATIONS.find(text, None).priced({}).cost == 1 + 10 + 10 * (1 + 10 + 50)
