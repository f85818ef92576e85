"""Rights: every mutation and every readable field, for every kind of caller.

Two tables, `rights_to_change` and `rights_to_read`, have the response to each caller. The test walks the schema, too: a
mutation or field that is in neither table fails.
"""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from graphql import (
    FieldNode,
    GraphQLInputObjectType,
    GraphQLObjectType,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    get_named_type,
    parse,
    visit,
)

from db.connections.leases import Driver
from graph.schema.root import graphql_schema
from tests.graph.support import rights_to_change, rights_to_read
from tests.graph.support.callers import Client, SignUp
from tests.graph.support.rights_data import ADA, CALLERS, NOBODY, OTTO, RightsData, create_rights_data, signed_in
from tests.graph.support.rights_of_comments import COMMENT_CHANGES, COMMENT_READS
from tests.graph.support.rights_to_change import Change, Failure
from tests.graph.support.rights_to_read import CURSOR_READS

Dump = dict[str, list[str]]

READS = rights_to_read.READS | COMMENT_READS
CHANGES = COMMENT_CHANGES | rights_to_change.CHANGES

REFRESH_TOKEN = "$refresh"
UNUSED_KEY = "$key"
ENDED = {
    "errors": [
        {
            "message": "the access token is not valid, has expired or its session has ended; "
            "refresh the session or sign in again",
            "extensions": {"code": "UNAUTHENTICATED"},
        }
    ]
}
ENDS_OF_A_SESSION = {
    "the user is deactivated": "UPDATE users SET is_active = false WHERE username = 'late'",
    "the user is deleted": "DELETE FROM users WHERE username = 'late'",
    "the session has ended": "UPDATE sessions SET ended_at = clock_timestamp()",
    "the session has expired": "UPDATE sessions SET expires_at = clock_timestamp()",
}
# PostgreSQL would check references with a lock that no role may take on the ledger.
IGNORING_FOREIGN_KEYS = "SET session_replication_role = replica;"
# Deletes everything that only ada, ida, eve and the administrator may see.
PRIVATE_THINGS = """
    DELETE FROM comments WHERE post_id IN (SELECT id FROM posts WHERE NOT published);
    DELETE FROM posts WHERE NOT published;
    DELETE FROM transactions;
    DELETE FROM idempotency_keys;
    DELETE FROM accounts WHERE owner_id <> 4;
    UPDATE users SET email = 'a' || id || '@example.net', hashed_password = '!' WHERE username <> 'otto';
"""


@pytest.fixture
async def rights_data(client: Client, sign_up: SignUp, superuser: Driver) -> RightsData:
    """The users of `tests.graph.support.rights_data` and their data."""
    return await create_rights_data(client, sign_up, superuser)


def mutation_of(name: str) -> str:
    return name.split(maxsplit=1)[0]


def operation(name: str) -> str:
    """Return the text of the operation of an entry of the table."""
    mutation = mutation_of(name)
    assert graphql_schema.mutation_type is not None
    arguments = graphql_schema.mutation_type.fields[mutation].args
    declared = f"($input: {arguments['input'].type})" if arguments else ""
    given = "(input: $input)" if arguments else ""
    return f"mutation{declared} {{\n{mutation}{given} {{ {CHANGES[name].payload} }} }}"


def variables(given: Mapping[str, Any] | None, refresh_token: str) -> dict[str, Any]:
    """Return the variables of the operation."""
    if given is None:
        return {}
    blanks = {REFRESH_TOKEN: refresh_token, UNUSED_KEY: str(uuid.uuid4())}

    def filled(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: filled(one) for name, one in value.items()}
        if isinstance(value, list):
            return [filled(one) for one in value]
        return blanks.get(value, value) if isinstance(value, str) else value

    return {"input": filled(given)}


def body_of(name: str, change: Change, caller: str) -> dict[str, Any]:
    """Return the whole body that the caller gets according to the table."""
    answer = change.answer_to(caller)
    if not isinstance(answer, Failure):
        return {"data": {mutation_of(name): answer}}
    place = {"path": [mutation_of(name)], "locations": [{"line": 2, "column": 1}]}
    return {"data": None, "errors": [{"message": answer.message, **place, "extensions": {"code": answer.code}}]}


def is_refused(body: Mapping[str, Any]) -> bool:
    return bool("errors" in body or any(payload.get("userErrors") for payload in body["data"].values()))


def without_table(table: str | None, everything: Dump) -> Dump:
    return {name: rows for name, rows in everything.items() if name != table}


# ---------------------------------------------------------------- mutations


