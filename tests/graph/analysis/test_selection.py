"""Only the columns that an operation selects are read: the tests record the SQL itself.

A page also reads the columns of its order if it makes cursors of them; a lookup by key also reads the key.
"""

import tracemalloc
from collections.abc import Mapping

import pytest

from tests.graph.support.analysing import analysed
from tests.graph.support.callers import Client, Person, SignUp
from tests.graph.support.population import Population, populate
from tests.graph.support.recording import columns_read, recorded

READ_BY_ANYBODY: Mapping[str, list[str]] = {
    # A column that is selected at several places is read once.
    "{ posts { nodes { title } } }": ["posts: title"],
    "{ posts { edges { node { title } } } }": ["posts: title"],
    "{ posts { nodes { title } edges { node { views } } } }": ["posts: title views"],
    "{ postsPage { posts { title } } }": ["posts: id title"],
    '{ post(id: "post_1") { title } }': ["posts: id title"],
    '{ nodes(ids: ["post_1"]) { ... on Post { title } } }': ["posts: id title"],
    '{ userByUsername(username: "reader1") { isActive } }': ["users: id is_active username_key"],
    # Only the count and the end of the page.
    "{ posts { nodes { __typename } } }": ["posts: id"],
    "{ posts { pageInfo { hasNextPage hasPreviousPage } totalCount } }": ["posts: id"],
    "{ posts { pageInfo { hasNextPage startCursor } } }": ["posts: created_at id"],
    "{ postsPage { totalPages } }": ["posts: id"],
    # The columns of the order, only for cursors.
    "{ posts(orderBy: { field: VIEWS, direction: ASC }) { nodes { title } pageInfo { endCursor } } }": [
        "posts: id title views"
    ],
    "{ posts { ...C nodes { title } } } fragment C on PostConnection { edges { cursor } }": [
        "posts: created_at id title"
    ],
    "{ users(first: 1) { nodes { posts(first: 1) { edges { cursor } } } } }": ["users: id", "posts: created_at id"],
    "{ posts(orderBy: { field: VIEWS, direction: ASC }) { nodes { title } } }": ["posts: title"],
    "{ posts(orderBy: { field: TITLE, direction: ASC }) { edges { cursor } } }": ["posts: id title_key"],
    "{ users(orderBy: { field: USERNAME, direction: DESC }) { nodes { createdAt } } }": ["users: created_at"],
    # An edge reads its key, and no column of its parent or its children.
    "{ posts { nodes { author { username } } } }": ["posts: author_id"],  # and the author, joined to it
    "{ users { nodes { profile { bio } } } }": ["users: id", "profiles: bio user_id"],
    "{ users(first: 1) { nodes { posts(first: 1) { nodes { title } } } } }": ["users: id", "posts: title"],
    # An alias does not change what is read.
    "{ posts { nodes { version: title title: views } } }": ["posts: title views"],
    # A field that a directive skips counts, too: one column too many is cheap, one too few is a bug.
    "{ posts { nodes { title content @include(if: false) } } }": ["posts: content title"],
    "{ posts { nodes { title content @skip(if: true) } } }": ["posts: content title"],
    "{ posts { nodes { title ... @include(if: false) { author { email } } } } }": ["posts: author_id title"],
    # Fragments count like their fields, nested or spread twice.
    "{ posts { nodes { ...A } } } fragment A on Post { title ...B } fragment B on Post { views }": [
        "posts: title views"
    ],
    "{ posts { ...P nodes { ...A } } } fragment P on PostConnection { nodes { ...A } } fragment A on Post { title }": [
        "posts: title"
    ],
    "{ posts { nodes { ... on Post { title } ... on Node { id } ... { views } } } }": ["posts: id title views"],
    # A fragment on an interface reads the column of each possible type.
    '{ nodes(ids: ["user_3", "post_1"]) { ...N } } fragment N on Node { id ... on User { username } }': [
        "users: id username",
        "posts: id",
    ],
    # Two aliases of one field share their reads.
    "{ a: posts(first: 1) { nodes { title } } b: posts(first: 2) { nodes { views } } }": [
        "posts: title views",
        "posts: title views",
    ],
}

READ_BY_AN_ADMINISTRATOR: Mapping[str, list[str]] = {
    "{ users(last: 1) { nodes { accounts { nodes { createdAt } } } } }": [
        "users: id",
        "accounts: created_at",
    ],
    '{ user(id: "user_3") { accounts { nodes { balance { amount } } } } }': [
        "users: id",
        "accounts: balance currency_code",
    ],
    '{ account(id: "account_1") { transactions { nodes { memo } } } }': ["accounts: id", "transactions: memo id"],
    '{ account(id: "account_1") { transactions { nodes { amount { amount } } } } }': [
        "accounts: id",
        "transactions: amount currency_code id",
    ],
    '{ transaction(id: "transaction_1") { from { owner { email } } } }': [
        "transactions: from_id id",
        "accounts: id owner_id",
        "users: email id",
    ],
    '{ transaction(id: "transaction_1") { to { currencyCode } } }': [
        "transactions: id to_id",
        "accounts: currency_code id",
    ],
}


