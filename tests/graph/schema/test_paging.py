"""Walks over whole lists: page by page, in both directions, in every order, compared with a sorted Python list.

The rows have few distinct values, so that ties are the rule. The treasury, which every database has, is filtered out.
"""

import datetime
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.graph.support.callers import Client
from tests.graph.support.population import Text, day, insert_posts, insert_users
from tests.running.amounts import share

POSTS = [
    Text(title=title, views=views, created_at=day(created))
    for title, views, created in itertools.product(("plum", "apple", "pear"), (7, 0), (2, 1))
]
USERS = [("Ada", 2), ("bob", 1), ("ada2", 2), ("Bob_2", 3), ("carl", 1), ("Carl7", 2), ("dora", 3)]
PAGE_SIZE = 3

Order = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class List:
    """A list of the API: the field, the type of its orderBy, and for each term of an order the values of its rows."""

    field: str
    order_type: str
    filter_type: str
    filter: Mapping[str, Any]
    terms: Mapping[str, Sequence[Any]]

    def expected(self, order: Order) -> list[int]:
        """Return the rows' numbers in an order; ties are broken by the number, in the direction of the last term."""
        numbers = list(range(len(next(iter(self.terms.values())))))
        numbers.sort(reverse=order[-1][1] == "DESC")
        for term, direction in reversed(order):
            numbers.sort(key=self.terms[term].__getitem__, reverse=direction == "DESC")
        return numbers


LISTS = [
    List(
        "posts",
        "PostOrder",
        "PostFilter",
        {},
        {
            "CREATED_AT": [post.created_at for post in POSTS],
            "VIEWS": [post.views for post in POSTS],
            "TITLE": [post.title for post in POSTS],
        },
    ),
    List(
        "users",
        "UserOrder",
        "UserFilter",
        {"isActive": True},
        {"CREATED_AT": [created for _, created in USERS], "USERNAME": [name.lower() for name, _ in USERS]},
    ),
]


def orders_of(list_: List) -> Iterator[Order]:
    """Yield every order: each choice and sequence of terms in each combination of directions."""
    for count in range(1, len(list_.terms) + 1):
        for terms in itertools.permutations(list_.terms, count):
            for directions in itertools.product(("ASC", "DESC"), repeat=count):
                yield list(zip(terms, directions, strict=True))


@pytest.fixture
async def ids(client: Client) -> Mapping[str, list[str]]:
    """The ids of all posts and users, by the field that lists them."""
    return {
        "posts": await insert_posts(client.database, POSTS),
        "users": await insert_users(client.database, [(name, day(created)) for name, created in USERS]),
    }


@dataclass(frozen=True)
class Page:
    """The contents of one page."""

    ids: list[str]
    has_next: bool
    has_previous: bool


PAGE = "nodes { id } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }"
FORWARD, BACKWARD = ("first", "after", "endCursor", "hasNextPage"), ("last", "before", "startCursor", "hasPreviousPage")


async def walk(client: Client, list_: List, order: Order | None = None, *, backward: bool = False) -> list[Page]:
    """Return all pages of a list from one end to the other, in the order of the requests."""
    limit, cursor_name, end, more = BACKWARD if backward else FORWARD
    query = f"""query ($cursor: String, $order: [{list_.order_type}!], $filter: {list_.filter_type}) {{
      page: {list_.field}({limit}: {PAGE_SIZE}, {cursor_name}: $cursor, orderBy: $order, filter: $filter) {{ {PAGE} }}
    }}"""
    terms = None if order is None else [{"field": term, "direction": direction} for term, direction in order]
    pages: list[Page] = []
    cursor = None
    while True:
        page = (await client.data(query, cursor=cursor, order=terms, filter=list_.filter))["page"]
        info = page["pageInfo"]
        pages.append(Page([node["id"] for node in page["nodes"]], info["hasNextPage"], info["hasPreviousPage"]))
        if not info[more]:
            return pages
        cursor = info[end]


def cut(ids: Sequence[str], *, backward: bool = False) -> list[Page]:
    """Return the pages that a walk over `ids` must return."""
    if not backward:
        starts = range(0, len(ids), PAGE_SIZE)
        return [Page(list(ids[at : at + PAGE_SIZE]), at + PAGE_SIZE < len(ids), at > 0) for at in starts]
    ends = range(len(ids), 0, -PAGE_SIZE)
    return [Page(list(ids[max(0, at - PAGE_SIZE) : at]), at < len(ids), at > PAGE_SIZE) for at in ends]


