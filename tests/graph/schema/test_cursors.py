"""Cursors of any kind that a client may send: valid ones, those of another list or order, mutated and invented ones.

A cursor is opaque, not secret: a forged one is a position in a list that the caller may see, or BAD_USER_INPUT, and
never an unexpected error.
"""

import base64
from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from tests.graph.support.callers import Client, Person, SignUp
from tests.graph.support.population import Text, day, insert_posts, insert_users, populate
from tests.graph.support.refusals import bad_input, unlocated

REFUSED = bad_input(
    "after is not a cursor of this list in this order; pass an endCursor, startCursor or edge cursor "
    "that the same list returned for the same orderBy",
    ["posts"],
)
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
PAGE = "query ($cursor: String) { posts(after: $cursor) { nodes { id } } }"


@pytest.fixture
async def posts(client: Client) -> list[str]:
    """The ids of six posts, newest first, with ties."""
    return (await insert_posts(client.database, [Text(created_at=day(number // 2)) for number in range(6)]))[::-1]


def encoded(value: object) -> str:
    """Return the spelling of a cursor with this value."""
    return base64.urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=").decode()


def decoded(cursor: str) -> list[Any]:
    """Return the value of a cursor."""
    parts: list[Any] = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    return parts


async def first_cursor(client: Client, field: str = "posts", by: Person | None = None) -> str:
    """Return the cursor of the first row of a list."""
    data = await client.data(f"{{ {field} {{ pageInfo {{ startCursor }} }} }}", by=by)
    cursor: str = next(iter(data.values()))["pageInfo"]["startCursor"]
    return cursor


async def test_a_cursor_is_valid_only_for_its_own_list_in_its_own_order(client: Client, posts: Sequence[str]) -> None:
    await insert_users(client.database, [("somebody", day(0))])
    order = "posts(orderBy: { field: %s, direction: %s })"
    fields = [
        "users",
        "users(orderBy: { field: CREATED_AT, direction: DESC })",
        order % ("CREATED_AT", "ASC"),
        order % ("VIEWS", "DESC"),
        order % ("TITLE", "DESC"),
        "posts(orderBy: [{ field: CREATED_AT, direction: DESC }, { field: VIEWS, direction: DESC }])",
    ]
    foreign = [await first_cursor(client, field) for field in fields]
    own = [await first_cursor(client), await first_cursor(client, order % ("CREATED_AT", "DESC"))]
    assert [unlocated(await client.run(PAGE, cursor=cursor)) for cursor in foreign] == [REFUSED] * len(fields)
    following = {"data": {"posts": {"nodes": [{"id": id_} for id_ in posts[1:]]}}}
    assert [await client.run(PAGE, cursor=cursor) for cursor in own] == [following] * 2


async def test_accounts_and_transactions_refuse_each_others_cursors(client: Client, sign_up: SignUp) -> None:
    admin = await sign_up("root", admin=True)
    await populate(client.database, 2)
    data = await client.data(
        """{ user(id: "user_3") { accounts { pageInfo { endCursor } } }
             account(id: "account_1") { transactions { pageInfo { endCursor } } } }""",
        by=admin,
    )
    queries = {
        "accounts": 'query ($cursor: String) { user(id: "user_3") { accounts(after: $cursor) { totalCount } } }',
        "transactions": (
            'query ($cursor: String) { account(id: "account_1") { transactions(after: $cursor) { totalCount } } }'
        ),
    }
    cursors = {
        "transactions": data["user"]["accounts"]["pageInfo"]["endCursor"],
        "accounts": data["account"]["transactions"]["pageInfo"]["endCursor"],
    }
    codes = [
        [error["extensions"] for error in (await client.run(queries[name], by=admin, cursor=cursors[name]))["errors"]]
        for name in queries
    ]
    assert codes == [[{"code": "BAD_USER_INPUT"}]] * 2


async def test_a_mutated_cursor_is_refused_or_another_position_of_the_same_list(
    client: Client, posts: Sequence[str]
) -> None:
    cursor = (await client.data("{ posts(first: 3) { pageInfo { endCursor } } }"))["posts"]["pageInfo"]["endCursor"]
    mutated = set()
    for at, character in enumerate(cursor):
        successor = BASE64[(BASE64.index(character) + 1) % 64]
        for other in {successor, "A", "_", "=", " ", "é", "", character * 2} - {character}:
            mutated.add(cursor[:at] + other + cursor[at + 1 :])
    pages = [[{"id": id_} for id_ in posts[start:]] for start in range(len(posts) + 1)]
    taken, refused = 0, 0
    for one in sorted(mutated):
        body = unlocated(await client.run(PAGE, cursor=one))
        if body == REFUSED:
            refused += 1
        else:
            # The mutation changed a digit of the instant or of the id into another digit.
            assert body in [{"data": {"posts": {"nodes": page}}} for page in pages], one
            taken += 1
    assert refused + taken == len(mutated)
    assert refused > 10 * taken > 0


async def test_text_that_no_list_has_issued_is_refused_as_a_cursor(client: Client, posts: Sequence[str]) -> None:
    cursor = await first_cursor(client)
    signature, instant, number = decoded(cursor)
    assert encoded([signature, instant, number]) == cursor
    no_instants: list[object] = [None, True, 1.5, "2026-03-01", [], {}, 2**63, -(2**63)]
    no_numbers: list[object] = [None, False, 1.0, "1", [1], {}, 2**63, -(2**63), 2**64 - 1]
    made_up = [
        "",
        " ",
        "0",
        "null",
        "post_1",
        "x" * 3000,
        cursor * 40,
        "💥",
        "\uff45\uff59",
        "\ud7ff\ue000",
        "%00",
        "..",
        *(cursor + suffix for suffix in ("=", "==", "===", " ", "\n", "A", "AA", "AAAA", "\u200b")),
        " " + cursor,
        cursor.swapcase(),
        cursor[:-1],
        cursor[1:],
        *map(encoded, [None, 5, "text", {}, [], [signature], [signature, instant], [[signature, instant, number]]]),
        encoded([signature, instant, number, number]),
        encoded([signature + 1, instant, number]),
        encoded([str(signature), instant, number]),
        *(encoded([signature, value, number]) for value in no_instants),
        *(encoded([signature, instant, value]) for value in no_numbers),
        # Years out of range.
        *(encoded([signature, value, number]) for value in (2**60, -(2**60), 253_402_300_800_000_000)),
        # Another spelling of the same value.
        base64.urlsafe_b64encode(f"[{signature}, {instant}, {number}]".encode()).rstrip(b"=").decode(),
        base64.urlsafe_b64encode(f"[{signature},{instant},{number}.0]".encode()).rstrip(b"=").decode(),
        base64.urlsafe_b64encode(b"[" * 1000).decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    ]
    answers = {cursor: unlocated(await client.run(PAGE, cursor=cursor)) for cursor in made_up}
    assert answers == dict.fromkeys(made_up, REFUSED)


async def test_a_forged_position_is_only_a_position(client: Client, posts: Sequence[str]) -> None:
    signature = decoded(await first_cursor(client))[0]
    draft = Text(published=False, created_at=day(1))
    await insert_posts(client.database, [draft])
    year_1, year_9999 = -62_135_596_800_000_000, 253_402_300_799_999_999
    everything, nothing = [{"id": id_} for id_ in posts], list[dict[str, str]]()
    answers = [
        (await client.data(PAGE, cursor=encoded(value)))["posts"]["nodes"]
        for value in (
            [signature, year_9999, 2**63 - 1],
            [signature, year_1, 1],
            [signature, 0, -(2**63) + 1],
            [signature, year_9999, -5],
        )
    ]
    assert answers == [everything, nothing, nothing, everything]


TITLES = ["a", "x" * 200, '"' * 200, "\x01" * 200, "💥" * 200, "ß\u202e'; --\\", " ' "]


async def test_the_cursor_of_any_title_continues(client: Client) -> None:
    query = """query ($cursor: String, $day: DateTime) {
      posts(first: 1, after: $cursor, orderBy: { field: TITLE, direction: ASC }, filter: { createdAt: { gte: $day } }) {
        nodes { id title } pageInfo { endCursor }
      }
    }"""
    for number, title in enumerate(TITLES):
        ids = await insert_posts(client.database, [Text(title=title, created_at=day(number))] * 2)
        walked, cursor = [], None
        for _ in range(3):
            page = (await client.data(query, cursor=cursor, day=day(number).isoformat()))["posts"]
            walked.append(page["nodes"])
            cursor = page["pageInfo"]["endCursor"]
        assert walked == [[{"id": ids[0], "title": title}], [{"id": ids[1], "title": title}], []]


async def test_a_cursor_that_is_no_string_is_no_valid_operation(client: Client) -> None:
    for value in ("5", "true", "[5]", "{ a: 5 }", "1.5"):
        body = await client.run(f"{{ posts(after: {value}) {{ nodes {{ id }} }} }}")
        assert [error["extensions"] for error in body["errors"]] == [{"code": "GRAPHQL_VALIDATION_FAILED"}], value
