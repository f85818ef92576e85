"""The hand-written limit: the same cases without any general-purpose code.

It has no GraphQL, no framework and no ORM. It is a bare ASGI application that finds each case by its name in the body,
runs one prepared statement on one of eight connections, and writes the response. It has the same basis as Folio, Python
with asyncpg on uvicorn, uvloop and httptools, so it shows the highest rate that such a Python server can reach.

The length of a page is a number in the statement's text, and bounds are in subqueries: with plain parameters,
PostgreSQL plans the statement at each execution. Where the rows of a parent belong together, a statement returns
columns as arrays: a record with two arrays costs less than ten records. In `database_json.py` PostgreSQL makes the
JSON.

Callers that change rows are checked as in Folio: signature of the token, live session, right to the row. All checks and
the change are one round trip: an UPDATE, or a database function for money.
"""

import datetime
import hashlib
import os
from typing import Any

import jwt
import orjson

from bench.peers.limit.serving import fetch, position, serve

SECRET = os.environ["BENCH_SECRET_KEY"]

_POSTS_OF_USER = """(
    SELECT array_agg(p.id) AS ids, array_agg(p.title) AS titles FROM (
        SELECT id, title FROM posts WHERE author_id = u.id AND published
        ORDER BY created_at DESC, id DESC LIMIT {each:d}
    ) p
)"""
_AFTER = "(created_at, id) < ((SELECT $1::timestamptz), (SELECT $2::bigint))"
_NEWEST = (
    "SELECT id, title, author_id, created_at FROM posts WHERE published "
    "ORDER BY created_at DESC, id DESC LIMIT {first:d}"
)
_NEWEST_AFTER = _NEWEST.replace("ORDER BY", f"AND {_AFTER} ORDER BY")
_USERS = "SELECT id, username, created_at FROM users ORDER BY created_at DESC, id DESC LIMIT {first:d}"
_USERS_AFTER = _USERS.replace("ORDER BY", f"WHERE {_AFTER} ORDER BY")


def _users_posts(users: str) -> str:
    return f"""
        SELECT u.id, u.username, p.ids, p.titles FROM ({users}) u
        CROSS JOIN LATERAL {_POSTS_OF_USER} p ORDER BY u.created_at DESC, u.id DESC"""


def _posts_authors(posts: str) -> str:
    return f"""
        SELECT array_agg(j.id), array_agg(j.title), array_agg(j.author_id), array_agg(j.username) FROM (
            SELECT p.id, p.title, p.author_id, u.username FROM ({posts}) p JOIN users u ON u.id = p.author_id
            ORDER BY p.created_at DESC, p.id DESC
        ) j"""


def _three_levels(posts: str) -> str:
    return f"""
        SELECT n.id, n.title, u.id, u.username, p.ids, p.titles FROM ({posts}) n JOIN users u ON u.id = n.author_id
        CROSS JOIN LATERAL {_POSTS_OF_USER} p ORDER BY n.created_at DESC, n.id DESC"""


_POST_AUTHOR = """
    SELECT p.id, p.title, u.id, u.username FROM posts p JOIN users u ON u.id = p.author_id
    WHERE p.id = $1 AND p.published"""
_FILTERED_PAGE = """
    SELECT (SELECT count(*) FROM posts WHERE published AND views >= (SELECT $1::bigint)),
           array_agg(id), array_agg(title), array_agg(views)
    FROM (SELECT id, title, views FROM posts WHERE published AND views >= (SELECT $1::bigint)
          ORDER BY views DESC, id DESC LIMIT 20) p"""
_TRANSFER = "SELECT * FROM pg_temp.move($1, $2, $3, $4, $5, $6, $7)"