@pytest.mark.parametrize("list_", LISTS, ids=lambda list_: list_.field)
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
async def test_a_walk_returns_every_row_once_in_every_order(
    client: Client, ids: Mapping[str, list[str]], list_: List, *, backward: bool
) -> None:
    walked, expected = {}, {}
    for order in share(list(orders_of(list_)), every=5):
        name = " ".join(f"{term} {direction}" for term, direction in order)
        walked[name] = await walk(client, list_, order, backward=backward)
        expected[name] = cut([ids[list_.field][number] for number in list_.expected(order)], backward=backward)
    assert walked == expected


@pytest.mark.parametrize("list_", LISTS, ids=lambda list_: list_.field)
async def test_newest_rows_are_first_by_default(client: Client, ids: Mapping[str, list[str]], list_: List) -> None:
    newest_first = cut([ids[list_.field][number] for number in list_.expected([("CREATED_AT", "DESC")])])
    assert await walk(client, list_) == newest_first
    assert await walk(client, list_, []) == newest_first


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
async def test_a_walk_over_a_filtered_list_returns_the_rows_of_the_filter(
    client: Client, ids: Mapping[str, list[str]], *, backward: bool
) -> None:
    seen = replace(LISTS[0], filter={"views": {"gte": 1}, "createdAt": {"gte": "2026-03-02T00:00:00Z"}})
    order = [("TITLE", "ASC"), ("CREATED_AT", "DESC")]
    kept = [number for number in seen.expected(order) if POSTS[number].views >= 1]
    assert len(kept) == 6
    assert await walk(client, seen, order, backward=backward) == cut(
        [ids["posts"][number] for number in kept], backward=backward
    )


@pytest.mark.parametrize("list_", LISTS, ids=lambda list_: list_.field)
async def test_the_cursor_of_an_edge_continues_directly_after_and_before_it(
    client: Client, ids: Mapping[str, list[str]], list_: List
) -> None:
    order = [{"field": "CREATED_AT", "direction": "ASC"}]
    query = f"""query ($order: [{list_.order_type}!], $filter: {list_.filter_type}) {{
      all: {list_.field}(first: 100, orderBy: $order, filter: $filter) {{
        edges {{ cursor node {{ id }} }} pageInfo {{ startCursor endCursor }}
      }}
    }}"""
    everything = (await client.data(query, order=order, filter=list_.filter))["all"]
    edges = everything["edges"]
    assert everything["pageInfo"] == {"startCursor": edges[0]["cursor"], "endCursor": edges[-1]["cursor"]}
    one = "orderBy: $order, filter: $filter) { edges { cursor node { id } } }"
    beside = f"""query ($cursor: String, $order: [{list_.order_type}!], $filter: {list_.filter_type}) {{
      behind: {list_.field}(first: 1, after: $cursor, {one}
      before: {list_.field}(last: 1, before: $cursor, {one}
    }}"""
    answers = [await client.data(beside, cursor=edge["cursor"], order=order, filter=list_.filter) for edge in edges]
    assert answers == [
        {"behind": {"edges": edges[at + 1 : at + 2]}, "before": {"edges": edges[max(0, at - 1) : at]}}
        for at in range(len(edges))
    ]


# ---------------------------------------------------------------- the ends

ENDS = "query ($cursor: String) { page: posts(%s: 3, %s: $cursor) { " + PAGE + " totalCount } }"


def page_info(*, more: bool, less: bool, start: str | None = None, end: str | None = None) -> dict[str, Any]:
    return {"hasNextPage": more, "hasPreviousPage": less, "startCursor": start, "endCursor": end}


async def test_an_empty_list_has_one_empty_page(client: Client) -> None:
    for limit, cursor_name in (("first", "after"), ("last", "before")):
        data = await client.data(ENDS % (limit, cursor_name), cursor=None)
        assert data == {"page": {"nodes": [], "pageInfo": page_info(more=False, less=False), "totalCount": 0}}


