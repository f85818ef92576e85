"""Which engine runs an operation, what garbage it leaves, and which concurrent operations share their output."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from fastapi import FastAPI

from db.query.pages import Page
from graph.operations.cache import Operations
from graph.runtime.edge_loaders import PageLoader
from tests.graph.support.callers import Client, Person, SignUp
from tests.graph.support.garbage import collected_types
from tests.graph.support.recording import recorded

POSTS = "{ posts(first: 5) { totalCount nodes { id title author { username posts(first: 2) { nodes { id } } } } } }"
POST = "query Post($id: ID!) { post(id: $id) { id title author { username } } }"
LISTS = "{ users(first: 5) { nodes { username posts(first: 2) { nodes { title published } } } } }"
FAILING = "{ good: posts(first: 5) { nodes { id content } } bad: posts(first: 101) { nodes { id } } }"
NODES = '{ nodes(ids: ["post_1", "user_1", "nothing"]) { id ... on Post { title } } }'
BELOW = "{ users(first: 5) { nodes { username posts(first: 101) { nodes { id } } } } }"
TIMES = 8
USERS = "{ users(first: 5) { edges { cursor node { id profile { bio } } } pageInfo { hasNextPage endCursor } } }"


@pytest.fixture
async def author(sign_up: SignUp, client: Client) -> Person:
    """A user with three posts."""
    person = await sign_up("ada")
    items = [{"title": f"Post {number}", "content": "", "published": True} for number in range(3)]
    query = "mutation ($items: [CreatePostInput!]!) { createPosts(input: { posts: $items }) { posts { id } } }"
    await client.data(query, by=person, items=items)
    return person


def operations_of(app: FastAPI) -> Operations:
    operations: Operations = app.state.operations
    return operations


async def test_operations_run_compiled_and_exceptions_are_logged_with_their_reason(
    app: FastAPI, client: Client, author: Person
) -> None:
    before = Counter(operations_of(app).runs_by_engine)
    await client.data(POSTS)
    await client.data("{ __schema { queryType { name } } posts { totalCount } }")
    after = Counter(operations_of(app).runs_by_engine)
    assert after - before == {("compiled", "none"): 1, ("ordinary", "introspection"): 1}


@pytest.mark.parametrize("text", [POSTS, POST, USERS])
async def test_an_operation_leaves_no_rows_to_the_cycle_collector(
    app: FastAPI, client: Client, author: Person, text: str
) -> None:
    variables = {"id": (await client.data(POSTS))["posts"]["nodes"][0]["id"]} if text == POST else {}
    engines = operations_of(app).engines
    vars(engines).pop("run")  # the comparison with the ordinary engine, which leaves garbage
    await client.data(text, **variables)
    with collected_types() as left:
        await client.data(text, **variables)
    assert left.isdisjoint({"Record", "Frame", "Loaders", "Context", "Connection"})


@pytest.mark.parametrize("text", [FAILING, NODES, BELOW])
async def test_an_answer_with_errors_leaves_no_rows_to_the_cycle_collector(
    app: FastAPI, client: Client, author: Person, text: str
) -> None:
    vars(operations_of(app).engines).pop("run")  # as above
    assert "errors" in await client.run(text)
    with collected_types() as left:
        await client.run(text)
    assert left.isdisjoint({"Record", "Frame", "Loaders", "Context", "Connection", "ExecutionResult", "GraphQLError"})


@pytest.mark.parametrize("text", [POSTS, USERS, LISTS])
async def test_concurrent_operations_are_answered_like_single_ones_for_their_viewers(
    app: FastAPI, client: Client, author: Person, sign_up: SignUp, text: str
) -> None:
    vars(operations_of(app).engines).pop("run")  # the comparison with the ordinary engine, which shares nothing
    draft = 'mutation { createPost(input: { title: "A draft", content: "" }) { post { id } } }'
    await client.data(draft, by=author)
    people = [author, None, await sign_up("eve")]
    with recorded() as queries:
        alone = [(await client.post(text, by=one)).content for one in people]
    sent = len(queries)
    assert text == USERS or len(set(alone)) > 1
    with recorded() as queries:
        found = await asyncio.gather(*[client.post(text, by=one) for _ in range(TIMES) for one in people])
    assert len(queries) < TIMES * sent
    assert [one.content for one in found] == alone * TIMES


async def test_lists_below_a_shared_page_respect_their_arguments(app: FastAPI, client: Client, author: Person) -> None:
    vars(operations_of(app).engines).pop("run")  # as above
    text = """query ($a: Int!, $b: Int!, $d: Int!, $more: Boolean!) { users(first: 3) { nodes {
        username
        a: posts(first: $a) { nodes { id } }
        c: posts(last: 1) { nodes { id } }
        b: posts(first: $b, orderBy: [{ field: TITLE, direction: ASC }]) { nodes { title @include(if: $more) id } }
        d: posts(first: $d) { nodes { id } }
    } } post(id: "post_0") { id } }"""
    requests: list[dict[str, Any]] = [
        {"a": a, "b": b, "d": d, "more": more} for a in (1, 2) for b in (1, 2) for d in (1, 3) for more in (False, True)
    ]
    for one in requests:
        await client.post(text, **one)
    with recorded() as queries:
        alone = [(await client.post(text, **one)).json()["data"] for one in requests]
    sent = len(queries)
    assert len({str(one) for one in alone}) == len(requests)
    with recorded() as queries:
        found = await asyncio.gather(*[client.post(text, **one) for _ in range(TIMES) for one in requests])
    assert len(queries) < TIMES * sent
    assert [one.json()["data"] for one in found] == alone * TIMES


async def test_lists_below_a_shared_page_are_read_by_one_of_the_operations(
    app: FastAPI, client: Client, author: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    vars(operations_of(app).engines).pop("run")  # as above
    vars(vars(app)["direct"].pipeline).pop("respond")
    pages: list[Page] = []
    held = PageLoader.held

    def noted(loader: PageLoader, keys: Sequence[int]) -> list[Page]:
        found = held(loader, keys)
        pages.append(found[0])
        return found

    for _ in range(3):
        await client.data(LISTS)
    monkeypatch.setattr(PageLoader, "held", noted)
    found = await asyncio.gather(*[client.data(LISTS) for _ in range(TIMES)])
    # Each statement's pages are completed once, by one of the operations that share it.
    assert 0 < len({id(page) for page in pages}) == len(pages) < TIMES
    assert all(one == found[0] for one in found)
