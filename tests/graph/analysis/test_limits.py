"""The price of operations, computed by hand here and compared with the walk; and every limit at its edge."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from graphql import (
    GraphQLField,
    GraphQLNamedType,
    GraphQLObjectType,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_list_type,
)

from db.access import Viewer
from db.seed.seeding import SeedPlan, seed
from graph.analysis.cost import PAGE, PAGE_SIZE_DEFAULT, Cost, ListSize
from graph.analysis.field_facts import LENGTH_MAX, declared
from graph.analysis.limits import Price
from graph.operations.cache import Operations
from graph.schema.connections import PAGE_SIZE_MAX
from graph.schema.ids import NodeKind
from graph.schema.root import graphql_schema
from tests.graph.support.analysing import analysed
from tests.graph.support.callers import Client, SignUp
from tests.graph.support.operation_maker import OperationMaker
from tests.running.amounts import examples
from tests.running.repeating import Cases

OPERATIONS = Operations(graphql_schema, introspection=True, suggestions=True)
PLAN = SeedPlan(users=12, posts=60, accounts=8, transfers_per_account=3)


def price(query: str, **variables: Any) -> Price:
    return OPERATIONS.find(query, None).pricing.price(variables)


SPAN = 'from: "2026-01-01T00:00:00Z", to: "2026-02-01T00:00:00Z"'
PRICES = {
    # 1 for the connection, and for each user the user, their connection and its posts
    "{ users(first: 20) { nodes { id posts(first: 10) { nodes { id } } } } }": 1 + 20 * (1 + 1 + 10),
    "{ posts(first: 100) { nodes { id author { username } } } }": 1 + 100 * 2,
    "{ posts(first: 100) { edges { cursor node { id } } } }": 1 + 100 * 2,
    "{ posts(first: 100) { edges { node { id } } nodes { id } } }": 1 + 100 * 3,
    "{ posts { nodes { id } } }": 1 + 20,
    "{ posts(last: 7) { nodes { id } } }": 1 + 7,
    "{ posts(first: 3, last: 7) { nodes { id } } }": 1 + 7,
    "{ posts(first: null) { nodes { id } } }": 1 + 20,
    "{ posts(first: -5) { nodes { id } } }": 1,
    "{ posts(first: 1000) { nodes { id } } }": 1 + 100,
    "{ posts(first: 9) { pageInfo { endCursor } totalCount } }": 1 + 1 + 10,
    "{ posts(first: 9) { nodes { author { profile { bio } } } pageInfo { endCursor } } }": 1 + 9 * 3 + 1,
    "{ users(first: 3) { nodes { accounts(first: 4) { nodes { transactions(first: 5) { edges { node { amount {"
    " amount } from { owner { id } } } } } } } } } }": 1 + 3 * (1 + 1 + 4 * (1 + 1 + 5 * (1 + 1 + 1 + 2))),
    # A statement costs 30, and its entries 10 plus their content: each a transaction and an amount.
    f'{{ account(id: "account_1") {{ statement({SPAN}) {{ openingBalance {{ amount }} entries(first: 5) {{ totalCount '
    "nodes { amount { amount } transaction { memo } } } } } }": 1 + 30 + 1 + 10 + 10 + 5 * (1 + 1 + 1),
    f"{{ viewer {{ accounts(first: 7) {{ nodes {{ a: statement({SPAN}) {{ sent {{ amount }} }} b: statement({SPAN}) {{ "
    "sent { amount } } } } } }": 1 + 1 + 7 * (1 + 2 * (30 + 1)),
    "{ postsPage(pageSize: 5) { posts { author { id } } total totalPages } }": 1 + 5 * 2 + 10 + 10,
    "{ postsPage { posts { id } } }": 1 + 10,
    '{ nodes(ids: ["post_1"]) { id } }': 100,
    "{ nodes(ids: []) { ... on Post { author { id } } } }": 100 * 2,
    # The node may be of either type.
    '{ node(id: "post_1") { ... on Post { author { id } } ... on User { profile { bio } } } }': 1 + 1 + 1,
    "{ viewer { id } again: viewer { id } }": 2,
    "{ viewer { a: profile { bio } b: profile { bio } profile { bio } } }": 1 + 3,
    "{ viewer @include(if: false) { id } }": 1,
    "{ __typename }": 0,
    "{ __schema { types { name fields { name type { name ofType { name } } } } } }": 0,
    '{ __type(name: "User") { fields { name } } }': 0,
    'mutation { signIn(input: {login: "a", password: "b"}) { viewer { id } userErrors { message } } }': 100 + 1,
    'mutation { refreshSession(input: {refreshToken: "a"}) { accessToken } }': 10,
    "mutation { signOut { signedOut } }": 10,
    'mutation { updateUser(input: {id: "user_1"}) { user { profile { bio } } } }': 100 + 2,
    "mutation { createUsers(input: {users: []}) { users { profile { bio } } } }": 10_000 + 100 * 2,
    "mutation { createPosts(input: {posts: []}) { posts { author { id } } userErrors { code } } }": 10 + 100 * 2,
    'mutation { deletePost(input: {id: "post_1"}) { deletedPostId } }': 10,
    'mutation { recordPostView(input: {postId: "post_1"}) { post { author { id } } } }': 10 + 2,
    # The same fragment below connections of different sizes.
    "{ a: posts(first: 3) { ...P } b: posts(first: 50) { ...P } } "
    "fragment P on PostConnection { nodes { author { id } } edges { cursor } }": 1 + 3 * 3 + 1 + 50 * 3,
    "{ users(first: 2) { nodes { ...U } } posts(first: 5) { ...P } } "
    "fragment U on User { posts(first: 7) { ...P } } "
    "fragment P on PostConnection { ...N } fragment N on PostConnection { nodes { author { id } } }": (
        1 + 2 * (1 + 1 + 7 * 2) + 1 + 5 * 2
    ),
    # A fragment on the interface, spread on its implementations and on the interface itself.
    '{ node(id: "user_1") { ...I } viewer { ...I } } fragment I on Node { ... on User { profile { bio } } }': 2 + 2,
}


@pytest.mark.parametrize("query", PRICES)
def test_price_is_the_sum_of_the_weights(query: str) -> None:
    assert price(query).cost == PRICES[query]


@pytest.mark.parametrize(
    ("head", "variables", "length"),
    [
        ("$n: Int", {}, 20),
        ("$n: Int", {"n": None}, 20),
        ("$n: Int", {"n": 5}, 5),
        ("$n: Int", {"n": 100}, 100),
        ("$n: Int", {"n": 101}, 100),
        ("$n: Int", {"n": 2**40}, 100),
        ("$n: Int", {"n": 0}, 0),
        ("$n: Int", {"n": -1}, 0),
        # GraphQL reads a float with an integral value as an Int.
        ("$n: Int", {"n": 50.0}, 50),
        ("$n: Int", {"n": 1e2}, 100),
        ("$n: Int", {"n": 1e300}, 100),
        ("$n: Int", {"n": -0.0}, 0),
        # The field refuses a value that is not an Int; until then the price assumes the longest list.
        ("$n: Int", {"n": 5.5}, 100),
        ("$n: Int", {"n": float("inf")}, 100),
        ("$n: Int", {"n": True}, 100),
        ("$n: Int", {"n": "5"}, 100),
        ("$n: Int", {"n": [5]}, 100),
        ("$n: Int = 7", {}, 7),
        ("$n: Int = 7", {"n": 9}, 9),
        ("$n: Int = 7", {"n": None}, 20),
        ("$n: Int = null", {}, 20),
    ],
)
def test_variable_decides_the_length_of_its_list(head: str, variables: Mapping[str, Any], length: int) -> None:
    query = f"query({head}) {{ users(first: $n) {{ nodes {{ posts(first: $n) {{ nodes {{ id }} }} }} }} }}"
    assert price(query, **variables).cost == 1 + length * (1 + 1 + length)


def test_price_is_kept_for_each_value_of_a_variable() -> None:
    pricing = OPERATIONS.find(
        "query($n: Int, $id: ID!) { post(id: $id) { id } users(first: $n) { nodes { id } } }", None
    )
    values = (5, 50, 5, None, 50)
    costs = [pricing.pricing.price({"n": n, "id": f"post_{position}"}).cost for position, n in enumerate(values)]
    assert costs == [7, 52, 7, 22, 52]


# ---------------------------------------------------------------- limits


def nested(levels: int, innermost: str) -> str:
    """Return a query whose innermost field is at depth 2 + 3 * levels."""
    return "{ viewer {" + "posts(first: 1) { nodes { author {" * levels + innermost + "} } }" * levels + "} }"


def signing_in(*aliases: str) -> str:
    return " ".join(f'{alias}: signIn(input: {{login: "a", password: "b"}}) {{ accessToken }}' for alias in aliases)


# 100 nodes of 250 each: their author's 100 posts with authors, and 47 accounts.
DEAREST = """{ nodes(ids: []) { ... on User {
    posts(first: 100) { nodes { author { id } } } accounts(first: 47) { nodes { id } } } } %s }"""
AT_THE_EDGE = {
    "depth": (nested(6, "id"), nested(6, "profile { bio }"), 20, 21),
    "aliases": (
        "{ viewer {" + " ".join(f"a{n}: id" for n in range(50)) + "} }",
        "{ viewer {" + " ".join(f"a{n}: id" for n in range(51)) + "} }",
        50,
        51,
    ),
    "root fields": ("{" + "__typename " * 20 + "}", "{" + "__typename " * 21 + "}", 20, 21),
    "directives": (
        "{ viewer {" + "id @include(if: true) " * 50 + "} }",
        "{ viewer @skip(if: false) {" + "id @include(if: true) " * 50 + "} }",
        50,
        51,
    ),
    "root fields that check a password": (
        f"mutation {{ {signing_in('a')} }}",
        f"mutation {{ {signing_in('a', 'b')} }}",
        1,
        2,
    ),
    "cost": (DEAREST % "", DEAREST % "viewer { id }", 25_000, 25_001),
}


@pytest.mark.parametrize("limit", AT_THE_EDGE)
def test_exactly_the_maximum_passes_and_one_more_does_not(limit: str) -> None:
    at, above, maximum, measured = AT_THE_EDGE[limit]
    assert price(at).violations() == []
    assert [error.formatted for error in price(above).violations()] == [
        {
            "message": f"the operation's {limit}: {measured}, and at most {maximum} allowed",
            "extensions": {
                "code": "OPERATION_TOO_LARGE",
                "limit": limit,
                "maximum": maximum,
                "measured": str(measured),
            },
        }
    ]


@pytest.mark.parametrize("field", ["signIn", "refreshSession", "createUser", "createUsers", "updateUser"])
def test_every_field_that_checks_a_password_is_sensitive(field: str) -> None:
    assert graphql_schema.mutation_type is not None
    inputs = {
        "signIn": '{login: "a", password: "b"}',
        "refreshSession": '{refreshToken: "a"}',
        "createUser": '{email: "a", username: "b", password: "c"}',
        "createUsers": "{users: []}",
        "updateUser": '{id: "user_1", password: "a"}',
    }
    call = f"{field}(input: {inputs[field]}) {{ __typename }}"
    fragment = f"mutation {{ ...F ... {{ {call} }} }} fragment F on Mutation {{ b: {call} }}"
    assert price(fragment).sensitive_root_fields == 2


@pytest.mark.parametrize(
    ("declared", "given", "sensitive"),
    [
        ("$input: UpdateUserInput!", "$input", 1),
        ("$id: ID!, $password: String", "{id: $id, password: $password}", 1),
        ("$id: ID!", '{id: $id, email: "a", password: null}', 1),
        ("$id: ID!, $off: Boolean", "{id: $id, isActive: $off}", 0),
        ("$id: ID!", '{id: $id, profile: {bio: "password"}}', 0),
    ],
)
def test_update_of_a_user_is_sensitive_unless_the_document_shows_that_it_sets_no_password(
    declared: str, given: str, sensitive: int
) -> None:
    query = f"mutation ({declared}) {{ updateUser(input: {given}) {{ user {{ id }} }} }}"
    assert price(query).sensitive_root_fields == sensitive


async def test_operation_above_a_limit_is_refused_before_it_runs(client: Client) -> None:
    before = client.database.counters.statements
    answer = await client.post(
        "query($n: Int) { users(first: $n) { nodes { posts(first: 100) { nodes { author { posts(first: 9) { nodes"
        " { id } } } } } } } }",
        n=100,
    )
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "errors": [
                {
                    "message": "the operation's cost: 120201, and at most 25000 allowed",
                    "extensions": {
                        "code": "OPERATION_TOO_LARGE",
                        "limit": "cost",
                        "maximum": 25_000,
                        "measured": "120201",
                    },
                }
            ]
        },
    )
    assert client.database.counters.statements == before


async def test_client_that_requests_the_cost_receives_it(client: Client, sign_up: SignUp) -> None:
    await sign_up("ada")
    query = "{ users(first: 1) { nodes { posts(first: 10) { nodes { id } } } } }"
    nothing: dict[str, Any] = {"data": {"users": {"nodes": [{"posts": {"nodes": []}}]}}}
    answers = [
        (await client.http.post("/graphql", json={"query": query, "extensions": {"cost": wanted}})).json()
        for wanted in (True, False, None, 1, "yes")
    ]
    with_cost = {**nothing, "extensions": {"cost": {"requested": 13, "maximum": 25_000}}}
    assert answers == [with_cost, nothing, nothing, nothing, nothing]


# ---------------------------------------------------------------- bombs


def test_fragment_bomb_is_walked_once() -> None:
    """95 fragments that each spread the next one twice: 2^95 fields, and an exact price."""
    chain = " ".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }}" for n in range(95))
    bomb = analysed(f"{{ ...F0 }} {chain} fragment F95 on Query {{ viewer {{ id }} }}").pricing.price({})
    assert (bomb.depth, bomb.root_fields, bomb.cost, bomb.values) == (2, 2**95, 2**95, 2 * 2**95)
    assert [error.message for error in bomb.violations()] == [
        "the operation's root fields: more than 10^12, and at most 20 allowed",
        "the operation's cost: more than 10^12, and at most 25000 allowed",
        "the operation's values: more than 10^12, and at most 1000000 allowed",
    ]


# ---------------------------------------------------------------- the schema


def list_fields() -> Iterator[tuple[GraphQLNamedType, str, GraphQLField]]:
    for type_ in graphql_schema.type_map.values():
        if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("__"):
            for name, field in type_.fields.items():
                if is_list_type(get_nullable_type(field.type)):
                    yield type_, name, field


def fields_that_lead_to(target: GraphQLNamedType) -> Iterator[GraphQLField]:
    for type_ in graphql_schema.type_map.values():
        if isinstance(type_, GraphQLObjectType):
            yield from (one for one in type_.fields.values() if get_named_type(one.type) is target)


def is_sized(parent: GraphQLNamedType, name: str) -> bool:
    """Return whether every field of type `parent` passes a length to its list `name`."""
    sizes = [declared(field, ListSize) for field in fields_that_lead_to(parent)]
    return bool(sizes) and all(size is not None and name in (size.sized_fields or []) for size in sizes)


def test_every_list_of_objects_has_a_length_or_costs_nothing() -> None:
    without = [
        f"{parent.name}.{name}"
        for parent, name, field in list_fields()
        if is_composite_type(get_named_type(field.type))
        and declared(field, ListSize) is None
        and not is_sized(parent, name)
        and declared(field, Cost) != Cost(weight="0")
    ]
    assert without == []


def test_lengths_of_the_price_are_those_of_the_pages() -> None:
    assert (PAGE.assumed_size, LENGTH_MAX) == (PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


# ---------------------------------------------------------------- against what is resolved


def resolved_cost(value: object, name: str = "") -> int:
    """Return the cost of a response's fields by the weights: an object is 1, a count is 10."""
    if isinstance(value, list):
        return sum(resolved_cost(one, name) for one in value)
    if isinstance(value, dict):
        return 1 + sum(resolved_cost(one, key) for key, one in value.items())
    return 10 if name.startswith("total") else 0


