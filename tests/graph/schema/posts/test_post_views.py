"""Views of posts: each recorded view counts, however many arrive at once, and changes nothing else."""

import asyncio
import itertools

import pytest

from db.connections.leases import Driver
from tests.graph.support.callers import Client, Person, SignUp, http_client
from tests.graph.support.rights_data import dump
from tests.running.amounts import examples

CREATE_POSTS = """
mutation { createPosts(input: {posts: [{title: "One", content: "", published: true}, {title: "Two", content: ""}]})
  { posts { id } }
}
"""
RECORD_VIEW = """
mutation ($id: ID!) {
  recordPostView(input: {postId: $id}) { post { id views version } userErrors { field code message } }
}
"""
POST = "query ($id: ID!) { post(id: $id) { views version updatedAt } }"

VIEWS = examples(1000)
CONNECTIONS = 50


@pytest.fixture
async def ada(client: Client, sign_up: SignUp) -> Person:
    """The author of post_1, which is published, and of the draft post_2."""
    ada = await sign_up("ada")
    await client.data(CREATE_POSTS, by=ada)
    return ada


async def test_simultaneous_views_are_all_counted_and_nothing_else_changes(client: Client, ada: Person) -> None:
    before = (await client.data(POST, id="post_1"))["post"]
    payload = {"query": RECORD_VIEW, "variables": {"id": "post_1"}}
    async with http_client(client.http.base_url, connections=CONNECTIONS, timeout=60) as crowd:
        crowd.headers["authorization"] = f"Bearer {ada.token}"

        async def views() -> list[int]:
            answers = [await crowd.post("/graphql", json=payload) for _ in range(VIEWS // CONNECTIONS)]
            return [answer.json()["data"]["recordPostView"]["post"]["views"] for answer in answers]

        # One client connection for each request: httpx takes quadratic time for requests that wait for a connection.
        counted = sorted(itertools.chain(*await asyncio.gather(*(views() for _ in range(CONNECTIONS)))))
    assert counted == list(range(1, VIEWS + 1))
    assert await client.data(POST, id="post_1") == {"post": {**before, "views": VIEWS}}


async def test_counter_that_is_full_stays_full(client: Client, ada: Person, superuser: Driver) -> None:
    await superuser.execute("UPDATE posts SET views = 2147483646 WHERE id = 1")
    full = {"post": {"id": "post_1", "views": 2147483647, "version": 1}, "userErrors": []}
    for _ in range(2):
        assert await client.run(RECORD_VIEW, by=ada, id="post_1") == {"data": {"recordPostView": full}}


async def test_draft_is_viewed_only_by_users_who_may_see_it(
    client: Client, ada: Person, sign_up: SignUp, superuser: Driver
) -> None:
    bob, anna = await sign_up("bob"), await sign_up("anna", admin=True)
    for views, viewer in enumerate((ada, anna), start=1):
        payload = {"post": {"id": "post_2", "views": views, "version": 1}, "userErrors": []}
        assert await client.run(RECORD_VIEW, by=viewer, id="post_2") == {"data": {"recordPostView": payload}}
    before = await dump(superuser)
    no_such_post = {"field": ["input", "postId"], "code": "NOT_FOUND", "message": "no such post"}
    for post_id in ("post_2", "post_999"):
        refused = {"post": None, "userErrors": [no_such_post]}
        assert await client.run(RECORD_VIEW, by=bob, id=post_id) == {"data": {"recordPostView": refused}}
    assert await dump(superuser) == before


async def test_anonymous_view_is_refused_and_not_counted(client: Client, ada: Person) -> None:
    body = await client.run(RECORD_VIEW, id="post_1")
    assert [error["extensions"]["code"] for error in body["errors"]] == ["UNAUTHENTICATED"]
    assert (await client.data(POST, id="post_1"))["post"]["views"] == 0
