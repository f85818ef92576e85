"""Operations that one statement answers: a row or a page, with the pages of the lists below it."""

from collections.abc import Mapping

import pytest

from db.settings import Settings
from tests.graph.support.callers import Client, Person, SignUp
from tests.graph.support.population import populate

# Each operation with its number of statements. The variables are the ids of rows, and a cursor of the list of posts.
PROFILE = "query ($user: ID!) { user(id: $user) { username createdAt posts(first: 15) { nodes { title views } } } }"
ARTICLE = (
    "query ($post: ID!) { post(id: $post) { title content author { username posts(first: 5) { nodes { title } } } } }"
)
OPERATIONS: Mapping[str, int] = {
    PROFILE: 1,
    ARTICLE: 1,
    "query ($user: ID!) { user(id: $user) { posts { edges { cursor node { title } } pageInfo { endCursor } } } }": 1,
    "query ($user: ID!) { user(id: $user) { posts(last: 2) { pageInfo { hasPreviousPage startCursor } } } }": 1,
    "query ($user: ID!, $n: Int) { user(id: $user) { posts(first: $n) { nodes { author { username } } } } }": 1,
    'query ($user: ID!) { user(id: $user) { posts(filter: { search: "title" }) { nodes { title } totalCount } } }': 1,
    "query ($user: ID!) { user(id: $user) { a: posts(first: 1) { nodes { id } } comments { nodes { body } } } }": 1,
    "query ($post: ID!) { post(id: $post) { comments(first: 2) { nodes { body } } author { username } } }": 1,
    "query ($user: ID!) { it: user(id: $user) { __typename id accounts { nodes { id } } } }": 1,
    'query { userByUsername(username: "READER1") { username posts(first: 10) { nodes { id title } } } }': 1,
    # The fourth list below a row, and what is not a list, are read separately.
    "query ($user: ID!) { user(id: $user) { posts { nodes { id } } profile { bio } } }": 2,
    "query ($user: ID!) { user(id: $user) { a: posts(first: 1) { nodes { id } } b: posts(first: 2) { nodes { id } } "
    "c: posts(first: 3) { nodes { id } } d: posts(first: 4) { nodes { id } } } }": 2,
    # A page in the middle of a list does not say what is behind it.
    "query ($user: ID!, $cursor: String) "
    "{ user(id: $user) { posts(first: 1, after: $cursor) { nodes { id } pageInfo { hasPreviousPage } } } }": 2,
    "query ($cursor: String) { posts(first: 20, after: $cursor, orderBy: [{ field: CREATED_AT, direction: DESC }], "
    "filter: { published: true }) { nodes { title author { username } } pageInfo { hasNextPage endCursor } } }": 1,
    "{ posts(first: 2) { totalCount edges { cursor node { title } } pageInfo { hasPreviousPage } } }": 1,
    "{ users(first: 2) { nodes { username posts(first: 2) { nodes { title } } } } }": 1,
    "{ users(first: 2) { edges { node { username posts(first: 2) { nodes { title } } } } } }": 1,
    "{ posts(first: 3) { nodes { author { posts(first: 2) { nodes { title } } } } } }": 1,
}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With the compiled engine: only it folds lists into the statement of their parents."""
    return settings.model_copy(update={"engine": "compiled"})


@pytest.mark.parametrize("caller", ["nobody", "member", "administrator"])
async def test_one_statement_reads_rows_with_the_pages_below_them(client: Client, sign_up: SignUp, caller: str) -> None:
    made = await populate(client.database, 5)
    by: Person | None = None if caller == "nobody" else await sign_up("reader", admin=caller == "administrator")
    session = int(by is not None)
    middle = await client.data("{ posts(first: 4) { pageInfo { endCursor } } }")
    values = {"user": made.users[1], "post": made.posts[0], "cursor": middle["posts"]["pageInfo"]["endCursor"], "n": 2}
    counted = {}
    for operation in OPERATIONS:
        variables = {name: value for name, value in values.items() if f"${name}:" in operation}
        first = await client.data(operation, by=by, **variables)  # by the ordinary engine
        for _ in range(2):  # the first attempt finds out whether one read answers it
            assert await client.data(operation, by=by, **variables) == first
        counted[operation] = await client.statements(operation, by=by, **variables) - session
    assert counted == OPERATIONS


@pytest.mark.parametrize("operation", [PROFILE, ARTICLE])
async def test_row_that_does_not_exist_has_no_pages(client: Client, operation: str) -> None:
    made = await populate(client.database, 2)
    for _ in range(3):
        assert await client.data(operation, user=made.users[0], post=made.posts[0])
        assert list((await client.data(operation, user="user_999", post="post_999")).values()) == [None]
