"""Creating, changing and deleting posts: all or nothing, and all errors of the input at once."""

import asyncio
import datetime
from typing import Any

import pytest

from db.access import Viewer
from db.connections.leases import Driver
from db.errors import Refusal
from db.repositories.posts import NewPost, create_posts
from tests.db.support.backends import connected_superuser
from tests.graph.support.callers import Client, Person, SignUp
from tests.graph.support.rights_data import dump
from tests.graph.support.served_app import until, waiting

CREATE_POST = """
mutation ($input: CreatePostInput!) {
  createPost(input: $input) {
    post { id title content published views version author { username } }
    postEdge { cursor node { id title } }
    userErrors { field code message }
  }
}
"""
CREATE_POSTS = """
mutation ($input: CreatePostsInput!) {
  createPosts(input: $input) { posts { title published author { username } } userErrors { field code message } }
}
"""
UPDATE_POST = """
mutation ($input: UpdatePostInput!) {
  updatePost(input: $input) {
    post { id title content published views version }
    userErrors { field code message }
  }
}
"""
DELETE_POST = """
mutation ($input: DeletePostInput!) {
  deletePost(input: $input) { deletedPostId userErrors { field code message } }
}
"""
MOMENTS = "query ($id: ID!) { post(id: $id) { version views createdAt updatedAt } }"

NO_SUCH_POST = {"field": ["input", "id"], "code": "NOT_FOUND", "message": "no such post"}
INVALID_TITLE = {"field": ["input", "title"], "code": "INVALID_TITLE", "message": "a title has 1 to 200 characters"}
INVALID_CONTENT = {
    "field": ["input", "content"],
    "code": "INVALID_CONTENT",
    "message": "content has at most 100000 characters",
}
NO_SUCH_AUTHOR = {"field": ["input", "authorId"], "code": "AUTHOR_NOT_FOUND", "message": "no such user"}


def refused(*errors: dict[str, Any]) -> dict[str, Any]:
    return {"data": {"createPost": {"post": None, "postEdge": None, "userErrors": list(errors)}}}


def all_refused(*errors: dict[str, Any]) -> dict[str, Any]:
    return {"data": {"createPosts": {"posts": None, "userErrors": list(errors)}}}


def at_index(index: int, error: dict[str, Any]) -> dict[str, Any]:
    return {**error, "field": ["input", "posts", str(index), *error["field"][1:]]}


def changed(version: int = 2, **fields: Any) -> dict[str, Any]:
    """Return the response that shows the draft with these fields changed."""
    post = {"id": "post_1", "title": "One", "content": "First.", "published": False, "views": 0, "version": version}
    return {"data": {"updatePost": {"post": post | fields, "userErrors": []}}}


def unchanged(*errors: dict[str, Any]) -> dict[str, Any]:
    return {"data": {"updatePost": {"post": None, "userErrors": list(errors)}}}


def conflict(version: int, expected: int) -> dict[str, Any]:
    message = f"the post has changed since: its version is {version}, not {expected}"
    return unchanged({"field": ["input", "expectedVersion"], "code": "VERSION_CONFLICT", "message": message})


def bad_input(field: str, message: str) -> dict[str, Any]:
    place = {"locations": [{"line": 3, "column": 3}], "path": [field]}
    return {"data": None, "errors": [{"message": message, **place, "extensions": {"code": "BAD_USER_INPUT"}}]}


@pytest.fixture
async def ada(sign_up: SignUp) -> Person:
    return await sign_up("ada")


@pytest.fixture
async def draft(client: Client, ada: Person) -> str:
    """The id of ada's post_1."""
    data = await client.data(CREATE_POST, by=ada, input={"title": "One", "content": "First."})
    post_id: str = data["createPost"]["post"]["id"]
    return post_id


# ---------------------------------------------------------------- one post


async def test_post_is_a_draft_of_the_viewers_own_by_default(client: Client, ada: Person) -> None:
    data = await client.data(CREATE_POST, by=ada, input={"title": "One", "content": "", "authorId": None})
    edge = data["createPost"].pop("postEdge")
    assert edge["node"] == {"id": "post_1", "title": "One"}
    assert data["createPost"] == {
        "post": {
            "id": "post_1",
            "title": "One",
            "content": "",
            "published": False,
            "views": 0,
            "version": 1,
            "author": {"username": "ada"},
        },
        "userErrors": [],
    }


