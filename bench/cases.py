"""The cases: each with its document in every dialect, and the variables of its requests.

Three dialects request the same rows: `folio`, whose lists are Relay connections; `lists`, a schema as one writes it by
hand for Strawberry and Mercurius; `postgraphile`, whose schema is derived from the tables. The hand-written limit gets
only the name of the case and the variables.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from bench.stock import NOBODY, Stock

Variables = dict[str, Any]
BODIES = 2000  # the different requests of a case; the generator sends them in a cycle

# Replaced by a new UUID in each request.
KEY = "@KEY@"
_DRAWN = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
PAIR = 2


@dataclass(frozen=True)
class CaseRequest:
    """One request: the variables and the caller's token. Ids are numbers here; each dialect formats them."""

    variables: Variables
    token: str = NOBODY


@dataclass(frozen=True)
class Case:
    """One case of the benchmark.

    Attributes:
        texts: the operation in each dialect that supports it.
        draw: makes random requests from the stored rows.
        writes: whether it changes rows; then only some peers take part.
    """

    name: str
    title: str
    texts: dict[str, str]
    draw: Callable[[Stock, random.Random], Sequence[CaseRequest]]
    writes: bool = False


def bodies(case: Case, dialect: str, requests: Sequence[CaseRequest]) -> list[tuple[str, bytes]]:
    """Return the token and the body of each request of `case` in `dialect`."""
    text = case.texts.get(dialect)
    head: dict[str, Any] = {"operationName": case.name} if text is None else {"query": text}
    return [(one.token, orjson.dumps({**head, "variables": _worded(one.variables, dialect)})) for one in requests]


_KINDS = {"id": "post", "fromAccountId": "account", "toAccountId": "account"}


def _worded(variables: Variables, dialect: str) -> Variables:
    worded: Variables = {}
    for name, value in variables.items():
        if isinstance(value, dict):
            worded[name] = _worded(value, dialect)
        elif name in _KINDS and dialect == "folio":
            worded[name] = f"{_KINDS[name]}_{value}"
        elif name in _KINDS and dialect != "limit":
            worded[name] = str(value)
        else:
            worded[name] = value
    return worded


# ---------------------------------------------------------------- random requests


def _always(**variables: Any) -> Callable[[Stock, random.Random], Sequence[CaseRequest]]:
    return lambda _stock, _chance: [CaseRequest(variables)]


def _any_size(**bounds: tuple[int, int]) -> Callable[[Stock, random.Random], Sequence[CaseRequest]]:
    def drawn(_stock: Stock, chance: random.Random) -> Sequence[CaseRequest]:
        return [CaseRequest({name: chance.randint(*bound) for name, bound in bounds.items()}) for _ in range(BODIES)]

    return drawn


def _any_post(stock: Stock, chance: random.Random) -> Sequence[CaseRequest]:
    return [CaseRequest({"id": post}) for post in chance.choices(stock.published, k=BODIES)]


def _any_threshold(stock: Stock, chance: random.Random) -> Sequence[CaseRequest]:
    return [CaseRequest({"views": views}) for views in chance.choices(stock.thresholds, k=BODIES)]


def _any_change(stock: Stock, chance: random.Random) -> Sequence[CaseRequest]:
    # Each request has a new title: a title that the post already has would change nothing.
    changed = chance.choices(stock.owned, k=BODIES)
    return [CaseRequest({"input": {"id": post, "title": f"Revised as {KEY}"}}, token) for post, token in changed]


def _any_transfer(accounts: int) -> Callable[[Stock, random.Random], Sequence[CaseRequest]]:
    def drawn(stock: Stock, chance: random.Random) -> Sequence[CaseRequest]:
        return [_transfer(stock, chance, accounts) for _ in range(BODIES)]

    return drawn


def _transfer(stock: Stock, chance: random.Random, accounts: int) -> CaseRequest:
    usable = stock.accounts[:accounts] if accounts > PAIR else stock.pair
    source = chance.choice(usable)
    target = chance.choice([one for one in usable if one.currency == source.currency and one.id != source.id])
    return CaseRequest(
        {
            "input": {
                "fromAccountId": source.id,
                "toAccountId": target.id,
                "amount": source.least,  # so that no account becomes empty
                "idempotencyKey": KEY,
            }
        },
        source.token,
    )


# ---------------------------------------------------------------- cases

_BY_AGE = "orderBy: [CREATED_AT_DESC, ROW_ID_DESC]"
_SEEN = "condition: {published: true}"
_CHANGED = "{ post { id title } userErrors { code } }"
_MOVED = "{ replayed transaction { id } userErrors { code } }"
_CHANGE = f"mutation Change($input: UpdatePostInput!) {{ updatePost(input: $input) {_CHANGED} }}"
_TRANSFER = f"mutation Move($input: TransferInput!) {{ transfer(input: $input) {_MOVED} }}"

