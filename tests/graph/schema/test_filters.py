"""Filters and orders of lists: which rows each part selects, alone and combined, and which inputs are refused."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.graph.support.callers import Client
from tests.graph.support.population import Text, day, insert_posts, insert_users
from tests.graph.support.refusals import bad_input, unlocated

POSTS = [
    Text("Quick brown fox", "It jumps over the lazy dog.", views=0, created_at=day(0)),
    Text("Slow brown bear", "It sleeps.", views=1, created_at=day(1)),
    Text("Fox hunting", "A brown dog, and a quick one.", views=5, created_at=day(2)),
    Text("On foxes", "There are many: 100% red_haired, it's said.", views=2**31 - 1, created_at=day(3)),
]
BY_ID = [{"field": "CREATED_AT", "direction": "ASC"}]
FIND_POSTS = (
    "query ($filter: PostFilter, $order: [PostOrder!]) { posts(filter: $filter, orderBy: $order) { nodes { id } } }"
)
FIND_USERS = """query ($filter: UserFilter, $order: [UserOrder!]) {
  users(filter: $filter, orderBy: $order) { nodes { username } }
}"""


@pytest.fixture
async def posts(client: Client) -> list[str]:
    """The ids of POSTS: post_1 to post_4."""
    return await insert_posts(client.database, POSTS)


async def found(client: Client, **filter_: Any) -> list[int]:
    """Return the numbers of the posts that a filter selects, oldest first."""
    data = await client.data(FIND_POSTS, filter=filter_, order=BY_ID)
    return [int(node["id"].removeprefix("post_")) for node in data["posts"]["nodes"]]


async def codes_of(client: Client, arguments: Sequence[str]) -> dict[str, str]:
    """Return the codes of the errors of `posts` for each of `arguments`; assert that no operation ran."""
    bodies = {one: await client.run(f"{{ posts({one}) {{ nodes {{ id }} }} }}") for one in arguments}
    assert [one for one, body in bodies.items() if "data" in body] == []
    return {one: " ".join(error["extensions"]["code"] for error in body["errors"]) for one, body in bodies.items()}


# ---------------------------------------------------------------- search

FOUND: Mapping[str, list[int]] = {
    # Words of any case and inflection, in the title or the content; all of them.
    "fox": [1, 3, 4],
    "FOXES": [1, 3, 4],
    "jumping": [1],
    "quick fox": [1, 3],
    "fox bear": [],
    "sleeps bear": [2],
    # A phrase.
    '"quick brown"': [1],
    '"brown quick"': [],
    '"brown fox" lazy': [1],
    # Title and content are one text: a phrase may begin in one and end in the other.
    '"bear it sleeps"': [2],
    '"hunting a brown"': [3],
    # Without a word, or without a phrase.
    "fox -hunting": [1, 4],
    'brown -"brown dog"': [1, 2],
    # Either.
    "bear or hunting": [2, 3],
    "bear OR hunting OR lazy": [1, 2, 3],
    '"slow brown" or hunting -dog': [2],
    # Stop words are ignored, unless the search has nothing else.
    "the fox": [1, 3, 4],
    "fox -the": [3, 4],
    "the -hunting": [1],
    "the": [1],
    '"the lazy"': [1],
    "a one": [3],
    "it a the and": [],
    "jumps or the": [1],
    # A search without a word is ignored.
    "": [1, 2, 3, 4],
    " ": [1, 2, 3, 4],
    "\t\n": [1, 2, 3, 4],
    '"': [1, 2, 3, 4],
    '""': [1, 2, 3, 4],
    "-": [1, 2, 3, 4],
    "or or or": [1, 2, 3, 4],
    "%": [1, 2, 3, 4],
    "\\": [1, 2, 3, 4],
    "💥": [1, 2, 3, 4],
    "- " * 250: [1, 2, 3, 4],
    # Anything that a user may type: never an error.
    '"quick brown': [1],
    '"""fox"': [1, 3, 4],
    "“quick brown”": [1],
    "--fox": [1, 3, 4],
    "fox or": [1, 3, 4],
    "fox -": [1, 3, 4],
    "fo%": [],
    "fo_": [],
    "100%": [4],
    "red_haired": [4],
    "it's said": [4],
    "fox\\": [1, 3, 4],
    "fox & bear | !quick": [],
    "fox:*": [1, 3, 4],
    "fox <-> hunting": [3],
    "(fox": [1, 3, 4],
    "')); DROP TABLE posts; --": [],
    "💥 fox": [1, 3, 4],
    "лиса": [],
    "fox " * 125: [1, 3, 4],
    "x" * 500: [],
}