async def test_page_after_the_last_row_is_empty_and_has_a_previous_page(
    client: Client, ids: Mapping[str, list[str]]
) -> None:
    cursors = (await client.data("{ posts(first: 100) { pageInfo { startCursor endCursor } } }"))["posts"]["pageInfo"]
    behind = await client.data(ENDS % ("first", "after"), cursor=cursors["endCursor"])
    before = await client.data(ENDS % ("last", "before"), cursor=cursors["startCursor"])
    assert behind == {"page": {"nodes": [], "pageInfo": page_info(more=False, less=True), "totalCount": 12}}
    assert before == {"page": {"nodes": [], "pageInfo": page_info(more=True, less=False), "totalCount": 12}}


async def test_previous_page_is_reported_only_if_its_rows_exist(client: Client, ids: Mapping[str, list[str]]) -> None:
    first = (await client.data(ENDS % ("first", "after"), cursor=None))["page"]
    await delete_posts(client, first["nodes"])
    query = "query ($cursor: String) { posts(first: 3, after: $cursor) { pageInfo { hasPreviousPage hasNextPage } } }"
    data = await client.data(query, cursor=first["pageInfo"]["endCursor"])
    assert data == {"posts": {"pageInfo": {"hasPreviousPage": False, "hasNextPage": True}}}


# ---------------------------------------------------------------- a list that changes between two pages


async def delete_posts(client: Client, nodes: Sequence[Mapping[str, str]]) -> None:
    numbers = [int(node["id"].removeprefix("post_")) for node in nodes]
    delete = "DELETE FROM posts WHERE id = ANY ($1::bigint[])"
    await client.database.write(lambda transaction: transaction.driver.execute(delete, numbers))


async def test_rows_inserted_before_the_cursor_or_deleted_do_not_shift_the_next_page(
    client: Client, ids: Mapping[str, list[str]]
) -> None:
    newest_first = [ids["posts"][number] for number in LISTS[0].expected([("CREATED_AT", "DESC")])]
    first = (await client.data(ENDS % ("first", "after"), cursor=None))["page"]
    assert [node["id"] for node in first["nodes"]] == newest_first[:3]
    await insert_posts(client.database, [Text(created_at=day(9)), Text(created_at=day(8))])
    # The row of the cursor is deleted, too, and one of the next page.
    await delete_posts(client, [*first["nodes"], {"id": newest_first[4]}])
    second = (await client.data(ENDS % ("first", "after"), cursor=first["pageInfo"]["endCursor"]))["page"]
    assert [node["id"] for node in second["nodes"]] == [newest_first[3], newest_first[5], newest_first[6]]
    back = (await client.data(ENDS % ("last", "before"), cursor=second["pageInfo"]["startCursor"]))["page"]
    assert len(back["nodes"]) == 2
    assert (back["pageInfo"]["hasNextPage"], back["pageInfo"]["hasPreviousPage"]) == (True, False)


async def test_a_row_inserted_after_the_cursor_is_on_the_next_page(
    client: Client, ids: Mapping[str, list[str]]
) -> None:
    first = (await client.data(ENDS % ("first", "after"), cursor=None))["page"]
    [late] = await insert_posts(client.database, [Text(created_at=day(2) - datetime.timedelta(microseconds=1))])
    second = (await client.data(ENDS % ("first", "after"), cursor=first["pageInfo"]["endCursor"]))["page"]
    newest_first = [ids["posts"][number] for number in LISTS[0].expected([("CREATED_AT", "DESC")])]
    assert [node["id"] for node in second["nodes"]] == newest_first[3:6]
    third = (await client.data(ENDS % ("first", "after"), cursor=second["pageInfo"]["endCursor"]))["page"]
    assert [node["id"] for node in third["nodes"]] == [late, *newest_first[6:8]]


async def test_a_row_whose_place_changes_may_repeat_or_be_missing_but_shifts_no_other(
    client: Client, ids: Mapping[str, list[str]]
) -> None:
    query = """query ($cursor: String) {
      posts(first: 6, after: $cursor, orderBy: { field: VIEWS, direction: DESC }) {
        nodes { id } pageInfo { endCursor }
      }
    }"""
    expected = [ids["posts"][number] for number in LISTS[0].expected([("VIEWS", "DESC")])]
    first = (await client.data(query, cursor=None))["posts"]
    update = "UPDATE posts SET views = 9 WHERE id = $1"
    moved = int(expected[7].removeprefix("post_"))
    await client.database.write(lambda transaction: transaction.driver.execute(update, moved))
    second = (await client.data(query, cursor=first["pageInfo"]["endCursor"]))["posts"]
    assert [node["id"] for node in second["nodes"]] == [id_ for id_ in expected[6:] if id_ != expected[7]]
