"""Comments on posts: created, changed and deleted by their authors, listed with their posts and users."""

import asyncio
from typing import Any

import pytest

from db.connections.leases import Driver
from db.fields import BODY
from tests.graph.support.callers import Client, Person, SignUp

CREATE_POST = """mutation ($published: Boolean!) {
  createPost(input: {title: "Tides", content: "Twice a day.", published: $published}) { post { id } }
}"""
CREATE = """mutation ($input: CreateCommentInput!) {
  createComment(input: $input) {
    comment { id body version author { username } post { id } }
    userErrors { field code message }
  }
}"""
UPDATE = """mutation ($input: UpdateCommentInput!) {
  updateComment(input: $input) { comment { body version } userErrors { field code message } }
}"""
DELETE = """mutation ($input: DeleteCommentInput!) {
  deleteComment(input: $input) { deletedCommentId userErrors { code } }
}"""
LIST = """query ($id: ID!, $first: Int, $after: String, $filter: CommentFilter, $orderBy: [CommentOrder!]) {
  post(id: $id) {
    comments(first: $first, after: $after, filter: $filter, orderBy: $orderBy) {
      totalCount nodes { body } pageInfo { endCursor hasNextPage }
    }
  }
}"""
INVALID_BODY = {
    "field": ["input", "body"],
    "code": "INVALID_BODY",
    "message": "a comment has 1 to 10000 characters",
}


@pytest.fixture
async def ada(sign_up: SignUp) -> Person:
    return await sign_up("ada")


@pytest.fixture
async def ben(sign_up: SignUp) -> Person:
    return await sign_up("ben")


@pytest.fixture
async def post(client: Client, ada: Person) -> str:
    """A published post of ada's."""
    created = await client.data(CREATE_POST, by=ada, published=True)
    id_: str = created["createPost"]["post"]["id"]
    return id_


async def comment(client: Client, by: Person, post: str, body: str, **more: Any) -> dict[str, Any]:
    data = await client.data(CREATE, by=by, input={"postId": post, "body": body, **more})
    payload: dict[str, Any] = data["createComment"]
    return payload


async def bodies(client: Client, post: str, **variables: Any) -> list[str]:
    data = await client.data(LIST, id=post, **variables)
    return [one["body"] for one in data["post"]["comments"]["nodes"]]


async def test_comment_is_the_viewers_own(client: Client, ben: Person, post: str) -> None:
    assert await comment(client, ben, post, "Twice? Indeed.") == {
        "comment": {
            "id": "comment_1",
            "body": "Twice? Indeed.",
            "version": 1,
            "author": {"username": "ben"},
            "post": {"id": post},
        },
        "userErrors": [],
    }


async def test_refused_comment_names_the_post_before_the_author(
    client: Client, sign_up: SignUp, ada: Person, ben: Person, post: str
) -> None:
    anna = await sign_up("anna", admin=True)
    draft = (await client.data(CREATE_POST, by=ada, published=False))["createPost"]["post"]["id"]
    refusals = {}
    for by, on, author_id in [
        (ben, "post_999", ben.id),
        (ben, draft, ben.id),
        (ben, draft, ada.id),
        (ben, post, ada.id),
        (anna, "post_999", "user_1"),
        (anna, post, "user_1"),  # the system user is not a person
        (anna, post, "user_999"),
    ]:
        refused = await comment(client, by, on, "Indeed.", authorId=author_id)
        [error] = refused["userErrors"]
        refusals[by.username, on, author_id] = (refused["comment"], error["code"], error["field"])
    no_post, no_author = (None, "NOT_FOUND", ["input", "postId"]), (None, "AUTHOR_NOT_FOUND", ["input", "authorId"])
    assert list(refusals.values()) == [no_post, no_post, no_post, no_author, no_post, no_author, no_author]
    assert await bodies(client, post) == []
    assert (await comment(client, anna, draft, "Indeed.", authorId=ben.id))["comment"]["author"] == {"username": "ben"}


@pytest.mark.parametrize("body", ["", " \n", "\u200b", "x" * (BODY.length_max + 1)])
async def test_body_without_a_visible_character_or_too_long_is_refused(
    client: Client, ben: Person, post: str, body: str
) -> None:
    assert await comment(client, ben, post, body) == {"comment": None, "userErrors": [INVALID_BODY]}
    await comment(client, ben, post, "x" * BODY.length_max)
    change = {"id": "comment_1", "body": body}
    assert (await client.data(UPDATE, by=ben, input=change))["updateComment"] == {
        "comment": None,
        "userErrors": [INVALID_BODY],
    }


