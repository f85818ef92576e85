"""The longest post fits into a request, however a client escapes its characters."""

import orjson
import pytest

from db.connections.leases import Driver
from db.fields import CONTENT, TITLE
from tests.graph.support.bodies import JSON
from tests.graph.support.callers import Client, Person

EMOJI = "\N{GRINNING FACE}"
AS_JSON = "\\ud83d\\ude00"  # twelve bytes, as most ASCII encoders write it
IN_CAPITALS = "\\uD83D\\uDE00"
AS_GRAPHQL = "\\\\ud83d\\\\ude00"  # an escape of the document, within JSON
BY_VARIABLES = (
    '{"query": "mutation ($input: CreatePostInput!) { createPost(input: $input) { post { id } userErrors { code } } }",'
    ' "variables": {"input": {"title": "%s", "content": "%s"}}}'
)
BY_DOCUMENT = (
    '{"query": "mutation { createPost(input: {title: \\"%s\\", content: \\"%s\\"})'
    ' { post { id } userErrors { code } } }"}'
)
FORMS = {
    "as it is": (BY_VARIABLES, EMOJI),
    "escaped": (BY_VARIABLES, AS_JSON),
    "escaped in capitals": (BY_VARIABLES, IN_CAPITALS),
    "in the document": (BY_DOCUMENT, EMOJI),
    "in the document, escaped by JSON": (BY_DOCUMENT, AS_JSON),
    "in the document, escaped by GraphQL": (BY_DOCUMENT, AS_GRAPHQL),
}


@pytest.mark.parametrize("form", FORMS)
async def test_longest_post_is_created_however_it_is_escaped(
    client: Client, ida: Person, superuser: Driver, form: str
) -> None:
    body, character = FORMS[form]
    headers = {"content-type": JSON, "authorization": f"Bearer {ida.token}"}
    for spare in (0, 1):  # exactly the maximum, and one more
        content = body % (character * TITLE.length_max, character * (CONTENT.length_max + spare))
        answer = await client.http.post("/graphql", content=content.encode(), headers=headers)
        found = answer.json()["data"]["createPost"]
        assert (answer.status_code, found["userErrors"]) == (200, [{"code": "INVALID_CONTENT"}] if spare else [])
        assert (found["post"] is None) is bool(spare)
    [row] = await superuser.fetch("SELECT title, content FROM posts")
    assert (row["title"], row["content"]) == (EMOJI * TITLE.length_max, EMOJI * CONTENT.length_max)


async def test_posts_that_do_not_fit_into_one_request_are_refused_with_advice(client: Client, ida: Person) -> None:
    posts = [{"title": "Long", "content": "x" * CONTENT.length_max}] * 20
    document = "mutation ($input: CreatePostsInput!) { createPosts(input: $input) { posts { id } } }"
    assert (await client.post(document, by=ida, input={"posts": posts[:15]})).status_code == 200
    answer = await client.post(document, by=ida, input={"posts": posts})
    assert answer.status_code == 413
    [error] = orjson.loads(answer.content)["errors"]
    assert error == {
        "message": "the body has more than the 1572864 bytes that are allowed; send less at once",
        "extensions": {"code": "BODY_TOO_LARGE"},
    }