_USERS_POSTS = {
    "folio": "query Q($users: Int!, $posts: Int!) "
    "{ users(first: $users) { nodes { id username posts(first: $posts) { nodes { id title } } } } }",
    "lists": "query Q($users: Int!, $posts: Int!) "
    "{ users(first: $users) { id username posts(first: $posts) { id title } } }",
    "postgraphile": "query Q($users: Int!, $posts: Int!) "
    f"{{ users: allUsers(first: $users, {_BY_AGE}) {{ nodes {{ id: rowId username "
    f"posts: postsByAuthorId(first: $posts, {_SEEN}, {_BY_AGE}) {{ nodes {{ id: rowId title }} }} }} }} }}",
}
_POSTS_AUTHORS = {
    "folio": "query Q($posts: Int!) { posts(first: $posts) { nodes { id title author { id username } } } }",
    "lists": "query Q($posts: Int!) { posts(first: $posts) { id title author { id username } } }",
    "postgraphile": "query Q($posts: Int!) "
    f"{{ posts: allPosts(first: $posts, {_SEEN}, {_BY_AGE}) "
    "{ nodes { id: rowId title author: userByAuthorId { id: rowId username } } } }",
}

CASES = {
    case.name: case
    for case in (
        Case(
            "users_posts",
            "20 users with 10 posts each",
            _USERS_POSTS,
            _always(users=20, posts=10),
        ),
        Case(
            "post_author",
            "one post with its author",
            {
                "folio": "query Q($id: ID!) { post(id: $id) { id title author { id username } } }",
                "lists": "query Q($id: ID!) { post(id: $id) { id title author { id username } } }",
                "postgraphile": "query Q($id: BigInt!) "
                "{ post: postByRowId(rowId: $id) { id: rowId title author: userByAuthorId { id: rowId username } } }",
            },
            _any_post,
        ),
        Case(
            "posts_authors",
            "100 posts with their authors",
            _POSTS_AUTHORS,
            _always(posts=100),
        ),
        Case(
            "three_levels",
            "10 posts, their authors, 5 posts of each",
            {
                "folio": "query Q($posts: Int!, $each: Int!) { posts(first: $posts) "
                "{ nodes { id title author { id username posts(first: $each) { nodes { id title } } } } } }",
                "lists": "query Q($posts: Int!, $each: Int!) { posts(first: $posts) "
                "{ id title author { id username posts(first: $each) { id title } } } }",
                "postgraphile": "query Q($posts: Int!, $each: Int!) "
                f"{{ posts: allPosts(first: $posts, {_SEEN}, {_BY_AGE}) {{ nodes {{ id: rowId title "
                "author: userByAuthorId { id: rowId username "
                f"posts: postsByAuthorId(first: $each, {_SEEN}, {_BY_AGE}) {{ nodes {{ id: rowId title }} }} "
                "} } } }",
            },
            _always(posts=10, each=5),
        ),
        Case(
            "users_posts_each",
            "16 to 24 users with 8 to 12 posts each",
            _USERS_POSTS,
            _any_size(users=(16, 24), posts=(8, 12)),
        ),
        Case(
            "posts_authors_each",
            "60 to 100 posts with their authors",
            _POSTS_AUTHORS,
            _any_size(posts=(60, 100)),
        ),
        Case(
            "filtered_page",
            "a filtered page of 20 with its total",
            {
                "folio": "query Q($views: Int!) { posts(first: 20, filter: {views: {gte: $views}}, "
                "orderBy: [{field: VIEWS, direction: DESC}]) { totalCount nodes { id title views } } }",
                "lists": "query Q($views: Int!) { posts: popularPosts(first: 20, viewsMin: $views) "
                "{ totalCount nodes { id title views } } }",
                "postgraphile": "query Q($views: BigInt!) { posts: allPosts(first: 20, "
                f"{_SEEN}, filter: {{views: {{greaterThanOrEqualTo: $views}}}}, orderBy: [VIEWS_DESC, ROW_ID_DESC]) "
                "{ totalCount nodes { id: rowId title views } } }",
            },
            _any_threshold,
        ),
        Case(
            "typename",
            "{ __typename }",
            dict.fromkeys(("folio", "lists", "postgraphile"), "{ __typename }"),
            _always(),
        ),
        Case(
            "update_post",
            "an author changes a post",
            {"folio": _CHANGE, "lists": _CHANGE},
            _any_change,
            writes=True,
        ),
        Case(
            "transfer_1000",
            "transfers among 1,000 accounts",
            {"folio": _TRANSFER, "lists": _TRANSFER},
            _any_transfer(1000),
            writes=True,
        ),
        Case(
            "transfer_2",
            "transfers between 2 accounts",
            {"folio": _TRANSFER, "lists": _TRANSFER},
            _any_transfer(PAIR),
            writes=True,
        ),
    )
}


# ---------------------------------------------------------------- comparison of responses


def plain(answer: Any) -> Any:
    """Return a response without the differences between dialects, for comparison.

    Ids become numbers, a connection with only nodes becomes its list, the id of a new ledger row becomes 0, and the
    random key of a request becomes KEY again.
    """
    if isinstance(answer, list):
        return [plain(item) for item in answer]
    if not isinstance(answer, dict):
        return answer
    if set(answer) == {"nodes"}:
        return plain(answer["nodes"])
    clean = {name: plain(value) for name, value in answer.items()}
    if "id" in clean:
        clean["id"] = int(str(clean["id"]).rpartition("_")[2])
    if "views" in clean:
        clean["views"] = int(clean["views"])
    if "title" in clean:
        clean["title"] = _DRAWN.sub(KEY, clean["title"])
    if clean.get("transaction"):
        clean["transaction"] = {"id": 0}
    return clean
