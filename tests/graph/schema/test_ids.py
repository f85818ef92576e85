"""Global ids: each object has one, with exactly one spelling, and any other id is refused with a reason."""

import string

import pytest
from graphql import GraphQLError
from hypothesis import given
from hypothesis import strategies as st

from graph.schema.ids import NodeKind, global_id, parse, parse_any
from graph.schema.root import graphql_schema
from tests.graph.support.callers import Client, SignUp
from tests.graph.support.population import populate
from tests.graph.support.refusals import bad_input, unlocated

BIGINT_MAX = 2**63 - 1
# With its article: a user.
ANY = {kind: f"an {kind.value}" if kind.value[0] in "aeio" else f"a {kind.value}" for kind in NodeKind}
assert (ANY[NodeKind.USER], ANY[NodeKind.ACCOUNT], ANY[NodeKind.POST]) == ("a user", "an account", "a post")

NO_IDS = [
    "",
    " ",
    "1",
    "post",
    "post_",
    "_1",
    "post_0",
    "post_00",
    "post_01",
    "post_-1",
    "post_+1",
    "post_1.0",
    "post_1e3",
    "post_1_000",
    "post_0x1",
    "post_ 1",
    "post_1 ",
    " post_1",
    "post_1\n",
    "post_1\t",
    "post__1",
    "post-1",
    "post:1",
    "post1",
    "post_1_1",
    "post_1post_1",
    "post_a",
    "post_9223372036854775808",
    "post_10000000000000000000",
    "post_" + "9" * 400,
    "Post_1",
    "POST_1",
    "posts_1",
    "profile_1",
    "session_1",
    "post_\uff11",
    "post_\u0661",
    "p\u043est_1",
    "UG9zdDox",
    "00000000-0000-0000-0000-000000000000",
    "post_1' OR '1'='1",
    "x" * 10_000,
    "null",
    "💥",
]


def test_an_id_is_the_kind_and_the_number_of_the_row() -> None:
    spelled = {kind: global_id(kind, 7) for kind in NodeKind}
    assert (spelled[NodeKind.USER], spelled[NodeKind.TRANSACTION]) == ("user_7", "transaction_7")
    assert spelled == {kind: f"{kind.value}_7" for kind in NodeKind}
    assert {kind: parse_any(id_, "id") for kind, id_ in spelled.items()} == {kind: (kind, 7) for kind in NodeKind}


@given(st.sampled_from(NodeKind), st.integers(1, BIGINT_MAX))
def test_every_row_has_one_id(kind: NodeKind, number: int) -> None:
    id_ = global_id(kind, number)
    assert parse_any(id_, "id") == (kind, number)
    assert parse(id_, kind, "id") == number
    for other in set(NodeKind) - {kind}:
        with pytest.raises(
            GraphQLError, match=f"^id is the id of {ANY[kind]}, but the id of {ANY[other]} is expected$"
        ):
            parse(id_, other, "id")


@given(
    st.text()
    | st.from_regex(rf"\A({'|'.join(kind.value for kind in NodeKind)})_[0-9 +-]{{0,25}}\Z")
    | st.text(string.ascii_letters + string.digits + "_- \n\uff11", max_size=30)
)
def test_an_accepted_text_is_the_spelling_of_an_id(text: str) -> None:
    try:
        kind, number = parse_any(text, "id")
    except GraphQLError:
        return
    assert global_id(kind, number) == text
    assert 0 < number <= BIGINT_MAX


# ---------------------------------------------------------------- over the API

NOT_AN_ID = "{} is not an id; send an `id` that the API has returned"


async def test_malformed_id_is_refused_in_a_variable_and_in_a_literal(client: Client) -> None:
    answers, expected = {}, {}
    for id_ in NO_IDS:
        literal = '"{}"'.format(id_.replace("\n", "\\n").replace("\t", "\\t"))
        answers[id_] = [
            unlocated(await client.run("query ($id: ID!) { node(id: $id) { id } }", id=id_)),
            unlocated(await client.run(f"{{ node(id: {literal}) {{ id }} }}")),
            unlocated(await client.run("query ($id: ID!) { post(id: $id) { id } }", id=id_)),
        ]
        refused = {field: bad_input(NOT_AN_ID.format("id"), [field], nullable=True) for field in ("node", "post")}
        expected[id_] = [refused["node"], refused["node"], refused["post"]]
    assert answers == expected


async def test_a_number_is_no_id_although_graphql_accepts_it(client: Client) -> None:
    variable = await client.run("query ($id: ID!) { node(id: $id) { id } }", id=1)
    literal = await client.run("{ node(id: 1) { id } }")
    refused = bad_input(NOT_AN_ID.format("id"), ["node"], nullable=True)
    assert [unlocated(variable), unlocated(literal)] == [refused] * 2


async def test_value_that_is_no_string_is_no_valid_id(client: Client) -> None:
    values: list[object] = [True, 1.5, [], {}, ["post_1", "post_2"]]
    for value in values:
        body = await client.run("query ($id: ID!) { node(id: $id) { id } }", id=value)
        assert [error["extensions"] for error in body["errors"]] == [{"code": "BAD_USER_INPUT"}], value
        assert "data" not in body


