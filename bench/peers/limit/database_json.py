"""Hasura's shape by hand: one statement for each request, which returns the whole response as JSON.

https://hasura.io/docs/2.0/how-it-works: Hasura compiles an operation into one statement with LATERAL joins, and
PostgreSQL makes the JSON. Here the statements are written by hand, and nothing is compiled from GraphQL. Server,
driver, connections and the rules for parameters are those of `app.py`: the two differ only in who makes the JSON.

It takes part in the reads only.
"""

import datetime
from collections.abc import Callable
from typing import Any

from bench.peers.limit.serving import fetch, position, serve

_AFTER = "(created_at, id) < ((SELECT $1::timestamptz), (SELECT $2::bigint))"
_USERS = "SELECT id, username, created_at FROM users ORDER BY created_at DESC, id DESC LIMIT {first:d}"
_USERS_AFTER = _USERS.replace("ORDER BY", f"WHERE {_AFTER} ORDER BY")
_NEWEST = (
    "SELECT id, title, author_id, created_at FROM posts WHERE published "
    "ORDER BY created_at DESC, id DESC LIMIT {first:d}"
)
_NEWEST_AFTER = _NEWEST.replace("ORDER BY", f"AND {_AFTER} ORDER BY")


def _posts_of_user(first: str, fields: str = "'id', id, 'title', title") -> str:
    return f"""LATERAL (
        SELECT coalesce(json_agg(json_build_object({fields})), '[]') AS nodes FROM (
            SELECT id, title, views, created_at FROM posts WHERE author_id = u.id AND published
            ORDER BY created_at DESC, id DESC LIMIT {first}
        ) newest
    ) mine"""


def _root(name: str, select: str) -> str:
    return f"SELECT json_build_object('data', json_build_object('{name}', ({select})))::text"


def _users_posts(users: str) -> str:
    return _root(
        "users",
        "SELECT json_agg(json_build_object('id', u.id, 'username', u.username, 'posts', mine.nodes) "
        f"ORDER BY u.created_at DESC, u.id DESC) FROM ({users}) u CROSS JOIN {_posts_of_user('{each:d}')}",
    )


def _posts_authors(posts: str) -> str:
    return _root(
        "posts",
        "SELECT json_agg(json_build_object('id', p.id, 'title', p.title, "
        "'author', json_build_object('id', u.id, 'username', u.username)) ORDER BY p.created_at DESC, p.id DESC) "
        f"FROM ({posts}) p JOIN users u ON u.id = p.author_id",
    )


def _three_levels(posts: str) -> str:
    return _root(
        "posts",
        "SELECT json_agg(json_build_object('id', p.id, 'title', p.title, "
        "'author', json_build_object('id', u.id, 'username', u.username, 'posts', mine.nodes)) "
        f"ORDER BY p.created_at DESC, p.id DESC) FROM ({posts}) p JOIN users u ON u.id = p.author_id "
        f"CROSS JOIN {_posts_of_user('{each:d}')}",
    )


_POST_AUTHOR = _root(
    "post",
    "SELECT json_build_object('id', p.id, 'title', p.title, "
    "'author', json_build_object('id', u.id, 'username', u.username)) "
    "FROM posts p JOIN users u ON u.id = p.author_id WHERE p.id = $1 AND p.published",
)
_FILTERED_PAGE = _root(
    "posts",
    "SELECT json_build_object("
    "'totalCount', (SELECT count(*) FROM posts WHERE published AND views >= (SELECT $1::bigint)), "
    "'nodes', coalesce(json_agg(json_build_object('id', id, 'title', title, 'views', views)), '[]')) "
    "FROM (SELECT id, title, views FROM posts WHERE published AND views >= (SELECT $1::bigint) "
    "ORDER BY views DESC, id DESC LIMIT 20) p",
)

_DATED_POSTS = _posts_of_user("15", "'title', title, 'views', views, 'createdAt', created_at")
_TITLES = _posts_of_user("5", "'title', title")

STATEMENTS = {
    "user_posts_each": _root(
        "user",
        "SELECT json_build_object('username', u.username, 'createdAt', u.created_at, 'posts', mine.nodes) FROM users u "
        f"CROSS JOIN {_DATED_POSTS} WHERE u.id = $1",
    ),
    "post_author_posts_each": _root(
        "post",
        "SELECT json_build_object('title', p.title, 'content', p.content, "
        "'author', json_build_object('username', u.username, 'posts', mine.nodes)) "
        "FROM posts p JOIN users u ON u.id = p.author_id "
        f"CROSS JOIN {_TITLES} WHERE p.id = $1 AND p.published",
    ),
    "feed_each": _root(
        "posts",
        "SELECT json_agg(json_build_object('title', p.title, 'author', json_build_object('username', u.username)) "
        f"ORDER BY p.created_at DESC, p.id DESC) FROM ({_NEWEST_AFTER.format(first=20)}) p "
        "JOIN users u ON u.id = p.author_id",
    ),
    "search_each": _root(
        "posts",
        "SELECT json_agg(json_build_object('title', p.title, 'views', p.views, "
        "'author', json_build_object('username', u.username)) ORDER BY p.views DESC, p.id DESC) FROM ("
        "SELECT id, title, views, author_id FROM posts WHERE published "
        "AND created_at >= (SELECT $1::timestamptz) AND created_at < (SELECT $2::timestamptz) "
        "ORDER BY views DESC, id DESC LIMIT 20) p JOIN users u ON u.id = p.author_id",
    ),
    "post_author_each": _POST_AUTHOR,
    "users_posts_each": _users_posts(_USERS_AFTER),
    "posts_authors_each": _posts_authors(_NEWEST_AFTER),
    "three_levels_each": _three_levels(_NEWEST_AFTER),
    "filtered_page_each": _FILTERED_PAGE,
    "users_posts_equal": _users_posts(_USERS),
    "posts_authors_equal": _posts_authors(_NEWEST),
    "three_levels_equal": _three_levels(_NEWEST),
    "filtered_page_equal": _FILTERED_PAGE,
}

# By variable: the parameters of a statement, in their order.
_PARAMETERS: dict[str, Callable[[Any], tuple[object, ...]]] = {
    "id": lambda value: (value,),
    "views": lambda value: (value,),
    "after": position,
    "since": lambda value: (datetime.datetime.fromisoformat(value),),
    "until": lambda value: (datetime.datetime.fromisoformat(value),),
}


async def answered(name: str, values: Any, token: str) -> bytes:
    """Return the body of a response."""
    if name == "typename":
        return b'{"data":{"__typename":"Query"}}'
    parameters = [one for key, convert in _PARAMETERS.items() if key in values for one in convert(values[key])]
    lengths = {}
    if "users" in values:
        lengths = {"first": values["users"], "each": values["posts"]}
    elif "posts" in values:
        lengths = {"first": values["posts"], "each": values.get("each", 0)}
    text: str = (await fetch(name, STATEMENTS[name], *parameters, **lengths))[0][0]
    return text.encode()


if __name__ == "__main__":
    serve(answered)
