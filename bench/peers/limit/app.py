"""The hand-written limit: the same cases without any general-purpose code.

It has no GraphQL, no framework and no ORM. It is a bare ASGI application that finds each case by its name in the body,
runs one prepared statement on one of eight connections, and writes the response. It has the same basis as Folio, Python
with asyncpg on uvicorn, uvloop and httptools, so it shows the highest rate that such a Python server can reach.

The length of a page is a number in the statement's text: with a parameter, PostgreSQL plans the statement at each
execution. Where the rows of a parent belong together, a statement returns columns as arrays: a record with two arrays
costs less than ten records. Writing the JSON in the database was tried: it only moves the work to PostgreSQL.

Callers that change rows are checked as in Folio: signature of the token, live session, right to the row. All checks and
the change are one round trip: an UPDATE, or a database function for money.
"""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import jwt
import orjson
import uvicorn

POOL_SIZE = 8
SECRET = os.environ["BENCH_SECRET_KEY"]

_POSTS_OF_USER = """(
    SELECT array_agg(p.id) AS ids, array_agg(p.title) AS titles FROM (
        SELECT id, title FROM posts WHERE author_id = u.id AND published
        ORDER BY created_at DESC, id DESC LIMIT {each:d}
    ) p
)"""
_NEWEST = (
    "SELECT id, title, author_id, created_at FROM posts WHERE published "
    "ORDER BY created_at DESC, id DESC LIMIT {first:d}"
)

STATEMENTS = {
    "users_posts": f"""
        SELECT u.id, u.username, p.ids, p.titles
        FROM (SELECT id, username, created_at FROM users ORDER BY created_at DESC, id DESC LIMIT {{first:d}}) u
        CROSS JOIN LATERAL {_POSTS_OF_USER} p ORDER BY u.created_at DESC, u.id DESC""",
    "post_author": """
        SELECT p.id, p.title, u.id, u.username FROM posts p JOIN users u ON u.id = p.author_id
        WHERE p.id = $1 AND p.published""",
    "posts_authors": f"""
        SELECT array_agg(j.id), array_agg(j.title), array_agg(j.author_id), array_agg(j.username) FROM (
            SELECT p.id, p.title, p.author_id, u.username FROM ({_NEWEST}) p JOIN users u ON u.id = p.author_id
            ORDER BY p.created_at DESC, p.id DESC
        ) j""",
    "three_levels": f"""
        SELECT n.id, n.title, u.id, u.username, p.ids, p.titles
        FROM ({_NEWEST}) n JOIN users u ON u.id = n.author_id
        CROSS JOIN LATERAL {_POSTS_OF_USER} p ORDER BY n.created_at DESC, n.id DESC""",
    "filtered_page": """
        SELECT (SELECT count(*) FROM posts WHERE published AND views >= $1),
               array_agg(id), array_agg(title), array_agg(views)
        FROM (SELECT id, title, views FROM posts WHERE published AND views >= $1
              ORDER BY views DESC, id DESC LIMIT 20) p""",
    "update_post": """
        UPDATE posts SET title = $2, version = version + 1, updated_at = clock_timestamp()
        WHERE id = $1 AND author_id = (
            SELECT s.user_id FROM sessions s JOIN users u ON u.id = s.user_id
            WHERE s.id = $3 AND u.id = $4 AND s.ended_at IS NULL AND s.expires_at > clock_timestamp() AND u.is_active
        ) RETURNING id, title""",
    "transfer": "SELECT * FROM pg_temp.move($1, $2, $3, $4, $5, $6, $7)",
}

# The same promises as Folio's: the key is claimed first, rows are locked in the order of their ids, balances and
# ledger row are written in one transaction, and a repeated key moves nothing. $3 is in minor units.
MOVE = """
CREATE FUNCTION pg_temp.move(
    source bigint, target bigint, units bigint, given uuid, hash bytea, session bigint, viewer bigint
) RETURNS TABLE (transaction_id bigint, replayed boolean) LANGUAGE plpgsql AS $$
DECLARE claimed bigint; spent bytea; held record; ready integer := 0; currency text;
BEGIN
    PERFORM FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.id = session AND u.id = viewer
        AND s.ended_at IS NULL AND s.expires_at > clock_timestamp() AND u.is_active;
    IF NOT FOUND THEN RAISE 'no session'; END IF;
    INSERT INTO idempotency_keys (owner_id, key, operation, request_hash) VALUES (viewer, given, 'transfer', hash)
        ON CONFLICT (owner_id, key) DO NOTHING RETURNING id INTO claimed;
    IF claimed IS NULL THEN
        SELECT t.id, k.request_hash INTO transaction_id, spent FROM idempotency_keys k
            LEFT JOIN transactions t ON t.key_id = k.id WHERE k.owner_id = viewer AND k.key = given;
        IF spent <> hash THEN RAISE 'key reused'; END IF;
        replayed := true; RETURN NEXT; RETURN;
    END IF;
    FOR held IN SELECT a.id, a.owner_id, a.balance, a.currency_code FROM accounts a WHERE a.id IN (source, target)
        ORDER BY a.id FOR NO KEY UPDATE LOOP
        IF held.id = source AND (held.owner_id <> viewer OR held.balance < units) THEN RAISE 'refused'; END IF;
        IF currency <> held.currency_code THEN RAISE 'two currencies'; END IF;
        currency := held.currency_code;
        ready := ready + 1;
    END LOOP;
    IF ready <> 2 THEN RAISE 'no such account'; END IF;
    UPDATE accounts a SET balance = a.balance + CASE WHEN a.id = source THEN -units ELSE units END
        WHERE a.id IN (source, target);
    INSERT INTO transactions (from_id, to_id, amount, key_id) VALUES (source, target, units, claimed)
        RETURNING id INTO transaction_id;
    replayed := false; RETURN NEXT;
END $$
"""

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass
class Held:
    """A connection, and its prepared statements, by the name of the case and the lengths of its pages."""

    connection: Any
    prepared: dict[tuple[object, ...], Any] = field(default_factory=dict)