async def test_a_search_has_the_syntax_of_web_searches(client: Client, posts: Sequence[str]) -> None:
    assert {search: await found(client, search=search) for search in FOUND} == FOUND


async def test_a_search_of_more_than_500_characters_is_refused(client: Client, posts: Sequence[str]) -> None:
    body = await client.run(FIND_POSTS, filter={"search": "x" * 501})
    assert unlocated(body) == bad_input("filter.search has at most 500 characters, not 501", ["posts"])


@pytest.mark.parametrize("search", ["-fox", "-zzzz -fox", 'fox or -"lazy dog"', "-fox or bear", "? -the"])
async def test_a_search_that_only_excludes_is_refused(client: Client, posts: Sequence[str], search: str) -> None:
    body = await client.run(FIND_POSTS, filter={"search": search})
    message = 'filter.search should name a word to find; "-word" alone only excludes results'
    assert unlocated(body) == bad_input(message, ["posts"])


# ---------------------------------------------------------------- usernames

NAMES = ["Alice", "alina", "al_x", "al0", "Bob", "zed", "Zz_top", "kate"]
BEGINNING: Mapping[str, list[str]] = {
    "al": ["al0", "al_x", "Alice", "alina"],
    "AL": ["al0", "al_x", "Alice", "alina"],
    "Ali": ["Alice", "alina"],
    "alice": ["Alice"],
    "alices": [],
    # No wild cards.
    "al_": ["al_x"],
    "al%": [],
    "%": [],
    "_": [],
    "l": [],
    "z": ["zed", "Zz_top"],
    "zz_TOP": ["Zz_top"],
    "": ["al0", "al_x", "Alice", "alina", "Bob", "kate", "zed", "Zz_top"],
    " \t\n": ["al0", "al_x", "Alice", "alina", "Bob", "kate", "zed", "Zz_top"],
    " al": ["al0", "al_x", "Alice", "alina"],
    "alice ": ["Alice"],
    "a l": [],
    "{": [],
    "al{": [],
    "~": [],
    "\\": [],
    "al\\": [],
    "é": [],
    "\uff41\uff4c": [],
    "💥": [],
    # The Kelvin sign, whose lower case is a k.
    "\u212aate": [],
    "a" * 10_000: [],
}


async def test_a_username_begins_with_a_prefix_letter_by_letter_whatever_the_case(client: Client) -> None:
    await insert_users(client.database, [(name, day(0)) for name in NAMES])
    order = [{"field": "USERNAME", "direction": "ASC"}]
    answered = {}
    for prefix in BEGINNING:
        data = await client.data(FIND_USERS, filter={"usernamePrefix": prefix}, order=order)
        answered[prefix] = [node["username"] for node in data["users"]["nodes"]]
    assert answered == BEGINNING


async def test_a_user_is_found_by_the_whole_name_whatever_its_case(client: Client) -> None:
    [kate] = await insert_users(client.database, [("Kate", day(0))])
    query = "query ($name: String!) { userByUsername(username: $name) { id } }"
    answers = [await client.data(query, name=name) for name in ("Kate", "kATE", "kat", "kate ", "", "%", "\u212aate")]
    found_and_not = [{"id": kate}, {"id": kate}, None, None, None, None, None]
    assert answers == [{"userByUsername": user} for user in found_and_not]


