"""One walk over a document gives all that is known of an operation before it runs."""

import pytest
from graphql import build_schema, parse

from graph.operations.cache import Operations, RequestRefused
from graph.runtime.worker_thread import Stopwatch, WorkerThread
from graph.schema.root import graphql_schema
from tests.graph.support.analysing import Visits, analysed

TEXT = """
query Q($first: Int, $filter: PostFilter) {
  viewer { ...Person posts(first: $first) { totalCount ...Page } }
  ... on Query { posts(filter: $filter) { ...Page edges { cursor } } }
  post(id: "post_1") { id author { ...Person } }
}
fragment Page on PostConnection { totalCount nodes { id author { ...Person ...Person } } }
fragment Person on User { id profile { bio } }
"""
INTROSPECTION = "query Q { __schema { types { name ...T } } } fragment T on __Type { kind }"
INTERFACE = """{
  viewer { ...Any }
  node(id: "post_1") { ...Any }
  again: node(id: "post_2") { ... on Post { ...Any } }
  more: node(id: "post_3") { ...Any ... on User { ...Any } }
}
fragment Any on Node { id ... on Post { title } ... on User { username } }"""


@pytest.mark.parametrize("text", [TEXT, INTROSPECTION])
async def test_preparing_an_operation_visits_each_selection_set_once(text: str) -> None:
    operations, worker = Operations(graphql_schema, introspection=True, suggestions=True), WorkerThread()
    checked = await operations.checked(text, worker, Stopwatch())
    worker.close()
    assert not isinstance(checked, RequestRefused)
    visits = Visits(checked.parsed)
    operation = operations.find(text, "Q", checked)
    for first in (None, 1, 20, 100):  # each of these has another price
        operation.priced({"first": first, "filter": {"search": "word"}})
    assert operation.execution.joined is not None
    assert visits.counts() == {1}


def test_fragment_on_an_interface_is_visited_once_for_each_type_it_is_spread_on() -> None:
    visits = Visits(document := parse(INTERFACE))
    analysed(document)
    found = visits.by_first_selection()
    assert found["id"] == [3]  # on User, Node and Post
    assert found["...Any"] == [1, 1, 1, 1, 1]


@pytest.mark.parametrize("spread", ["{ ...F0 }", "query($n: Int) { viewer { posts(first: $n) { ...C } } ...F0 }"])
def test_web_of_fragments_with_variables_is_visited_once(spread: str) -> None:
    """The formula of its price is no longer than the document, although it stands for 2^60 lists."""
    head = spread if "$n" in spread else f"query($n: Int) {spread}"
    chain = " ".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }}" for n in range(60))
    last = "fragment F60 on Query { posts(first: $n) { nodes { id author { id } } ...C } } "
    text = f"{head} {chain} {last} fragment C on PostConnection {{ edges {{ node {{ id }} }} }}"
    visits = Visits(document := parse(text))
    pricing = analysed(document).pricing
    assert visits.counts() == {1}
    for length in (0, 1, 100):
        beside = 0 if spread == "{ ...F0 }" else 1 + 1 + 2 * length
        assert pricing.price({"n": length}).cost == 2**60 * (1 + 2 * length + 2 * length) + beside


# ---------------------------------------------------------------- types that differ

SCHEMA = build_schema("""
interface Node { id: ID }
type Post implements Node { id: ID, title: Title, body: String @deprecated }
type User implements Node { id: ID, title: String, name: Name @deprecated, friend: Either }
type Title { text: String @deprecated, user: User }
type Name { first(short: Boolean @deprecated): String }
union Either = User | Post
type Query { user: User, either: Either }
""")


def test_unreachable_field_is_examined_only_for_deprecations() -> None:
    fragments = """fragment F on Node { id ... on Post { body title { text user { ...G } } } }
        fragment G on User { name { first(short: true) } ... on Node { ...F } }"""
    found = analysed(f"{{ user {{ ...F }} }} {fragments}", schema=SCHEMA)
    deprecated = ("Name.first(short:)", "Post.body", "Title.text", "User.name")
    assert found.deprecated == deprecated
    assert (found.pricing.price({}).cost, found.pricing.price({}).depth) == (1, 2)


def test_members_of_a_union_are_priced() -> None:
    text = "{ user { friend { __typename ... on User { friend { ... on Post { title { text } } } } } } }"
    price = analysed(text, schema=SCHEMA).pricing.price({})
    assert (price.cost, price.depth) == (4, 5)