async def test_the_id_of_another_kind_is_refused_where_one_kind_is_required(client: Client) -> None:
    answers, expected = {}, {}
    for wanted_kind in NodeKind:
        for given_kind in NodeKind:
            body = await client.run(f'{{ {wanted_kind.value}(id: "{given_kind.value}_999") {{ id }} }}')
            answers[wanted_kind, given_kind] = unlocated(body)
            message = f"id is the id of {ANY[given_kind]}, but the id of {ANY[wanted_kind]} is expected"
            refused = bad_input(message, [wanted_kind.value], nullable=True)
            expected[wanted_kind, given_kind] = (
                {"data": {wanted_kind.value: None}} if wanted_kind is given_kind else refused
            )
    assert answers == expected


async def test_the_largest_possible_id_is_not_found(client: Client) -> None:
    ids = [f"{kind.value}_{BIGINT_MAX}" for kind in NodeKind]
    assert await client.data("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=ids) == {
        "nodes": [None] * len(NodeKind)
    }


def test_every_kind_of_node_has_a_query_of_its_name() -> None:
    assert graphql_schema.query_type is not None
    unnamed = sorted(kind.value for kind in NodeKind if kind.value not in graphql_schema.query_type.fields)
    assert unnamed == [], f"add a query of this name, which takes the id, as `post(id:)` does: {unnamed}"


def not_ids(*indexes: int) -> list[dict[str, object]]:
    """Return the errors, without locations, of malformed ids of `nodes` at these indexes."""
    return [
        {
            "message": NOT_AN_ID.format(f"ids[{index}]"),
            "path": ["nodes", index],
            "extensions": {"code": "BAD_USER_INPUT"},
        }
        for index in indexes
    ]


async def test_nodes_has_an_error_at_the_index_of_a_malformed_id_and_returns_the_others(client: Client) -> None:
    query = "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }"
    body = await client.run(query, ids=["user_1", "post_0", "user_2", "user_1"])
    one = {"id": "user_1"}
    assert unlocated(body) == {"data": {"nodes": [one, None, None, one]}, "errors": not_ids(1)}
    body = await client.run(query, ids=NO_IDS)
    errors = sorted(unlocated(body)["errors"], key=lambda error: int(error["path"][1]))
    assert (body["data"], errors) == ({"nodes": [None] * len(NO_IDS)}, not_ids(*range(len(NO_IDS))))


async def test_a_malformed_id_of_nodes_does_not_affect_the_rest_of_the_operation(client: Client) -> None:
    literal = '{ nodes(ids: ["", "user_1"]) { id } more: nodes(ids: [1]) { id } node(id: "user_1") { id } }'
    body = unlocated(await client.run(literal))
    one = {"id": "user_1"}
    assert body["data"] == {"nodes": [None, one], "more": [None], "node": one}
    assert {tuple(error["path"]) for error in body["errors"]} == {("nodes", 0), ("more", 0)}


# If the type of a field is non-null, the error makes the object around it null.
SMALLEST_FAILURES: dict[str, tuple[str, list[str | int], object]] = {
    'post(id: "post_1") { id }  user(id: "1") { id }': ("id", ["user"], {"post": None, "user": None}),
    'node(id: "post_1") { id }  post(id: "post_01") { id }': ("id", ["post"], {"node": None, "post": None}),
    'node(id: "post_1") { id }  account(id: "") { id }': ("id", ["account"], {"node": None, "account": None}),
    'user(id: "user_1") { id posts(filter: {authorId: "1"}) { totalCount } }  node(id: "post_1") { id }': (
        "filter.authorId",
        ["user", "posts"],
        {"user": None, "node": None},
    ),
    'posts(filter: {authorId: "1"}) { totalCount }  node(id: "post_1") { id }': ("filter.authorId", ["posts"], None),
}


@pytest.mark.parametrize("selected", SMALLEST_FAILURES)
async def test_a_malformed_id_fails_its_field_and_no_more_than_the_types_require(client: Client, selected: str) -> None:
    where, path, data = SMALLEST_FAILURES[selected]
    error = {"message": NOT_AN_ID.format(where), "path": path, "extensions": {"code": "BAD_USER_INPUT"}}
    assert unlocated(await client.run(f"{{ {selected} }}")) == {"data": data, "errors": [error]}


async def test_nodes_takes_a_hundred_ids_and_no_more(client: Client) -> None:
    query = "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }"
    assert await client.data(query, ids=[]) == {"nodes": []}
    assert await client.data(query, ids=["user_1"] * 100) == {"nodes": [{"id": "user_1"}] * 100}
    body = await client.run(query, ids=["user_1"] * 101)
    assert unlocated(body) == bad_input("ids has at most 100 ids, not 101", ["nodes"])


async def test_an_object_has_the_same_id_in_every_field(client: Client, sign_up: SignUp) -> None:
    admin = await sign_up("root", admin=True)
    population = await populate(client.database, 2)
    data = await client.data(
        """query ($user: ID!, $post: ID!, $account: ID!) {
          user(id: $user) { id posts(last: 1) { nodes { id } edges { node { id } } } accounts { nodes { id } } }
          userByUsername(username: "READER1") { id }
          post(id: $post) { id author { id } }
          account(id: $account) { id owner { id } }
          node(id: $user) { id }
        }""",
        by=admin,
        user=population.users[0],
        post=population.posts[0],
        account=population.accounts[0],
    )
    user, post, account = ({"id": id_} for id_ in (population.users[0], population.posts[0], population.accounts[0]))
    assert data == {
        "user": {
            **user,
            "posts": {"nodes": [post], "edges": [{"node": post}]},
            "accounts": {"nodes": [account]},
        },
        "userByUsername": user,
        "post": {**post, "author": user},
        "account": {**account, "owner": user},
        "node": user,
    }