async def test_users_are_filtered_by_whether_they_are_active_and_when_they_signed_up(client: Client) -> None:
    await insert_users(client.database, [("early", day(0)), ("late", day(5))])
    await insert_users(client.database, [("gone", day(1))], active=False)
    filters: list[tuple[dict[str, Any], list[str]]] = [
        ({"isActive": True}, ["early", "late"]),
        ({"isActive": False, "usernamePrefix": "g"}, ["gone"]),
        ({"isActive": False, "usernamePrefix": "e"}, []),
        ({"createdAt": {"gte": "2026-03-02T00:00:00Z", "lt": "2026-03-06T00:00:00Z"}}, ["gone"]),
        ({"createdAt": {"gte": "2026-03-02T00:00:00Z", "lt": "2026-03-06T00:00:00.000001Z"}}, ["gone", "late"]),
        ({"isActive": True, "createdAt": {"lt": "2026-03-06T01:00:00+01:00"}}, ["early"]),
        ({"isActive": None, "usernamePrefix": None, "createdAt": None}, ["early", "gone", "late"]),
    ]
    answers = [
        await client.data(FIND_USERS, filter=one, order=[{"field": "CREATED_AT", "direction": "ASC"}])
        for one, _ in filters
    ]
    assert [[node["username"] for node in data["users"]["nodes"]] for data in answers] == [
        expected for _, expected in filters
    ]


# ---------------------------------------------------------------- ranges and parts

EVERYTHING = [1, 2, 3, 4]
FILTERED: Sequence[tuple[dict[str, Any], list[int]]] = [
    ({"views": {"gte": 1}}, [2, 3, 4]),
    ({"views": {"lte": 1}}, [1, 2]),
    ({"views": {"gte": 1, "lte": 5}}, [2, 3]),
    ({"views": {"gte": 5, "lte": 5}}, [3]),
    ({"views": {"gte": 5, "lte": 4}}, []),
    ({"views": {"gte": -(2**31), "lte": 2**31 - 1}}, EVERYTHING),
    ({"views": {"gte": 2**31 - 1}}, [4]),
    ({"views": {"lte": -1}}, []),
    ({"createdAt": {"gte": "2026-03-02T00:00:00Z"}}, [2, 3, 4]),
    ({"createdAt": {"lt": "2026-03-02T00:00:00Z"}}, [1]),
    ({"createdAt": {"gte": "2026-03-02T00:00:00Z", "lt": "2026-03-02T00:00:00.000001Z"}}, [2]),
    ({"createdAt": {"gte": "2026-03-02T00:00:00Z", "lt": "2026-03-02T00:00:00Z"}}, []),
    ({"createdAt": {"gte": "2026-03-04T00:00:00Z", "lt": "2026-03-02T00:00:00Z"}}, []),
    ({"createdAt": {"gte": "2026-03-01T23:00:00-01:00"}}, [2, 3, 4]),
    ({"createdAt": {"gte": "0001-01-01T00:00:00Z", "lt": "9999-12-31T23:59:59.999999Z"}}, EVERYTHING),
    ({"published": True}, EVERYTHING),
    ({"published": False}, []),
    ({"authorId": "user_1"}, EVERYTHING),
    ({"authorId": "user_999"}, []),
    ({"authorId": "user_9223372036854775807"}, []),
    ({"search": "brown", "views": {"gte": 1}, "createdAt": {"gte": "2026-03-03T00:00:00Z"}, "authorId": "user_1"}, [3]),
    # A null part is treated as absent.
    ({}, EVERYTHING),
    ({"published": None, "authorId": None, "search": None, "views": None, "createdAt": None}, EVERYTHING),
    ({"views": {}, "createdAt": {}}, EVERYTHING),
    ({"views": {"gte": None, "lte": None}, "createdAt": {"gte": None, "lt": None}}, EVERYTHING),
    ({"views": {"gte": None, "lte": 0}, "search": None}, [1]),
]