async def test_price_is_never_below_the_cost_of_the_response(client: Client, cases: Cases) -> None:
    await seed(client.database, PLAN, "!", lambda *_: None)
    ids = [f"{kind.value}_{n}" for kind in NodeKind for n in range(1, 9)]
    objects, count = 0, examples(120)
    for _, chance in cases.numbered(count):
        query = OperationMaker(chance, graphql_schema, ids).query()
        operation = OPERATIONS.find(query, None)
        result = await OPERATIONS.run(operation, {}, client.services, Viewer(user_id=2, is_admin=True))
        assert result.errors is None, f"{result.errors}\n{query}"
        actual = resolved_cost(result.data) - 1
        objects += actual
        assert operation.pricing.price({}).cost >= actual, query
    assert cases.is_one or objects > 5 * count


async def test_price_of_full_pages_is_exactly_the_cost_of_the_response(client: Client) -> None:
    await seed(client.database, PLAN, "!", lambda *_: None)
    query = """{ users(first: 4, orderBy: [{field: CREATED_AT, direction: ASC}]) { totalCount pageInfo { endCursor }
        edges { node { id } } } posts(first: 30) { nodes { author { id } } } }"""
    data = await client.data(query)
    assert price(query).cost == resolved_cost(data) - 1 == 1 + 10 + 1 + 4 * 2 + 1 + 30 * 2