async def test_comments_come_oldest_first_in_pages_with_their_number(client: Client, ben: Person, post: str) -> None:
    for body in ("one", "two", "three"):
        await comment(client, ben, post, body)
    first = (await client.data(LIST, id=post, first=2))["post"]["comments"]
    assert [one["body"] for one in first["nodes"]] == ["one", "two"]
    assert (first["totalCount"], first["pageInfo"]["hasNextPage"]) == (3, True)
    assert await bodies(client, post, first=2, after=first["pageInfo"]["endCursor"]) == ["three"]
    newest_first = [{"field": "CREATED_AT", "direction": "DESC"}]
    assert await bodies(client, post, orderBy=newest_first) == ["three", "two", "one"]


async def test_comments_are_found_by_their_words(client: Client, ben: Person, post: str) -> None:
    for body in ("The moon does it.", "And the sun.", "Moons of Jupiter"):
        await comment(client, ben, post, body)
    assert await bodies(client, post, filter={"search": "moon"}) == ["The moon does it.", "Moons of Jupiter"]
    assert await bodies(client, post, filter={"search": "moon -jupiter"}) == ["The moon does it."]
    [error] = (await client.run(LIST, id=post, filter={"search": "x" * 501}))["errors"]
    assert error["message"] == "filter.search has at most 500 characters, not 501"


async def test_version_rises_only_with_a_change_and_guards_it(client: Client, ben: Person, post: str) -> None:
    await comment(client, ben, post, "one")
    versions = []
    for body in ("one", "two", "two"):
        data = await client.data(UPDATE, by=ben, input={"id": "comment_1", "body": body})
        versions.append(data["updateComment"]["comment"]["version"])
    assert versions == [1, 2, 2]
    late = {"id": "comment_1", "body": "late", "expectedVersion": 1}
    [error] = (await client.data(UPDATE, by=ben, input=late))["updateComment"]["userErrors"]
    assert (error["code"], error["field"]) == ("VERSION_CONFLICT", ["input", "expectedVersion"])
    nothing = (await client.data(UPDATE, by=ben, input={"id": "comment_1", "body": None}))["updateComment"]
    assert nothing["userErrors"][0]["message"] == "body cannot be null; leave it out to keep it"


async def test_comments_on_a_post_that_becomes_a_draft_are_hidden_from_all_but_its_author(
    client: Client, ada: Person, ben: Person, post: str
) -> None:
    await comment(client, ben, post, "one")
    hide = "mutation ($id: ID!) { updatePost(input: {id: $id, published: false}) { post { published } } }"
    await client.data(hide, by=ada, id=post)
    own = '{ comment(id: "comment_1") { body } viewer { comments { totalCount } } }'
    assert await client.data(own, by=ben) == {"comment": None, "viewer": {"comments": {"totalCount": 0}}}
    assert (await client.data(own, by=ada))["comment"] == {"body": "one"}
    changed = await client.data(UPDATE, by=ben, input={"id": "comment_1", "body": "two"})
    assert changed["updateComment"]["userErrors"][0]["code"] == "NOT_FOUND"
    deleted = await client.data(DELETE, by=ben, input={"id": "comment_1"})
    assert deleted == {"deleteComment": {"deletedCommentId": None, "userErrors": [{"code": "NOT_FOUND"}]}}


async def test_comment_is_deleted_once(client: Client, ben: Person, post: str) -> None:
    await comment(client, ben, post, "one")
    both = await asyncio.gather(*(client.data(DELETE, by=ben, input={"id": "comment_1"}) for _ in range(2)))
    assert sorted(str(one["deleteComment"]["deletedCommentId"]) for one in both) == ["None", "comment_1"]


async def test_comments_go_with_their_post_and_with_their_author(
    client: Client, ada: Person, ben: Person, post: str, superuser: Driver
) -> None:
    await comment(client, ben, post, "one")
    await comment(client, ada, post, "two")
    await client.data('mutation { deleteUser(input: {id: "user_3"}) { deletedUserId } }', by=ben)
    assert await bodies(client, post) == ["two"]
    await client.data("mutation ($id: ID!) { deletePost(input: {id: $id}) { deletedPostId } }", by=ada, id=post)
    assert await superuser.fetchval("SELECT count(*) FROM comments") == 0