@pytest.fixture
async def admin(sign_up: SignUp) -> Person:
    """An administrator, who sees every row; the user with the id 2."""
    return await sign_up("root", admin=True)


@pytest.fixture
async def population(client: Client, admin: Person) -> Population:
    """Two of everything; the users have the ids 3 and 4."""
    return await populate(client.database, 2)


async def read(client: Client, query: str, by: Person | None = None) -> list[str]:
    """Return what the statements of an operation read."""
    with recorded() as queries:
        await client.data(query, by=by)
    return columns_read(queries)


async def test_an_operation_reads_the_columns_it_selects_and_no_others(
    client: Client, admin: Person, population: Population
) -> None:
    for by, expected in ((None, READ_BY_ANYBODY), (admin, READ_BY_AN_ADMINISTRATOR)):
        found = {query: await read(client, query, by) for query in expected}
        assert found == {query: sorted(reads) for query, reads in expected.items()}


async def test_a_field_reads_the_same_columns_whether_a_variable_skips_it_or_not(
    client: Client, population: Population
) -> None:
    query = "query ($full: Boolean!) { posts(first: 1) { nodes { title content @include(if: $full) } } }"
    reads, answers = [], []
    for full in (True, False):
        with recorded() as queries:
            answers.append(await client.data(query, full=full))
        reads += columns_read(queries)
    assert reads == ["posts: content title"] * 2
    title = "Title 3 4"
    assert answers == [
        {"posts": {"nodes": [{"title": title, "content": "Content."}]}},
        {"posts": {"nodes": [{"title": title}]}},
    ]


async def test_an_author_at_two_places_is_read_once_with_the_columns_of_both(
    client: Client, population: Population
) -> None:
    query = """{
      posts(first: 3) { nodes { author { username } } }
      postsPage(pageSize: 3) { posts { author { isActive } } }
    }"""
    with recorded() as queries:
        data = await client.data(query)
    assert columns_read(queries) == [
        "posts: author_id",
        "posts: author_id id",
        "users: id is_active username",
    ]
    keys = [list(map(int, query.args[0])) for query in queries if "FROM users" in query.query]
    assert list(map(sorted, keys)) == [[3, 4]]
    assert data == {
        "posts": {"nodes": [{"author": {"username": name}} for name in ("reader2", "reader1", "reader2")]},
        "postsPage": {"posts": [{"author": {"isActive": True}} for _ in range(3)]},
    }


async def test_a_batch_names_every_key_once(client: Client, population: Population) -> None:
    with recorded() as queries:
        data = await client.data("{ posts(first: 6) { nodes { author { profile { bio } } } } }")
    assert len(data["posts"]["nodes"]) == 6
    assert [list(query.args[0]) for query in queries[1:]] == [[4, 3]]


async def test_an_email_that_the_viewer_may_not_see_is_not_even_read(
    client: Client, admin: Person, population: Population, sign_up: SignUp
) -> None:
    member = await sign_up("member")
    query = '{ user(id: "user_3") { email } }'
    projections = []
    for by in (None, member, admin):
        with recorded() as queries:
            await client.data(query, by=by)
        projections.append(queries[-1].query.partition(" AS email, users.id AS id")[0])
    assert projections == [
        "SELECT NULL",
        "SELECT CASE WHEN (users.id = $1::BIGINT) THEN users.email END",
        "SELECT users.email",
    ]


@pytest.mark.parametrize(
    ("selected", "fetched"),
    [
        ("nodes { id }", 3),
        ("pageInfo { startCursor endCursor } edges { cursor node { id } }", 3),
        ("nodes { id } pageInfo { hasNextPage }", 4),
        ("nodes { id } pageInfo { ...Ends }", 4),
        ("nodes { id } pageInfo { hasPreviousPage }", 4),
    ],
)
async def test_row_after_a_page_is_fetched_only_if_the_page_info_needs_it(
    client: Client, population: Population, selected: str, fetched: int
) -> None:
    fragment = "fragment Ends on PageInfo { hasNextPage }" if "...Ends" in selected else ""
    for lists in (
        f"posts(first: 3) {{ {selected} }}",
        f"users(first: 1) {{ nodes {{ posts(first: 3) {{ {selected} }} }} }}",
    ):
        with recorded() as queries:
            await client.data(f"{{ {lists} }} {fragment}")
        assert [query.args[-1] for query in queries if "FROM posts" in query.query] == [fetched]


def test_operation_keeps_a_bounded_number_of_selections_whatever_orders_are_requested() -> None:
    selection = analysed("{ posts { edges { cursor node { title } } } }").selection
    tracemalloc.start()
    for number in range(2000):
        order = (f"column_{number}", "id")
        assert selection.page_columns("Query", "posts", "Post", order) == (f"column_{number}", "id", "title")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 50_000
