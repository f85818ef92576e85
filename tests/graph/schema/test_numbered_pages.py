"""`postsPage`: numbered pages of posts, exact at both ends, and no deeper than 100,000 posts."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.graph.support.callers import Client, SignUp
from tests.graph.support.population import Text, day, insert_posts
from tests.graph.support.refusals import bad_input, unlocated

QUERY = """query ($page: Int! = 1, $pageSize: Int! = 10, $filter: PostFilter, $order: [PostOrder!]) {
  postsPage(page: $page, pageSize: $pageSize, filter: $filter, orderBy: $order) {
    posts { id } total page pageSize totalPages
  }
}"""


@pytest.fixture
async def posts(client: Client) -> list[str]:
    """The ids of 12 posts, newest first, with ties."""
    return (await insert_posts(client.database, [Text(views=at % 3, created_at=day(at // 2)) for at in range(12)]))[
        ::-1
    ]


def numbered(posts: Sequence[str], page: int, page_size: int, total: int, total_pages: int) -> dict[str, Any]:
    """Return the whole data of one numbered page."""
    rows = [{"id": id_} for id_ in posts]
    return {
        "postsPage": {"posts": rows, "total": total, "page": page, "pageSize": page_size, "totalPages": total_pages}
    }


async def test_pages_are_numbered_from_one_and_the_last_one_has_the_rest(client: Client, posts: Sequence[str]) -> None:
    assert await client.data("{ postsPage { posts { id } total page pageSize totalPages } }") == numbered(
        posts[:10], 1, 10, 12, 2
    )
    assert await client.data(QUERY, page=2) == numbered(posts[10:], 2, 10, 12, 2)
    assert [await client.data(QUERY, page=page, pageSize=5) for page in (1, 2, 3)] == [
        numbered(posts[:5], 1, 5, 12, 3),
        numbered(posts[5:10], 2, 5, 12, 3),
        numbered(posts[10:], 3, 5, 12, 3),
    ]


async def test_a_full_last_page_is_the_last(client: Client, posts: Sequence[str]) -> None:
    assert await client.data(QUERY, page=3, pageSize=4) == numbered(posts[8:], 3, 4, 12, 3)
    assert await client.data(QUERY, page=12, pageSize=1) == numbered(posts[11:], 12, 1, 12, 12)
    assert await client.data(QUERY, page=1, pageSize=12) == numbered(posts, 1, 12, 12, 1)
    assert await client.data(QUERY, page=1, pageSize=100) == numbered(posts, 1, 100, 12, 1)


async def test_a_page_beyond_the_end_is_empty_and_has_the_totals(client: Client, posts: Sequence[str]) -> None:
    assert await client.data(QUERY, page=3) == numbered([], 3, 10, 12, 2)
    assert await client.data(QUERY, page=10_001) == numbered([], 10_001, 10, 12, 2)


async def test_without_posts_there_is_no_page(client: Client) -> None:
    assert await client.data(QUERY) == numbered([], 1, 10, 0, 0)


async def test_a_numbered_page_obeys_filter_order_and_rights(
    client: Client, posts: Sequence[str], sign_up: SignUp
) -> None:
    admin = await sign_up("root", admin=True)
    await insert_posts(client.database, [Text(views=2, published=False, created_at=day(30))])
    order = [{"field": "VIEWS", "direction": "ASC"}, {"field": "CREATED_AT", "direction": "DESC"}]
    fewest_views = sorted(posts, key=lambda id_: (int(id_.removeprefix("post_")) - 1) % 3)
    assert await client.data(QUERY, pageSize=5, order=order) == numbered(fewest_views[:5], 1, 5, 12, 3)
    viewed = {"views": {"gte": 2}}
    assert await client.data(QUERY, pageSize=3, page=2, filter=viewed) == numbered([posts[9]], 2, 3, 4, 2)
    assert await client.data(QUERY, by=admin, pageSize=1, filter=viewed) == numbered(["post_13"], 1, 1, 5, 5)


REFUSED = [
    (0, 10, "page should be 1 or more, not 0"),
    (-1, 10, "page should be 1 or more, not -1"),
    (-(2**31), 10, "page should be 1 or more, not -2147483648"),
    (1, 0, "pageSize should be from 1 to 100, not 0"),
    (1, 101, "pageSize should be from 1 to 100, not 101"),
    (1, -1, "pageSize should be from 1 to 100, not -1"),
    (1, 2**31 - 1, "pageSize should be from 1 to 100, not 2147483647"),
    (10_002, 10, "page 10002 begins after post 100000; use the connection `posts` for these posts"),
    (1002, 100, "page 1002 begins after post 100000; use the connection `posts` for these posts"),
    (2**31 - 1, 100, "page 2147483647 begins after post 100000; use the connection `posts` for these posts"),
]


async def test_a_number_out_of_range_and_a_page_too_deep_are_refused_before_anything_is_read(client: Client) -> None:
    before = client.database.counters.statements
    bodies = [unlocated(await client.run(QUERY, page=page, pageSize=size)) for page, size, _ in REFUSED]
    assert bodies == [bad_input(message, ["postsPage"]) for _, _, message in REFUSED]
    assert client.database.counters.statements == before


async def test_the_deepest_page_begins_with_post_100001(client: Client) -> None:
    assert await client.data(QUERY, page=1001, pageSize=100) == numbered([], 1001, 100, 0, 0)


async def test_counts_are_read_only_if_selected(client: Client, posts: Sequence[str]) -> None:
    counts = {"posts { id } page pageSize": 1, "posts { id } total": 2, "total totalPages": 2}
    taken = {selection: await client.statements(f"{{ postsPage {{ {selection} }} }}") for selection in counts}
    assert taken == counts


async def test_an_invalid_number_is_no_valid_operation(client: Client) -> None:
    for arguments in ("page: null", "pageSize: null", 'page: "1"', "page: 1.0", "page: 2147483648"):
        body = await client.run(f"{{ postsPage({arguments}) {{ page }} }}")
        codes = [error["extensions"] for error in body.pop("errors")]
        assert (arguments, codes, body) == (arguments, [{"code": "GRAPHQL_VALIDATION_FAILED"}], {})