@pytest.mark.parametrize("caller", CALLERS)
async def test_caller_makes_the_changes_of_the_table_and_no_others(rights_data: RightsData, caller: str) -> None:
    refresh_token = (await signed_in(rights_data.client, ADA))["refreshToken"]
    for name, change in CHANGES.items():
        await rights_data.superuser.execute(IGNORING_FOREIGN_KEYS + change.first)
        expected = body_of(name, change, caller)
        before = await rights_data.dump()
        body = await rights_data.run(operation(name), caller, **variables(change.given, refresh_token))
        assert (name, body) == (name, expected)
        after = await rights_data.dump()
        if is_refused(expected):
            assert (name, without_table(change.kept, after)) == (name, without_table(change.kept, before))
        else:
            assert after != before, f"{name} changed nothing"
        if mutation_of(name) == "signOut" and caller != NOBODY:
            token = (await signed_in(rights_data.client, caller))["accessToken"]
            rights_data.people[caller] = replace(rights_data.people[caller], token=token)


@pytest.mark.parametrize("caller", CALLERS)
async def test_refusal_for_lack_of_a_right_is_that_for_a_missing_object(rights_data: RightsData, caller: str) -> None:
    refused = {name: change for name, change in CHANGES.items() if change.missing and caller not in change.answers}
    assert refused or caller == "anna"
    for name, change in refused.items():
        given = change.given or {}
        existing = await rights_data.client.post(
            operation(name), by=rights_data.people.get(caller), **variables(given, "")
        )
        missing = await rights_data.client.post(
            operation(name), by=rights_data.people.get(caller), **variables({**given, **change.missing}, "")
        )
        assert (name, existing.status_code, existing.text) == (name, missing.status_code, missing.text)


@pytest.mark.parametrize("end", ENDS_OF_A_SESSION.values(), ids=ENDS_OF_A_SESSION)
async def test_token_of_an_administrator_whose_session_has_ended_gives_no_access(
    rights_data: RightsData, sign_up: SignUp, end: str
) -> None:
    late = await sign_up("late", admin=True)
    assert await rights_data.client.data("{ viewer { username } }", by=late) == {"viewer": {"username": "late"}}
    refresh_token = (await signed_in(rights_data.client, ADA))["refreshToken"]
    await rights_data.superuser.execute(end)
    before = await rights_data.dump()
    operations = {operation(name): variables(change.given, refresh_token) for name, change in CHANGES.items()}
    for query, given in (operations | {read.query: {} for read in READS.values()}).items():
        response = await rights_data.client.post(query, by=late, **given)
        assert (query, response.status_code, response.json()) == (query, 401, ENDED)
        assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert await rights_data.dump() == before


async def test_every_mutation_is_in_the_table() -> None:
    assert graphql_schema.mutation_type is not None
    missing = sorted(set(graphql_schema.mutation_type.fields) - {mutation_of(name) for name in CHANGES})
    assert missing == [], (
        f"add {missing} to CHANGES in tests/graph/support/rights_to_change.py, or those of a new noun to a file "
        "rights_of_….py next to it, as name: Change(input, selection, answers by caller, others=answer to all others)"
    )


@pytest.mark.parametrize(
    "name",
    ["updateUser", "deleteUser", "updatePost of a draft at a wrong version", "deletePost", "transfer", "transfers"],
)
async def test_caller_without_the_right_does_not_even_wait_for_a_lock(rights_data: RightsData, name: str) -> None:
    change = CHANGES[name]
    async with rights_data.superuser.transaction():
        await rights_data.superuser.execute("SELECT FROM users WHERE id = 2 FOR UPDATE")
        await rights_data.superuser.execute("SELECT FROM posts WHERE id = 2 FOR UPDATE")
        await rights_data.superuser.execute("SELECT FROM accounts WHERE id = 1 FOR UPDATE")
        answer = rights_data.run(operation(name), OTTO, **variables(change.given, ""))
        assert await asyncio.wait_for(answer, 2) == body_of(name, change, OTTO)


async def test_each_mutation_of_an_operation_has_the_rights_of_the_caller_at_its_start(rights_data: RightsData) -> None:
    out_and_on = 'mutation { signOut { signedOut } createPost(input: {title: "a", content: ""}) { post { id } } }'
    body = await rights_data.run(out_and_on, OTTO)
    assert (body["data"], body["errors"][0]["extensions"]) == (None, {"code": "UNAUTHENTICATED"})
    assert len((await rights_data.dump())["posts"]) == 2
    in_and_on = """mutation {
        signIn(input: {login: "otto", password: "correct horse battery"}) { viewer { email } }
        createPost(input: {title: "a", content: ""}) { post { author { username email } } }
    }"""
    otto = {"username": "otto", "email": "otto@example.com"}
    assert await rights_data.client.data(in_and_on) == {
        "signIn": {"viewer": {"email": "otto@example.com"}},
        "createPost": {"post": {"author": otto}},
    }