async def test_cursor_of_a_new_post_is_valid_for_after_and_before(client: Client, ada: Person) -> None:
    cursors = []
    for title in ("One", "Two", "Three"):
        given = {"title": title, "content": "", "published": True}
        cursors.append((await client.data(CREATE_POST, by=ada, input=given))["createPost"]["postEdge"]["cursor"])
    page = "query ($at: String) { older: posts(after: $at) { nodes { title } } newer: posts(before: $at, last: 9) %s }"
    found = await client.data(page % "{ nodes { title } edges { cursor } }", at=cursors[1])
    assert found == {
        "older": {"nodes": [{"title": "One"}]},
        "newer": {"nodes": [{"title": "Three"}], "edges": [{"cursor": cursors[2]}]},
    }


async def test_administrator_writes_as_any_existing_user(client: Client, ada: Person, sign_up: SignUp) -> None:
    anna = await sign_up("anna", admin=True)
    data = await client.data(CREATE_POST, by=anna, input={"title": "One", "content": "", "authorId": ada.id})
    assert data["createPost"]["post"]["author"] == {"username": "ada"}
    body = await client.run(CREATE_POST, by=anna, input={"title": "One", "content": "", "authorId": "user_999"})
    assert body == refused(NO_SUCH_AUTHOR)


async def test_member_cannot_write_as_another_user(
    client: Client, ada: Person, sign_up: SignUp, superuser: Driver
) -> None:
    bob = await sign_up("bob")
    before = await dump(superuser)
    for author_id in (bob.id, "user_1", "user_999"):
        body = await client.run(CREATE_POST, by=ada, input={"title": "One", "content": "", "authorId": author_id})
        assert body == refused(NO_SUCH_AUTHOR)
    assert await dump(superuser) == before


async def test_not_even_an_administrator_writes_as_the_treasury(
    client: Client, sign_up: SignUp, superuser: Driver
) -> None:
    anna = await sign_up("anna", admin=True)
    assert await superuser.fetchval("SELECT id FROM users WHERE role = 'system'") == 1
    before = await dump(superuser)
    theirs, good = {"title": "One", "content": "", "authorId": "user_1"}, {"title": "Two", "content": ""}
    assert await client.run(CREATE_POST, by=anna, input=theirs) == refused(NO_SUCH_AUTHOR)
    body = await client.run(CREATE_POSTS, by=anna, input={"posts": [good, theirs, good]})
    assert body == all_refused(at_index(1, NO_SUCH_AUTHOR))
    assert await dump(superuser) == before


async def test_repository_writes_nothing_as_the_treasury(client: Client, sign_up: SignUp) -> None:
    anna = await sign_up("anna", admin=True)
    viewer = Viewer(anna.number, None, is_admin=True)
    posts = [NewPost(author_id, "One", "", published=True) for author_id in (anna.number, 1)]
    with pytest.raises(Refusal) as caught:
        await create_posts(client.database, viewer, ("id",), posts)
    assert (caught.value.code, caught.value.field) == ("AUTHOR_NOT_FOUND", ("authorId",))
    assert await client.data("{ posts { totalCount } }") == {"posts": {"totalCount": 0}}


async def _while_the_author_is_deleted(
    client: Client, database_url: str, author: Person, by: Person, query: str, given: dict[str, Any]
) -> dict[str, Any]:
    """Send the operation so that it finds the author, who is deleted before it has written."""
    async with connected_superuser(database_url) as deleting, connected_superuser(database_url) as watching:
        async with deleting.transaction():
            await deleting.execute("DELETE FROM users WHERE id = $1", author.number)
            writing = asyncio.create_task(client.run(query, by=by, input=given))
            await until(lambda: _one_waits(watching), "a write that waits for the author")
        return await writing


async def _one_waits(superuser: Driver) -> bool:
    return await waiting(superuser) == 1


async def test_author_deleted_during_the_mutation_is_an_error_of_a_post_only_if_there_is_one(
    client: Client, sign_up: SignUp, database_url: str
) -> None:
    anna, ada, bob = await sign_up("anna", admin=True), await sign_up("ada"), await sign_up("bob")
    good = {"title": "One", "content": ""}
    body = await _while_the_author_is_deleted(
        client, database_url, ada, anna, CREATE_POST, {**good, "authorId": ada.id}
    )
    assert body == refused(NO_SUCH_AUTHOR)
    given = {"posts": [good, {**good, "authorId": bob.id}]}
    body = await _while_the_author_is_deleted(client, database_url, bob, anna, CREATE_POSTS, given)
    assert body == all_refused({**NO_SUCH_AUTHOR, "field": ["input", "posts"]})


async def test_title_and_content_are_as_long_as_they_may_be(client: Client, ada: Person) -> None:
    given = {"title": "\N{GRINNING FACE}" * 200, "content": "é" * 100_000}
    data = await client.data(CREATE_POST, by=ada, input=given)
    assert {name: data["createPost"]["post"][name] for name in given} == given


