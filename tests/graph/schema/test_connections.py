"""The arguments of connections: the default page, contradicting arguments, and invalid cursors.

Every refusal is a bug of the client: BAD_USER_INPUT with a message that describes valid arguments.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.graph.support.both_engines import OfEngine
from tests.graph.support.callers import Client, Person, SignUp
from tests.graph.support.population import Population, Text, day, insert_posts, insert_users, populate
from tests.graph.support.refusals import bad_input, unlocated

COUNT = 25

BOTH_LIMITS = "first and last cannot be combined; send one of them"
BOTH_WAYS = "use after with first and before with last: a page has one direction"
NO_CURSOR = (
    "{} is not a cursor of this list in this order; pass an endCursor, startCursor or edge cursor "
    "that the same list returned for the same orderBy"
)

REFUSED: Mapping[str, str] = {
    "first: 1, last: 1": BOTH_LIMITS,
    "first: 1, last: 1, after: $cursor": BOTH_LIMITS,
    "first: 0, last: 0": BOTH_LIMITS,
    "first: 1, before: $cursor": BOTH_WAYS,
    "last: 1, after: $cursor": BOTH_WAYS,
    "after: $cursor, before: $cursor": BOTH_WAYS,
    "first: 1, after: $cursor, before: $cursor": BOTH_WAYS,
    "last: 1, after: $cursor, before: $cursor": BOTH_WAYS,
    "first: 0": "first should be from 1 to 100, not 0",
    "first: 101": "first should be from 1 to 100, not 101",
    "first: -1": "first should be from 1 to 100, not -1",
    "first: -2147483648": "first should be from 1 to 100, not -2147483648",
    "first: 2147483647": "first should be from 1 to 100, not 2147483647",
    "last: 0": "last should be from 1 to 100, not 0",
    "last: 101": "last should be from 1 to 100, not 101",
    "last: -1": "last should be from 1 to 100, not -1",
    "last: 0, before: $cursor": "last should be from 1 to 100, not 0",
    'first: 1, after: "nonsense"': NO_CURSOR.format("after"),
    'last: 1, before: "nonsense"': NO_CURSOR.format("before"),
    'after: ""': NO_CURSOR.format("after"),
    'before: ""': NO_CURSOR.format("before"),
}

# Each connection field with the selection around it, so that each test covers all five.
FIELDS: Mapping[str, tuple[str, str]] = {
    "posts": ("{ ", "}"),
    "users": ("{ ", "}"),
    "user.posts": ('{ user(id: "user_3") { ', "} }"),
    "user.accounts": ('{ user(id: "user_3") { ', "} }"),
    "account.transactions": ('{ account(id: "account_1") { ', "} }"),
}


@pytest.fixture
async def admin(sign_up: SignUp) -> Person:
    """An administrator, who sees every row; the user with the id 2."""
    return await sign_up("root", admin=True)


@pytest.fixture
async def population(client: Client, admin: Person) -> Population:
    """Three rows of every kind; the users have the ids 3, 4 and 5."""
    return await populate(client.database, 3)


@pytest.fixture
async def posts(client: Client) -> list[str]:
    """The ids of 25 posts, newest first."""
    return (await insert_posts(client.database, [Text(created_at=day(number)) for number in range(COUNT)]))[::-1]


async def cursor_of(client: Client, around: tuple[str, str], field: str, by: Person) -> str:
    """Return the cursor of the last row of a connection."""
    data = await client.data(f"{around[0]}{field} {{ pageInfo {{ endCursor }} }} {around[1]}", by=by)
    inner = next(iter(data.values()))
    cursor: str = (inner if "pageInfo" in inner else inner[field])["pageInfo"]["endCursor"]
    return cursor


# ---------------------------------------------------------------- how many


async def ids_of(client: Client, arguments: str) -> list[str]:
    """Return the ids of the posts on the page with these `arguments`."""
    data = await client.data(f"{{ posts{arguments} {{ nodes {{ id }} }} }}")
    return [node["id"] for node in data["posts"]["nodes"]]


async def test_a_page_has_twenty_rows_by_default(client: Client, posts: Sequence[str]) -> None:
    last = (await client.data("{ posts(last: 1) { pageInfo { startCursor } } }"))["posts"]["pageInfo"]["startCursor"]
    first = (await client.data("{ posts(first: 1) { pageInfo { endCursor } } }"))["posts"]["pageInfo"]["endCursor"]
    assert await ids_of(client, "") == posts[:20]
    assert await ids_of(client, "(first: null, after: null, last: null, before: null)") == posts[:20]
    assert await ids_of(client, f'(after: "{first}")') == posts[1:21]
    assert await ids_of(client, f'(before: "{last}")') == posts[4:24]


async def test_a_page_has_the_requested_number_of_rows_from_either_end(client: Client, posts: Sequence[str]) -> None:
    assert await ids_of(client, "(first: 1)") == posts[:1]
    assert await ids_of(client, "(first: 7)") == posts[:7]
    assert await ids_of(client, "(first: 25)") == posts
    assert await ids_of(client, "(first: 100)") == posts
    assert await ids_of(client, "(last: 1)") == posts[-1:]
    assert await ids_of(client, "(last: 7)") == posts[-7:]
    assert await ids_of(client, "(last: 100)") == posts


async def test_counts_and_look_ahead_rows_are_read_only_if_selected(
    client: Client, posts: Sequence[str], of_engine: OfEngine
) -> None:
    cursor = (await client.data("{ posts(first: 5) { pageInfo { endCursor } } }"))["posts"]["pageInfo"]["endCursor"]
    counts = {
        "nodes { id }": 1,
        "edges { cursor } pageInfo { hasNextPage startCursor endCursor }": 1,
        "pageInfo { hasPreviousPage }": 2,
        "nodes { id } totalCount": of_engine(1, 2),  # the statement of the compiled engine's page includes it
        "totalCount pageInfo { hasNextPage hasPreviousPage }": of_engine(2, 3),
        "nodes { id } totalCount @skip(if: true)": 1,
        "nodes { id author { posts(first: 1) { nodes { id } } } } totalCount": of_engine(
            2, 4
        ),  # or the posts of the authors
    }
    query = "query ($cursor: String) { posts(first: 5, after: $cursor) { %s } }"
    assert {selection: await client.statements(query % selection, cursor=cursor) for selection in counts} == counts


async def test_the_count_is_of_the_whole_list_whatever_the_page(client: Client, posts: Sequence[str]) -> None:
    query = """{
      a: posts(first: 1) { totalCount }
      b: posts(last: 3) { totalCount }
      c: posts(filter: { createdAt: { lt: "2026-03-11T00:00:00Z" } }) { totalCount }
      d: posts(filter: { published: false }) { totalCount }
    }"""
    counts = {"a": 25, "b": 25, "c": 10, "d": 0}
    assert await client.data(query) == {name: {"totalCount": count} for name, count in counts.items()}


# ---------------------------------------------------------------- contradictions


@pytest.mark.parametrize("name", FIELDS)
async def test_contradicting_arguments_are_refused(
    client: Client, admin: Person, population: Population, name: str
) -> None:
    field, around = name.rpartition(".")[2], FIELDS[name]
    path = name.split(".")
    cursor = await cursor_of(client, around, field, admin)
    bodies, expected = {}, {}
    for arguments, message in REFUSED.items():
        written = arguments.replace("$cursor", f'"{cursor}"')
        query = f"{around[0]}{field}({written}) {{ nodes {{ id }} }} {around[1]}"
        bodies[arguments] = unlocated(await client.run(query, by=admin))
        expected[arguments] = bad_input(message, path, nullable=len(path) > 1)
    assert bodies == expected


async def test_a_refused_page_sends_no_statement(client: Client, posts: Sequence[str]) -> None:
    before = client.database.counters.statements
    await client.run("{ posts(first: 101) { nodes { id } totalCount } }")
    await client.run('{ posts(after: "x") { nodes { id } totalCount } }')
    assert client.database.counters.statements == before


async def test_a_number_beyond_32_bits_is_no_int(client: Client) -> None:
    document = "query ($first: Int) { posts(first: $first) { nodes { id } } }"
    headers = {"content-type": "application/json"}
    for number in (2**31, -(2**31) - 1, 2**63):
        literal = await client.run(f"{{ posts(first: {number}) {{ nodes {{ id }} }} }}")
        # As text, because many JSON libraries have no integer beyond 64 bits.
        body = f'{{"query": "{document}", "variables": {{"first": {number}}}}}'
        variable = (await client.http.post("/graphql", content=body, headers=headers)).json()
        assert [error["extensions"] for error in literal["errors"]] == [{"code": "GRAPHQL_VALIDATION_FAILED"}]
        assert [error["extensions"] for error in variable["errors"]] == [{"code": "BAD_USER_INPUT"}]
        assert (list(literal), list(variable)) == (["errors"], ["errors"])


# ---------------------------------------------------------------- a page for each parent

NESTED = """query ($cursor: String) {
  users(filter: { usernamePrefix: "author" }, orderBy: { field: USERNAME, direction: ASC }) {
    nodes {
      username
      posts(%s: 2, %s: $cursor, orderBy: { field: VIEWS, direction: ASC }) {
        nodes { views } pageInfo { hasNextPage hasPreviousPage } totalCount
      }
    }
  }
}"""


async def pages_of_authors(client: Client, limit: str, cursor_name: str, cursor: str | None) -> dict[str, Any]:
    """Return for each author the views on the page, whether rows follow and precede it, and the count."""
    data = await client.data(NESTED % (limit, cursor_name), cursor=cursor)
    return {
        node["username"]: (
            [post["views"] for post in node["posts"]["nodes"]],
            node["posts"]["pageInfo"]["hasNextPage"],
            node["posts"]["pageInfo"]["hasPreviousPage"],
            node["posts"]["totalCount"],
        )
        for node in data["users"]["nodes"]
    }


async def test_each_parent_has_a_page_of_its_own(client: Client) -> None:
    authors = await insert_users(client.database, [(f"author{count}", day(0)) for count in (0, 1, 2, 5)])
    for author, count in zip(authors, (0, 1, 2, 5), strict=True):
        number = int(author.removeprefix("user_"))
        await insert_posts(client.database, [Text(views=views, author_id=number) for views in range(count)])
    draft = Text(published=False, author_id=int(authors[1].removeprefix("user_")))
    await insert_posts(client.database, [draft])
    assert await pages_of_authors(client, "first", "after", None) == {
        "author0": ([], False, False, 0),
        "author1": ([0], False, False, 1),
        "author2": ([0, 1], False, False, 2),
        "author5": ([0, 1], True, False, 5),
    }
    assert await pages_of_authors(client, "last", "before", None) == {
        "author0": ([], False, False, 0),
        "author1": ([0], False, False, 1),
        "author2": ([0, 1], False, False, 2),
        "author5": ([3, 4], False, True, 5),
    }
    # A position is a place in the order, and valid for every parent's list.
    order = "orderBy: { field: VIEWS, direction: ASC }, filter: { views: { gte: 1 } }"
    cursor = (await client.data(f"{{ posts(first: 1, {order}) {{ pageInfo {{ endCursor }} }} }}"))["posts"]["pageInfo"]
    assert await pages_of_authors(client, "first", "after", cursor["endCursor"]) == {
        "author0": ([], False, False, 0),
        "author1": ([], False, True, 1),
        "author2": ([], False, True, 2),
        "author5": ([1, 2], True, True, 5),
    }
