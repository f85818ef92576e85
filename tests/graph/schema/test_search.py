"""Searching posts through the API: ranked, page by page, in every list of posts."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.graph.support.callers import Client
from tests.graph.support.population import Text, day, insert_posts, insert_users
from tests.graph.support.refusals import bad_input, unlocated
from tests.running.amounts import examples
from tests.running.repeating import Cases

BEST = [{"field": "RELEVANCE", "direction": "DESC"}]
PAGE = """query ($search: String, $order: [PostOrder!], $first: Int, $after: String) {
  posts(first: $first, after: $after, filter: { search: $search }, orderBy: $order) {
    totalCount nodes { title } edges { cursor } pageInfo { endCursor hasNextPage }
  }
}"""
# From the best match for "fox" to the worst, and one that does not match.
TEXTS = [
    Text("Fox", "All about the fox.", created_at=day(2)),
    Text("The fox and the crow", "A fable.", created_at=day(0)),
    Text("A fable", "Fox and fox: a fox!", created_at=day(5)),
    Text("Animals", "Bear, fox, wolf.", created_at=day(1)),
    Text("A very long story", "Once there was a fox. " + "And then came another day with weather. " * 40),
    Text("Bears", "They sleep.", created_at=day(3)),
]
RANKED = [text.title for text in TEXTS[:-1]]


@pytest.fixture
async def posts(client: Client) -> list[str]:
    """The ids of TEXTS, which are created in another order than their rank."""
    shuffled = [TEXTS[place] for place in (3, 0, 5, 2, 4, 1)]
    return await insert_posts(client.database, shuffled)


async def page(client: Client, **variables: Any) -> dict[str, Any]:
    data = await client.data(PAGE, **{"order": BEST, "first": 10, **variables})
    found: dict[str, Any] = data["posts"]
    return found


def titles(found: dict[str, Any]) -> list[str]:
    return [node["title"] for node in found["nodes"]]


async def test_the_best_match_is_first_or_last(client: Client, posts: Sequence[str]) -> None:
    best = await page(client, search="fox")
    assert (titles(best), best["totalCount"]) == (RANKED, len(RANKED))
    worst = await page(client, search="fox", order=[{"field": "RELEVANCE", "direction": "ASC"}])
    assert titles(worst) == RANKED[::-1]


async def test_pages_by_relevance_are_stable_while_others_write(client: Client, posts: Sequence[str]) -> None:
    walked, after = [], None
    for number in range(len(RANKED)):
        found = await page(client, search="fox", first=1, after=after)
        walked += titles(found)
        after = found["pageInfo"]["endCursor"]
        assert found["pageInfo"]["hasNextPage"] == (number < len(RANKED) - 1)
        # A better match than all others, so that every later place moves by one.
        await insert_posts(client.database, [Text("Fox fox", "fox", created_at=day(6 + number))])
    assert walked == RANKED


async def test_posts_that_match_alike_are_ordered_by_the_next_term_and_by_their_age(client: Client) -> None:
    same = [Text("Twin", "the same words", views=views, created_at=day(views)) for views in (1, 3, 2)]
    ids = await insert_posts(client.database, same)
    query = 'query ($order: [PostOrder!]) { posts(filter: { search: "words" }, orderBy: $order) { nodes { id } } }'
    newest = await client.data(query, order=BEST)
    viewed = await client.data(query, order=[*BEST, {"field": "VIEWS", "direction": "ASC"}])
    assert [node["id"] for node in newest["posts"]["nodes"]] == ids[::-1]
    assert [node["id"] for node in viewed["posts"]["nodes"]] == [ids[0], ids[2], ids[1]]


async def test_a_cursor_of_another_search_is_refused(client: Client, posts: Sequence[str]) -> None:
    cursor = (await page(client, search="fox", first=1))["pageInfo"]["endCursor"]
    assert titles(await page(client, search="  the FOX", after=cursor)) == RANKED[1:]  # which is the same search
    for search in ("bear", "fox crow", ""):
        body = await client.run(PAGE, search=search, order=BEST, after=cursor)
        refused = bad_input(
            "after is not a cursor of this list in this order; pass an endCursor, startCursor or edge cursor "
            "that the same list returned for the same orderBy",
            ["posts"],
        )
        assert unlocated(body) == refused


async def test_without_a_search_all_posts_match_alike(client: Client, posts: Sequence[str]) -> None:
    by_views = {"field": "VIEWS", "direction": "ASC"}
    for search in (None, "", "  ", "?!"):
        assert await page(client, search=search) == await page(client, search=search, order=None)
        assert (await page(client, search=search))["totalCount"] == len(TEXTS)
        ordered = await page(client, search=search, order=[*BEST, by_views])
        assert ordered == await page(client, search=search, order=[by_views])
    twice = await client.run(PAGE, search=None, order=[*BEST, *BEST])
    assert unlocated(twice) == bad_input("orderBy names a field twice", ["posts"])


async def test_every_list_of_posts_is_ranked(client: Client, posts: Sequence[str]) -> None:
    [other] = await insert_users(client.database, [("other", day(0))])
    [writer] = await insert_users(client.database, [("writer", day(1))])
    theirs = [replace(TEXTS[place], author_id=int(writer.removeprefix("user_"))) for place in (3, 5)]
    await insert_posts(client.database, theirs)
    data = await client.data(
        """query ($order: [PostOrder!], $other: ID!) {
          postsPage(page: 2, pageSize: 2, filter: { search: "fox" }, orderBy: $order) { posts { title } total }
          user(id: "user_1") { posts(filter: { search: "fox" }, orderBy: $order, first: 3) {
            nodes { title } edges { cursor } totalCount } }
          other: user(id: $other) { posts(filter: { search: "fox" }, orderBy: $order) { nodes { title } } }
          users { nodes { posts(filter: { search: "bear" }, orderBy: $order) { nodes { title } } } }
        }""",
        order=BEST,
        other=other,
    )
    assert [post["title"] for post in data["postsPage"]["posts"]] == RANKED[2:4]
    assert data["postsPage"]["total"] == len(RANKED) + 1
    assert titles(data["user"]["posts"]) == RANKED[:3]
    assert data["user"]["posts"]["totalCount"] == len(RANKED)
    assert data["other"]["posts"]["nodes"] == []
    assert [titles(user["posts"]) for user in data["users"]["nodes"]] == [["Bears", "Animals"], []]
    after = data["user"]["posts"]["edges"][0]["cursor"]
    following = await client.data(
        """query ($order: [PostOrder!], $after: String) {
          user(id: "user_1") { posts(filter: { search: "fox" }, orderBy: $order, after: $after) { nodes { title } } }
        }""",
        order=BEST,
        after=after,
    )
    assert titles(following["user"]["posts"]) == RANKED[1:]


TITLES = ["zebra", "Äpfel", "apple", "10 ways", "2 ways", "Ecu", "école", "Éclair", "Banana"]
ALPHABET = ["10 ways", "2 ways", "Äpfel", "apple", "Banana", "Éclair", "école", "Ecu", "zebra"]


async def test_titles_are_ordered_alphabetically_and_paged_in_this_order(client: Client) -> None:
    await insert_posts(client.database, [Text(title=title, created_at=day(0)) for title in TITLES])
    for direction, expected in (("ASC", ALPHABET), ("DESC", ALPHABET[::-1])):
        walked, after = [], None
        while True:
            order = [{"field": "TITLE", "direction": direction}]
            found = await page(client, order=order, first=2, after=after)
            walked += titles(found)
            if not found["pageInfo"]["hasNextPage"]:
                break
            after = found["pageInfo"]["endCursor"]
        assert walked == expected


LONGEST = 500
# Texts that PostgreSQL's search parsers failed on, or might: each alone, next to a word, and as often as fits.
ODD_PARTS = [
    *[
        "-",
        '"',
        "'",
        "(",
        ")",
        "()",
        ":",
        ":*",
        ":A",
        "*",
        "\\",
        "\\\\",
        "\\'",
        "&",
        "|",
        "!",
        "!!",
        "<->",
        "<3>",
        "<",
        ">",
    ],
    *[
        "or",
        "or or",
        "and not",
        "-or",
        "--",
        '-"',
        '"-',
        "-(",
        "%",
        "_",
        "$1",
        "$$",
        ";",
        "/*",
        "--x",
        "\t\n",
        "\x01",
        "\x7f",
    ],
    *[
        "😀",
        "👩‍👩‍👧",
        "\ufeff",
        "\u200b",
        "\u00ad",
        "\u0301",
        "\U0010ffff",
        "\ufffd",
        "\ufffe",
        "東",
        "ก",
        "한",
        "𠀀",
        "ﷺ",
        "İ",
    ],
]
ODD_SEARCHES = [
    *["-" * 33, "-" * 32 + "fox", '"' * LONGEST, "x" * LONGEST, "fox " + "é" * 400, "ﷺ" * LONGEST, "東" * LONGEST],
    *["(" * 250 + ")" * 250, "!" * 250 + "(" * 250, "a" + "-" * 33, "a-b" * 150, "-a " * 160 + "fox", "or " * 166],
    *[f"{part} fox" for part in ODD_PARTS],
    *[part * (LONGEST // len(part)) for part in ODD_PARTS],
    *[f"{part} " * (LONGEST // (len(part) + 1)) for part in ODD_PARTS],
    *[f"fox{part}" * (LONGEST // (len(part) + 3)) for part in ODD_PARTS],
]
ODD_DOCUMENT = """query ($odd: String!) {
  posts(first: 2, filter: { search: $odd }, orderBy: [{ field: RELEVANCE, direction: DESC }]) {
    nodes { id } totalCount
  }
  postsPage(filter: { search: $odd }) { posts { id } total }
  user(id: "user_1") { posts(filter: { search: $odd }) { totalCount } }
}"""
CONTROLLED = ("\0", "fox\0", "\ud800", "fox \udfff bear")


async def test_every_search_is_answered_or_refused_as_bad_input(
    client: Client, posts: Sequence[str], cases: Cases
) -> None:
    mixed = (
        " ".join(chance.choices([*ODD_PARTS, "fox"], k=90))[:LONGEST] for _, chance in cases.numbered(examples(60))
    )
    answered = 0
    for search in itertools.chain(ODD_SEARCHES, mixed):
        body = await client.run(ODD_DOCUMENT, odd=search)
        codes = {error["extensions"]["code"] for error in body.get("errors", ())}
        assert codes <= {"BAD_USER_INPUT"}, (search, codes)
        answered += not codes
    assert answered > len(ODD_SEARCHES) / 2
    assert titles(await page(client, search="fox")) == RANKED


@pytest.mark.parametrize("search", CONTROLLED)
async def test_a_search_that_is_no_valid_text_is_refused_in_every_field(client: Client, search: str) -> None:
    written = f"{{ posts(filter: {{ search: {json.dumps(search)} }}) {{ totalCount }} }}"
    for raw in ({"query": ODD_DOCUMENT, "variables": {"odd": search}}, {"query": written}):
        response = await client.http.post(
            "/graphql", content=json.dumps(raw), headers={"content-type": "application/json"}
        )
        assert response.json().keys() == {"errors"}
        [error] = response.json()["errors"]
        assert error["extensions"]["code"] in {"BAD_REQUEST", "GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED"}