STATEMENTS = {
    "user_posts_each": """
        SELECT u.username, u.created_at, p.titles, p.views, p.instants FROM users u CROSS JOIN LATERAL (
            SELECT array_agg(title) AS titles, array_agg(views) AS views, array_agg(created_at) AS instants FROM (
                SELECT title, views, created_at FROM posts WHERE author_id = u.id AND published
                ORDER BY created_at DESC, id DESC LIMIT 15
            ) newest
        ) p WHERE u.id = $1""",
    "post_author_posts_each": """
        SELECT p.title, p.content, u.username, ARRAY(
            SELECT title FROM posts WHERE author_id = u.id AND published ORDER BY created_at DESC, id DESC LIMIT 5
        ) FROM posts p JOIN users u ON u.id = p.author_id WHERE p.id = $1 AND p.published""",
    "feed_each": f"""
        SELECT array_agg(j.title), array_agg(j.username) FROM (
            SELECT p.title, u.username FROM ({_NEWEST_AFTER.format(first=20)}) p JOIN users u ON u.id = p.author_id
            ORDER BY p.created_at DESC, p.id DESC
        ) j""",
    "search_each": """
        SELECT array_agg(j.title), array_agg(j.views), array_agg(j.username) FROM (
            SELECT p.title, p.views, u.username FROM (
                SELECT id, title, views, author_id FROM posts WHERE published
                AND created_at >= (SELECT $1::timestamptz) AND created_at < (SELECT $2::timestamptz)
                ORDER BY views DESC, id DESC LIMIT 20
            ) p JOIN users u ON u.id = p.author_id ORDER BY p.views DESC, p.id DESC
        ) j""",
    "post_author_each": _POST_AUTHOR,
    "users_posts_each": _users_posts(_USERS_AFTER),
    "posts_authors_each": _posts_authors(_NEWEST_AFTER),
    "three_levels_each": _three_levels(_NEWEST_AFTER),
    "filtered_page_each": _FILTERED_PAGE,
    "users_posts_equal": _users_posts(_USERS),
    "posts_authors_equal": _posts_authors(_NEWEST),
    "three_levels_equal": _three_levels(_NEWEST),
    "filtered_page_equal": _FILTERED_PAGE,
    "update_post": """
        UPDATE posts SET title = $2, version = version + 1, updated_at = clock_timestamp()
        WHERE id = $1 AND author_id = (
            SELECT s.user_id FROM sessions s JOIN users u ON u.id = s.user_id
            WHERE s.id = $3 AND u.id = $4 AND s.ended_at IS NULL AND s.expires_at > clock_timestamp() AND u.is_active
        ) RETURNING id, title""",
    "transfer_1000": _TRANSFER,
    "transfer_2": _TRANSFER,
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


async def _rows(name: str, *values: object, **lengths: int) -> list[Any]:
    return await fetch(name, STATEMENTS[name], *values, **lengths)


def _after(values: Any) -> tuple[object, ...]:
    return position(values["after"]) if "after" in values else ()


def _titled(ids: list[int] | None, titles: list[str]) -> list[dict[str, Any]]:
    return [{"id": id_, "title": title} for id_, title in zip(ids or (), titles or (), strict=True)]


async def user_posts(name: str, values: Any, token: str) -> Any:
    rows = await _rows(name, values["id"])
    if not rows:
        return {"user": None}
    username, created_at, *columns = rows[0]
    posts = [
        {"title": title, "views": views, "createdAt": instant}
        for title, views, instant in zip(*(column or () for column in columns), strict=True)
    ]
    return {"user": {"username": username, "createdAt": created_at, "posts": posts}}


async def post_author_posts(name: str, values: Any, token: str) -> Any:
    rows = await _rows(name, values["id"])
    if not rows:
        return {"post": None}
    title, content, username, titles = rows[0]
    author = {"username": username, "posts": [{"title": one} for one in titles]}
    return {"post": {"title": title, "content": content, "author": author}}


async def feed(name: str, values: Any, token: str) -> Any:
    titles, usernames = (await _rows(name, *position(values["after"])))[0]
    columns = zip(titles or (), usernames or (), strict=True)
    return {"posts": [{"title": title, "author": {"username": username}} for title, username in columns]}


async def search(name: str, values: Any, token: str) -> Any:
    bounds = (datetime.datetime.fromisoformat(values[bound]) for bound in ("since", "until"))
    columns = zip(*(column or () for column in (await _rows(name, *bounds))[0]), strict=True)
    return {
        "posts": [{"title": title, "views": views, "author": {"username": author}} for title, views, author in columns]
    }


async def users_posts(name: str, values: Any, token: str) -> Any:
    rows = await _rows(name, *_after(values), first=values["users"], each=values["posts"])
    return {"users": [{"id": i, "username": name, "posts": _titled(ids, titles)} for i, name, ids, titles in rows]}


async def post_author(name: str, values: Any, token: str) -> Any:
    rows = await _rows(name, values["id"])
    if not rows:
        return {"post": None}
    post, title, author, username = rows[0]
    return {"post": {"id": post, "title": title, "author": {"id": author, "username": username}}}


async def posts_authors(name: str, values: Any, token: str) -> Any:
    columns = (await _rows(name, *_after(values), first=values["posts"]))[0]
    return {
        "posts": [
            {"id": post, "title": title, "author": {"id": author, "username": username}}
            for post, title, author, username in zip(*(column or () for column in columns), strict=True)
        ]
    }


async def three_levels(name: str, values: Any, token: str) -> Any:
    rows = await _rows(name, *_after(values), first=values["posts"], each=values["each"])
    return {
        "posts": [
            {"id": post, "title": title, "author": {"id": author, "username": name, "posts": _titled(ids, titles)}}
            for post, title, author, name, ids, titles in rows
        ]
    }


async def filtered_page(name: str, values: Any, token: str) -> Any:
    count, ids, titles, views = (await _rows(name, values["views"]))[0]
    columns = zip(ids or (), titles or (), views or (), strict=True)
    return {"posts": {"totalCount": count, "nodes": [{"id": i, "title": t, "views": v} for i, t, v in columns]}}


async def typename(name: str, values: Any, token: str) -> Any:
    return {"__typename": "Query"}


def _caller(token: str) -> tuple[int, int]:
    claims = jwt.decode(token, SECRET, algorithms=["HS256"], issuer="folio")
    return claims["sid"], int(claims["sub"])


async def update_post(name: str, values: Any, token: str) -> Any:
    given = values["input"]
    rows = await _rows(name, given["id"], given["title"], *_caller(token))
    return {"updatePost": {"post": {"id": rows[0][0], "title": rows[0][1]}, "userErrors": []}}


async def transfer(name: str, values: Any, token: str) -> Any:
    given = values["input"]
    source, target, amount = given["fromAccountId"], given["toAccountId"], given["amount"]
    units = int(amount.replace(".", ""))  # the clients of the benchmark write all digits of the currency
    digest = hashlib.sha256(f"{source} {target} {amount}".encode()).digest()
    rows = await _rows(name, source, target, units, given["idempotencyKey"], digest, *_caller(token))
    return {"transfer": {"replayed": rows[0][1], "transaction": {"id": rows[0][0]}, "userErrors": []}}


ANSWERS = {
    "user_posts_each": user_posts,
    "post_author_posts_each": post_author_posts,
    "feed_each": feed,
    "search_each": search,
    "post_author_each": post_author,
    "users_posts_each": users_posts,
    "posts_authors_each": posts_authors,
    "three_levels_each": three_levels,
    "filtered_page_each": filtered_page,
    "users_posts_equal": users_posts,
    "posts_authors_equal": posts_authors,
    "three_levels_equal": three_levels,
    "filtered_page_equal": filtered_page,
    "typename": typename,
    "update_post": update_post,
    "transfer_1000": transfer,
    "transfer_2": transfer,
}


async def answered(name: str, values: Any, token: str) -> bytes:
    """Return the body of a response."""
    return orjson.dumps({"data": await ANSWERS[name](name, values, token)})


if __name__ == "__main__":
    serve(answered, MOVE)