async def test_all_errors_of_a_post_are_reported_at_once(client: Client, ada: Person, superuser: Driver) -> None:
    before = await dump(superuser)
    for title in ("", " \t\n\N{NO-BREAK SPACE}", "\N{ZERO WIDTH SPACE}", "x" * 201):
        given = {"title": title, "content": "x" * 100_001, "authorId": "user_999"}
        body = await client.run(CREATE_POST, by=ada, input=given)
        assert body == refused(INVALID_TITLE, INVALID_CONTENT, NO_SUCH_AUTHOR)
    assert await dump(superuser) == before


async def test_malformed_author_id_is_a_bad_request(client: Client, ada: Person) -> None:
    body = await client.run(CREATE_POST, by=ada, input={"title": "One", "content": "", "authorId": "ada"})
    message = "input.authorId is not an id; send an `id` that the API has returned"
    assert body == bad_input("createPost", message)


# ---------------------------------------------------------------- many posts


async def test_posts_are_created_in_the_order_of_the_input(client: Client, ada: Person, sign_up: SignUp) -> None:
    anna = await sign_up("anna", admin=True)
    inputs: list[dict[str, Any]] = [
        {"title": f"{index * 37 % 100}", "content": "", "published": index % 3 == 0} for index in range(100)
    ]
    for one in inputs[::7]:
        one["authorId"] = ada.id
    body = await client.run(CREATE_POSTS, by=anna, input={"posts": inputs})
    posts = [
        {
            "title": one["title"],
            "published": one["published"],
            "author": {"username": "ada" if "authorId" in one else "anna"},
        }
        for one in inputs
    ]
    assert body == {"data": {"createPosts": {"posts": posts, "userErrors": []}}}


async def test_one_faulty_post_refuses_all_posts(
    client: Client, ada: Person, sign_up: SignUp, superuser: Driver
) -> None:
    anna = await sign_up("anna", admin=True)
    before = await dump(superuser)
    good = {"title": "One", "content": ""}
    inputs = [good, {**good, "authorId": "user_999"}, {**good, "title": " "}, {**good, "authorId": ada.id}]
    body = await client.run(CREATE_POSTS, by=anna, input={"posts": inputs})
    assert body == all_refused(at_index(2, INVALID_TITLE), at_index(1, NO_SUCH_AUTHOR))
    body = await client.run(CREATE_POSTS, by=anna, input={"posts": [good, {**good, "authorId": "user_998"}]})
    assert body == all_refused(at_index(1, NO_SUCH_AUTHOR))
    body = await client.run(CREATE_POSTS, by=ada, input={"posts": [good, {**good, "authorId": anna.id}]})
    assert body == all_refused(at_index(1, NO_SUCH_AUTHOR))
    assert await dump(superuser) == before


async def test_malformed_author_id_among_many_posts_is_named_by_its_place(client: Client, ada: Person) -> None:
    inputs = [{"title": "One", "content": ""}, {"title": "Two", "content": "", "authorId": "post_1"}]
    body = await client.run(CREATE_POSTS, by=ada, input={"posts": inputs})
    message = "input.posts[1].authorId is the id of a post, but the id of a user is expected"
    assert body == bad_input("createPosts", message)


async def test_too_few_or_too_many_posts_are_a_bad_request(client: Client, ada: Person, superuser: Driver) -> None:
    before = await dump(superuser)
    for size in (0, 101):
        inputs = [{"title": f"{index}", "content": ""} for index in range(size)]
        body = await client.run(CREATE_POSTS, by=ada, input={"posts": inputs})
        assert body == bad_input("createPosts", f"input.posts should have 1 to 100 items, not {size}")
    assert await dump(superuser) == before


async def test_statements_do_not_grow_with_the_number_of_posts(client: Client, ada: Person) -> None:
    counts = {}
    for size in (1, 10, 100):
        inputs = [{"title": f"{index}", "content": ""} for index in range(size)]
        counts[size] = await client.statements(CREATE_POSTS, by=ada, input={"posts": inputs})
    # The session, the posts, and the selected authors.
    assert counts == {1: 3, 10: 3, 100: 3}


# ---------------------------------------------------------------- changes


async def test_only_the_given_fields_change(client: Client, ada: Person, draft: str) -> None:
    changes: list[dict[str, Any]] = [{"title": "Uno"}, {"content": ""}, {"published": True}, {"published": False}]
    seen: dict[str, Any] = {}
    for version, change in enumerate(changes, start=2):
        seen |= change
        body = await client.run(UPDATE_POST, by=ada, input={"id": draft, **change})
        assert body == changed(version, **seen)