async def test_all_parts_of_a_filter_apply_and_null_parts_are_ignored(client: Client, posts: Sequence[str]) -> None:
    assert [(one, await found(client, **one)) for one, _ in FILTERED] == FILTERED
    data = await client.data(FIND_POSTS, filter=None, order=BY_ID)
    assert [node["id"] for node in data["posts"]["nodes"]] == posts


INVALID = [
    "filter: { views: { gte: 2147483648 } }",
    "filter: { views: { lte: -2147483649 } }",
    "filter: { views: { gte: 1.0 } }",
    'filter: { views: { gte: "1" } }',
    "filter: { views: 1 }",
    'filter: { createdAt: { gte: "2026-03-02" } }',
    'filter: { published: "true" }',
    "filter: { search: 1 }",
    'filter: { title: "x" }',
]
NO_AUTHOR = "filter.authorId is not an id; send an `id` that the API has returned"


async def test_a_filter_of_the_wrong_type_is_no_valid_operation(client: Client) -> None:
    assert await codes_of(client, INVALID) == dict.fromkeys(INVALID, "GRAPHQL_VALIDATION_FAILED")


async def test_an_author_id_of_another_kind_is_refused(client: Client) -> None:
    messages = {
        "post_1": "filter.authorId is the id of a post, but the id of a user is expected",
        "user_0": NO_AUTHOR,
        "1": NO_AUTHOR,
        "": NO_AUTHOR,
    }
    bodies = {author: unlocated(await client.run(FIND_POSTS, filter={"authorId": author})) for author in messages}
    assert bodies == {author: bad_input(message, ["posts"]) for author, message in messages.items()}


async def test_the_posts_of_a_user_never_include_others_whatever_the_filter(
    client: Client, posts: Sequence[str]
) -> None:
    [other] = await insert_users(client.database, [("other", day(0))])
    query = """query ($id: ID!, $author: ID) {
      user(id: $id) { posts(filter: { authorId: $author }) { totalCount nodes { id } } }
    }"""
    empty = {"user": {"posts": {"totalCount": 0, "nodes": []}}}
    assert await client.data(query, id=other, author="user_1") == empty
    assert await client.data(query, id="user_1", author=other) == empty
    assert (await client.data(query, id="user_1", author="user_1"))["user"]["posts"]["totalCount"] == 4


# ---------------------------------------------------------------- orderBy


async def test_an_empty_or_null_order_is_the_default_and_one_term_needs_no_list(
    client: Client, posts: Sequence[str]
) -> None:
    newest_first = {"posts": {"nodes": [{"id": id_} for id_ in reversed(posts)]}}
    for order in ("[]", "null", "{ field: CREATED_AT, direction: DESC }", "[{ field: VIEWS, direction: DESC }]"):
        assert await client.data(f"{{ posts(orderBy: {order}) {{ nodes {{ id }} }} }}") == newest_first


async def test_an_order_that_names_a_field_twice_is_refused(client: Client) -> None:
    order = "orderBy: [{ field: %s, direction: %s }, { field: %s, direction: %s }]"
    for field, term in (("posts", "VIEWS"), ("posts", "CREATED_AT"), ("users", "USERNAME")):
        for directions in (("ASC", "ASC"), ("ASC", "DESC")):
            written = order % (term, directions[0], term, directions[1])
            body = await client.run(f"{{ {field}({written}) {{ nodes {{ id }} }} }}")
            assert unlocated(body) == bad_input("orderBy names a field twice", [field])


async def test_an_order_of_the_wrong_type_is_no_valid_operation(client: Client) -> None:
    orders = [
        "orderBy: [null]",
        "orderBy: { field: VIEWS }",
        "orderBy: { direction: ASC }",
        "orderBy: { field: views, direction: ASC }",
        'orderBy: { field: "VIEWS", direction: ASC }',
        "orderBy: { field: CONTENT, direction: ASC }",
        "orderBy: { field: VIEWS, direction: null }",
        "orderBy: VIEWS",
    ]
    assert await codes_of(client, orders) == dict.fromkeys(orders, "GRAPHQL_VALIDATION_FAILED")