_idle: "asyncio.LifoQueue[Held]" = asyncio.LifoQueue()


async def _fetch(name: str, *values: object, **lengths: int) -> list[Any]:
    held = await _idle.get()
    try:
        key = (name, *lengths.values())
        statement = held.prepared.get(key)
        if statement is None:
            statement = held.prepared[key] = await held.connection.prepare(STATEMENTS[name].format(**lengths))
        rows: list[Any] = await statement.fetch(*values)
        return rows
    finally:
        _idle.put_nowait(held)


def _titled(ids: list[int] | None, titles: list[str]) -> list[dict[str, Any]]:
    return [{"id": id_, "title": title} for id_, title in zip(ids or (), titles or (), strict=True)]


async def users_posts(values: Any, token: str) -> Any:
    rows = await _fetch("users_posts", first=values["users"], each=values["posts"])
    return {"users": [{"id": i, "username": name, "posts": _titled(ids, titles)} for i, name, ids, titles in rows]}


async def post_author(values: Any, token: str) -> Any:
    rows = await _fetch("post_author", values["id"])
    if not rows:
        return {"post": None}
    post, title, author, name = rows[0]
    return {"post": {"id": post, "title": title, "author": {"id": author, "username": name}}}


async def posts_authors(values: Any, token: str) -> Any:
    columns = (await _fetch("posts_authors", first=values["posts"]))[0]
    return {
        "posts": [
            {"id": post, "title": title, "author": {"id": author, "username": name}}
            for post, title, author, name in zip(*columns, strict=True)
        ]
    }


async def three_levels(values: Any, token: str) -> Any:
    rows = await _fetch("three_levels", first=values["posts"], each=values["each"])
    return {
        "posts": [
            {"id": post, "title": title, "author": {"id": author, "username": name, "posts": _titled(ids, titles)}}
            for post, title, author, name, ids, titles in rows
        ]
    }


async def filtered_page(values: Any, token: str) -> Any:
    count, ids, titles, views = (await _fetch("filtered_page", values["views"]))[0]
    columns = zip(ids or (), titles or (), views or (), strict=True)
    return {"posts": {"totalCount": count, "nodes": [{"id": i, "title": t, "views": v} for i, t, v in columns]}}


async def typename(values: Any, token: str) -> Any:
    return {"__typename": "Query"}


def _caller(token: str) -> tuple[int, int]:
    claims = jwt.decode(token, SECRET, algorithms=["HS256"], issuer="folio")
    return claims["sid"], int(claims["sub"])


async def update_post(values: Any, token: str) -> Any:
    given = values["input"]
    rows = await _fetch("update_post", given["id"], given["title"], *_caller(token))
    return {"updatePost": {"post": {"id": rows[0][0], "title": rows[0][1]}, "userErrors": []}}


async def transfer(values: Any, token: str) -> Any:
    given = values["input"]
    source, target, amount = given["fromAccountId"], given["toAccountId"], given["amount"]
    units = int(amount.replace(".", ""))  # the clients of the benchmark write all digits of the currency
    digest = hashlib.sha256(f"{source} {target} {amount}".encode()).digest()
    rows = await _fetch("transfer", source, target, units, given["idempotencyKey"], digest, *_caller(token))
    return {"transfer": {"replayed": rows[0][1], "transaction": {"id": rows[0][0]}, "userErrors": []}}


ANSWERS = {
    "users_posts": users_posts,
    "post_author": post_author,
    "posts_authors": posts_authors,
    "three_levels": three_levels,
    "users_posts_each": users_posts,
    "posts_authors_each": posts_authors,
    "filtered_page": filtered_page,
    "typename": typename,
    "update_post": update_post,
    "transfer_1000": transfer,
    "transfer_2": transfer,
}


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Handle one request."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    request = orjson.loads(body)
    token = next((value for name, value in scope["headers"] if name == b"authorization"), b"")[7:].decode()
    answer = orjson.dumps({"data": await ANSWERS[request["operationName"]](request["variables"], token)})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


async def _live(receive: Receive, send: Send) -> None:
    await receive()
    for _ in range(POOL_SIZE):
        connection = await asyncpg.connect(os.environ["BENCH_DATABASE_URL"], server_settings={"jit": "off"})
        await connection.execute(MOVE)
        _idle.put_nowait(Held(connection))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(os.environ["BENCH_PORT"]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        server_header=False,
        log_level="warning",
    )