def test_no_input_has_a_role() -> None:
    inputs = [one for one in graphql_schema.type_map.values() if isinstance(one, GraphQLInputObjectType)]
    assert inputs
    assert [f"{one.name}.{name}" for one in inputs for name in one.fields if "role" in name.lower()] == []


# ---------------------------------------------------------------- reads


@pytest.mark.parametrize("caller", CALLERS)
async def test_caller_reads_the_data_of_the_table(rights_data: RightsData, caller: str) -> None:
    before = await rights_data.dump()
    for name, read in READS.items():
        assert (name, await rights_data.run(read.query, caller)) == (name, {"data": read.answer_to(caller)})
    assert await rights_data.dump() == before


@pytest.mark.parametrize("caller", [NOBODY, OTTO])
async def test_private_data_leaves_no_trace_in_any_answer_to_others(rights_data: RightsData, caller: str) -> None:
    query = '{ post(id: "post_2") { id } posts(last: 5, filter: {published: false}) { pageInfo { startCursor } } }'
    cursor = (await rights_data.run(query, ADA))["data"]["posts"]["pageInfo"]["startCursor"]
    queries = [read.query for read in READS.values()] + [query.replace("$cursor", cursor) for query in CURSOR_READS]
    with_them = [await rights_data.run(query, caller) for query in queries]
    await rights_data.superuser.execute(IGNORING_FOREIGN_KEYS + PRIVATE_THINGS)
    assert [await rights_data.run(query, caller) for query in queries] == with_them
    assert [body for body in with_them if "errors" in body] == []


async def test_cursor_of_a_draft_is_a_position_among_the_visible_posts(rights_data: RightsData) -> None:
    cursors = "{ posts(first: 5) { edges { cursor node { id } } } }"
    edges = (await rights_data.run(cursors, ADA))["data"]["posts"]["edges"]
    assert [edge["node"]["id"] for edge in edges] == ["post_2", "post_1"]
    behind, before = (query.replace("$cursor", edges[0]["cursor"]) for query in CURSOR_READS[:2])
    seen = {"edges": [edges[1]], "totalCount": 1}
    ends = {"startCursor": edges[1]["cursor"], "endCursor": edges[1]["cursor"]}
    page_info = {"hasNextPage": False, "hasPreviousPage": False, **ends}
    assert await rights_data.run(behind, OTTO) == {"data": {"posts": {**seen, "pageInfo": page_info}}}
    empty = {"hasNextPage": True, "hasPreviousPage": False, "startCursor": None, "endCursor": None}
    assert await rights_data.run(before, OTTO) == {"data": {"posts": {"edges": [], "totalCount": 1, "pageInfo": empty}}}


class _Coordinates(Visitor):
    """Collects the fields, by type and name, that a document selects."""

    def __init__(self, types: TypeInfo) -> None:
        super().__init__()
        self._types = types
        self.found: set[str] = set()

    def enter_field(self, node: FieldNode, *_: object) -> None:
        parent = self._types.get_parent_type()
        assert parent is not None
        self.found.add(f"{parent.name}.{node.name.value}")


def selected(query: str) -> set[str]:
    types = TypeInfo(graphql_schema)
    coordinates = _Coordinates(types)
    visit(parse(query), TypeInfoVisitor(types, coordinates))
    return coordinates.found


def readable() -> set[str]:
    """Return every field that a query can reach, by type and name."""
    assert graphql_schema.query_type is not None
    pending = [graphql_schema.query_type]
    found: set[str] = set()
    while pending:
        parent = pending.pop()
        fresh = {f"{parent.name}.{name}" for name in parent.fields} - found
        found |= fresh
        targets = [get_named_type(one.type) for one in parent.fields.values()] if fresh else []
        pending += [one for one in targets if isinstance(one, GraphQLObjectType)]
    return found


def test_every_readable_field_is_in_the_table() -> None:
    queries = [*(read.query for read in READS.values()), *CURSOR_READS]
    missing = sorted(readable() - set().union(*map(selected, queries)))
    assert missing == [], (
        f"select {', '.join(missing)} in a Read of READS in tests/graph/support/rights_to_read.py, or those of a new "
        "noun in a file rights_of_….py next to it, as name: Read(query, answer to all others, answers by caller); "
        "cursors in CURSOR_READS"
    )