async def test_null_clears_nothing_of_a_post(client: Client, ada: Person, draft: str, superuser: Driver) -> None:
    before = await dump(superuser)
    body = await client.run(UPDATE_POST, by=ada, input={"id": draft, "title": None, "content": None})
    assert body == unchanged(
        {**INVALID_TITLE, "message": "title cannot be null; leave it out to keep it"},
        {**INVALID_CONTENT, "message": "content cannot be null; leave it out to keep it"},
    )
    body = await client.run(UPDATE_POST, by=ada, input={"id": draft, "title": "Uno", "published": None})
    assert body == bad_input("updatePost", "input.published cannot be null; leave it out to keep it")
    assert await dump(superuser) == before


async def test_faulty_change_is_refused_with_all_its_faults(
    client: Client, ada: Person, draft: str, superuser: Driver
) -> None:
    before = await dump(superuser)
    given = {"id": draft, "title": " ", "content": "x" * 100_001, "published": True}
    assert await client.run(UPDATE_POST, by=ada, input=given) == unchanged(INVALID_TITLE, INVALID_CONTENT)
    assert await dump(superuser) == before


async def test_expected_version_is_obeyed(client: Client, ada: Person, draft: str) -> None:
    for given, body in (
        ({"expectedVersion": 1, "published": True}, changed(2, published=True)),
        ({"expectedVersion": 1, "published": False}, conflict(2, 1)),
        ({"expectedVersion": 3, "published": False}, conflict(2, 3)),
        ({"expectedVersion": None, "published": False}, changed(3)),
        ({"expectedVersion": 3, "published": True}, changed(4, published=True)),
    ):
        assert await client.run(UPDATE_POST, by=ada, input={"id": draft, **given}) == body


async def test_one_of_several_concurrent_changes_with_the_same_expected_version_succeeds(
    client: Client, ada: Person, draft: str
) -> None:
    async def concurrent_change(number: int, version: int) -> dict[str, Any]:
        given = {"id": draft, "expectedVersion": version, "title": f"Rival {version}.{number}"}
        return await client.run(UPDATE_POST, by=ada, input=given)

    for version in range(1, 6):
        bodies = await asyncio.gather(*(concurrent_change(number, version) for number in range(10)))
        [winner] = [number for number, body in enumerate(bodies) if body != conflict(version + 1, version)]
        assert bodies[winner] == changed(version + 1, title=f"Rival {version}.{winner}")


async def test_every_change_updates_version_and_time_of_change(client: Client, ada: Person, draft: str) -> None:
    seen = [(await client.data(MOMENTS, by=ada, id=draft))["post"]]
    for change in ({"title": "Uno"}, {"published": True}, {"title": "Due", "published": True}):
        await client.data(UPDATE_POST, by=ada, input={"id": draft, **change})
        seen.append((await client.data(MOMENTS, by=ada, id=draft))["post"])
    moments = [datetime.datetime.fromisoformat(one["updatedAt"]) for one in seen]
    assert [one["version"] for one in seen] == [1, 2, 3, 4]
    assert moments == sorted(set(moments))
    assert {one["createdAt"] for one in seen} == {seen[0]["createdAt"]}


async def test_post_of_another_user_is_not_found_and_does_not_change(
    client: Client, ada: Person, draft: str, sign_up: SignUp, superuser: Driver
) -> None:
    bob = await sign_up("bob")
    for published in (False, True):
        await client.data(UPDATE_POST, by=ada, input={"id": draft, "published": published})
        before = await dump(superuser)
        for post_id in (draft, "post_999"):
            given = {"id": post_id, "title": "Mine", "expectedVersion": 99}
            assert await client.run(UPDATE_POST, by=bob, input=given) == unchanged(NO_SUCH_POST)
            body = await client.run(DELETE_POST, by=bob, input={"id": post_id})
            assert body == {"data": {"deletePost": {"deletedPostId": None, "userErrors": [NO_SUCH_POST]}}}
        assert await dump(superuser) == before


async def test_post_is_deleted_once(client: Client, ada: Person, draft: str) -> None:
    bodies = await asyncio.gather(*(client.run(DELETE_POST, by=ada, input={"id": draft}) for _ in range(4)))
    gone = {"data": {"deletePost": {"deletedPostId": draft, "userErrors": []}}}
    late = {"data": {"deletePost": {"deletedPostId": None, "userErrors": [NO_SUCH_POST]}}}
    assert (bodies.count(gone), bodies.count(late)) == (1, 3)
    assert await client.data("query ($id: ID!) { post(id: $id) { id } }", by=ada, id=draft) == {"post": None}


async def test_administrator_changes_and_deletes_any_post(client: Client, draft: str, sign_up: SignUp) -> None:
    anna = await sign_up("anna", admin=True)
    body = await client.run(UPDATE_POST, by=anna, input={"id": draft, "published": True})
    assert body == changed(published=True)
    body = await client.run(DELETE_POST, by=anna, input={"id": draft})
    assert body == {"data": {"deletePost": {"deletedPostId": draft, "userErrors": []}}}
