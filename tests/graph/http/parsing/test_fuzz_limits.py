"""The walk that prices operations, tested with operations that Hypothesis makes to be as hard as possible."""

import string
from collections.abc import Sequence

import pytest
from graphql import (
    REMOVE,
    ArgumentNode,
    DocumentNode,
    FragmentDefinitionNode,
    Visitor,
    VisitorAction,
    parse,
    print_ast,
    visit,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import nodes, queries

from db.access import Viewer
from db.seed.seeding import SeedPlan, seed
from graph.operations.cache import Operations, RequestRefused
from graph.schema.root import graphql_schema
from tests.graph.support.analysing import Visits, analysed
from tests.graph.support.callers import Client
from tests.running.amounts import examples

OPERATIONS = Operations(graphql_schema, introspection=True, suggestions=True)
PLAN = SeedPlan(users=12, posts=60, accounts=8, transfers_per_account=3)
IDS = st.sampled_from([f"{kind}_{number}" for kind in ("user", "post", "account", "transaction") for number in (1, 2)])
FRAGMENTS_MAX = 24
READING = ["users", "posts", "postsPage", "viewer", "user", "node", "nodes"]


@pytest.fixture
async def seeded(client: Client) -> Client:
    await seed(client.database, PLAN, "!", lambda *_: None)
    return client


SCALARS = {
    "ID": IDS.map(nodes.String),
    "Int": st.integers(5, 50).map(nodes.Int),
    "Decimal": st.integers(0, 10**6).map(lambda value: nodes.String(str(value))),
    "DateTime": st.datetimes().map(lambda value: nodes.String(f"{value.isoformat()}Z")),
    "UUID": st.uuids().map(lambda value: nodes.String(str(value))),
    "CurrencyCode": st.sampled_from(["EUR", "JPY"]).map(nodes.String),
}


@st.composite
def documents_with_fragments(draw: st.DrawFn) -> str:
    """Return a valid document whose fragments spread later fragments, any number of times and anywhere."""
    count = draw(st.integers(1, FRAGMENTS_MAX))
    types = draw(st.lists(st.sampled_from(["User", "Post"]), min_size=count, max_size=count))

    def spreads(of: str, after: int) -> str:
        later = [number for number in range(after, count) if types[number] == of]
        chosen = draw(st.lists(st.sampled_from(later), max_size=4)) if later else []
        return " ".join(["id", *(f"...F{number}" for number in chosen)])

    def body(number: int) -> str:
        length = draw(st.integers(1, 100))
        if types[number] == "Post":
            return f"{{ {spreads('Post', number + 1)} author {{ {spreads('User', number + 1)} }} }}"
        below = spreads("Post", number + 1)
        return f"{{ {spreads('User', number + 1)} posts(first: {length}) {{ nodes {{ {below} }} }} }}"

    fragments = [f"fragment F{number} on {types[number]} {body(number)}" for number in range(count)]
    return "\n".join([f"{{ viewer {{ {spreads('User', 0)} }} }}", *fragments])


def measured(document: str) -> tuple[set[int], int, int]:
    """Return how often the walk visits selection sets, and the cost and depth that it finds."""
    visits = Visits(parsed := parse(document))
    price = analysed(parsed).pricing.price({})
    return visits.counts(), price.cost, price.depth


@settings(max_examples=examples(60))
@given(document=documents_with_fragments())
def test_walk_visits_no_fragment_twice_however_they_spread_each_other(document: str) -> None:
    counts, cost, depth = measured(document)
    # Each is spread on its own type alone, and so visited once, however many ways lead to it, or never.
    assert counts <= {0, 1}
    assert cost >= 1
    assert depth >= 2


def cost_and_depth(document: str) -> tuple[int, int]:
    """Return cost and depth of the document computed independently: every spread is replaced by its fragment."""
    definitions = parse(document).definitions
    texts = {
        one.name.value: document[one.selection_set.loc.start : one.selection_set.loc.end]
        for one in definitions
        if isinstance(one, FragmentDefinitionNode) and one.selection_set.loc
    }
    text = document.partition("\n")[0]
    while "...F" in text:
        head, _, rest = text.partition("...F")
        digits = len(rest) - len(rest.lstrip(string.digits))
        text = f"{head}... {texts[f'F{rest[:digits]}']}{rest[digits:]}"
        if len(text) > 20_000:
            return -1, -1
    return measured(text)[1:]


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.filter_too_much])
@given(document=documents_with_fragments())
def test_price_of_fragments_is_that_of_their_expansion(document: str) -> None:
    expected = cost_and_depth(document)
    if expected != (-1, -1):
        assert measured(document)[1:] == expected


class _Forward(Visitor):
    def leave_argument(self, node: ArgumentNode, *_: object) -> VisitorAction:
        return REMOVE if node.name.value in {"after", "before", "last", "filter", "orderBy", "page"} else None


def paged_forward(document: DocumentNode) -> str:
    """Print a document without the arguments that random values would make fail: cursors, filters, orders."""
    return print_ast(visit(document, _Forward()))


@settings(max_examples=examples(80), suppress_health_check=list(HealthCheck))
@given(query=queries(graphql_schema, fields=READING, custom_scalars=SCALARS, print_ast=paged_forward, allow_x00=False))
async def test_price_is_never_below_the_cost_of_the_response_to_a_generated_query(seeded: Client, query: str) -> None:
    try:
        operation = OPERATIONS.find(query, None)
        price = operation.priced({})
    except RequestRefused:
        return
    result = await OPERATIONS.run(operation, {}, seeded.services, Viewer(user_id=2, is_admin=True))
    # The root object belongs to no field.
    assert price.cost >= resolved(result.data) - 1, query


def resolved(value: object, name: str = "") -> int:
    """Return the cost of a response's fields by the weights: an object is 1, a count is 10."""
    if isinstance(value, list):
        return sum(resolved(one, name) for one in value)
    if isinstance(value, dict):
        return 1 + sum(resolved(one, key) for key, one in value.items())
    return 10 if name.startswith("total") and value is not None else 0


TOKENS: Sequence[str] = (
    *("{", "}", "(", ")", "[", "]", "!", ":", "$", "...", "@", "&", "|", "=", "on"),
    *("query", "mutation", "fragment", "subscription", "a", "F", "User", "Query", "posts", "users", "viewer", "nodes"),
    *("id", "first: 3", "first: $n", "$n: Int", "@skip(if: true)", "@include", "node", "edges", "__typename", "1", '"'),
    *("...F", "... on User {", "fragment F on User {", "fragment F on Query {", "...F }", "viewer {", "users {"),
)


@settings(max_examples=examples(300))
@given(tokens=st.lists(st.sampled_from(TOKENS), max_size=40), variables=st.dictionaries(st.just("n"), st.integers()))
def test_any_sequence_of_tokens_has_a_price_or_a_refusal(tokens: Sequence[str], variables: dict[str, int]) -> None:
    try:
        price = OPERATIONS.find(" ".join(tokens), None).priced(variables)
    except RequestRefused:
        return
    assert price.cost >= 0


@pytest.mark.parametrize("spread", ["...F", "...F ...F", "... on Query { ...F }"])
def test_fragment_that_spreads_itself_is_refused_and_never_walked(spread: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        OPERATIONS.find(f"{{ ...F }} fragment F on Query {{ __typename {spread} }}", None)
    assert {error.message for error in refused.value.errors} == {"Cannot spread fragment 'F' within itself."}
