"""The cases: the variables of their requests, and the comparison of responses.

Three kinds of cases read rows:

- `..._each`: each request is another one, drawn from the whole table. wrk takes the requests of all connections from
  one sequence without repetitions, so that two equal ones are not in flight at the same time.
- `..._equal`: all requests are equal.
- `typename` reads no rows.
"""

import datetime
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from bench.documents import DOCUMENTS
from bench.stock import NOBODY, Position, Stock

T = TypeVar("T")
Variables = dict[str, Any]
Cursors = Mapping[Position, str]
BODIES = 2000  # the different requests of a case; the generator sends them in a cycle

# Replaced by a new UUID in each request.
KEY = "@KEY@"
_DRAWN = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
PAIR = 2


@dataclass(frozen=True)
class Ref:
    """The id of a row, which each dialect writes in its own way."""

    kind: str
    id: int


@dataclass(frozen=True)
class CaseRequest:
    """One request: the variables and the caller's token. Ids are `Ref` here, and cursors `Position`."""

    variables: Variables
    token: str = NOBODY


@dataclass(frozen=True)
class Case:
    """One case of the benchmark.

    Attributes:
        draw: makes random requests from the stored rows.
        writes: whether it changes rows; then only some peers take part.
    """

    name: str
    title: str
    draw: Callable[[Stock, random.Random], Sequence[CaseRequest]]
    writes: bool = False

    @property
    def each(self) -> bool:
        """Whether each request is another one."""
        return self.name.endswith("_each")

    @property
    def equal(self) -> bool:
        """Whether all requests are equal."""
        return self.name.endswith("_equal")


def takes_part(case: Case, dialect: str, *, writes: bool) -> bool:
    """Return whether a peer of `dialect` can answer `case`; `writes` is whether it changes rows."""
    texts = DOCUMENTS.get(dialect)
    return (texts is None or case.name in texts) and (writes or not case.writes)


def bodies(
    case: Case, dialect: str, requests: Sequence[CaseRequest], cursors: Cursors | None = None
) -> list[tuple[str, bytes]]:
    """Return the token and the body of each request of `case` in `dialect`.

    Args:
        case: the case.
        dialect: a dialect of `bench.documents`, or that of the hand-written peers.
        requests: what `case.draw` returned.
        cursors: the server's own cursors, if it has any (`bench.cursors`).
    """
    text = DOCUMENTS.get(dialect, {}).get(case.name)
    head: dict[str, Any] = {"operationName": case.name} if text is None else {"query": text}
    return [
        (one.token, orjson.dumps({**head, "variables": _worded(one.variables, dialect, cursors or {})}))
        for one in requests
    ]


def positions(requests: Sequence[CaseRequest]) -> Iterator[Position]:
    """Yield the positions that the requests continue after."""
    for one in requests:
        yield from (value for value in one.variables.values() if isinstance(value, Position))


def _worded(value: Any, dialect: str, cursors: Cursors) -> Any:
    if isinstance(value, dict):
        return {name: _worded(inner, dialect, cursors) for name, inner in value.items()}
    if isinstance(value, Ref):
        if dialect in {"limit", "strawchemy"}:
            return value.id
        return f"{value.kind}_{value.id}" if dialect == "folio" else str(value.id)
    if isinstance(value, Position) and dialect == "strawchemy":
        # It has no cursors: a filter continues after a row. The first condition finds the place in the index.
        at = _instant(value.created_at)
        return {"createdAt": {"lte": at}, "_or": [{"createdAt": {"lt": at}}, {"id": {"lt": value.id}}]}
    if isinstance(value, Position):
        # The cursor of the hand-written peers is the position itself.
        return cursors.get(value) or f"{_instant(value.created_at)},{value.id}"
    return _instant(value) if isinstance(value, datetime.datetime) else value


def _instant(value: datetime.datetime) -> str:
    return value.astimezone(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


# ---------------------------------------------------------------- random requests


def _always(**variables: Any) -> Callable[[Stock, random.Random], Sequence[CaseRequest]]:
    return lambda _stock, _chance: [CaseRequest(variables)]


def _sample(values: Sequence[T], chance: random.Random) -> list[T]:
    """Return BODIES different ones of `values`, or all in another order if there are fewer."""
    return chance.sample(values, min(BODIES, len(values)))


def _each_user(stock: Stock, chance: random.Random) -> Sequence[CaseRequest]:
    return [CaseRequest({"id": Ref("user", user)}) for user in _sample(stock.users, chance)]


def _each_post(stock: Stock, chance: random.Random) -> Sequence[CaseRequest]:
    return [CaseRequest({"id": Ref("post", post)}) for post in _sample(stock.published, chance)]


def _after_each(name: str, **sizes: int) -> Callable[[Stock, random.Random], Sequence[CaseRequest]]:
    def drawn(stock: Stock, chance: random.Random) -> Sequence[CaseRequest]:
        return [CaseRequest({**sizes, "after": position}) for position in _sample(stock.positions[name], chance)]

    return drawn


def _each_period(stock: Stock, chance: random.Random) -> Sequence[CaseRequest]:
    return [CaseRequest({"since": since, "until": until}) for since, until in _sample(stock.periods, chance)]


def _each_threshold(stock: Stock, chance: random.Random) -> Sequence[CaseRequest]:
    return [CaseRequest({"views": views}) for views in _sample(stock.thresholds, chance)]


def _one_threshold(stock: Stock, chance: random.Random) -> Sequence[CaseRequest]:
    return [CaseRequest({"views": stock.thresholds[len(stock.thresholds) // 2]})]


def _any_change(stock: Stock, chance: random.Random) -> Sequence[CaseRequest]:
    # Each request has a new title: a title that the post already has would change nothing.
    changed = chance.choices(stock.owned, k=BODIES)
    return [
        CaseRequest({"input": {"id": Ref("post", post), "title": f"Revised as {KEY}"}}, token)
        for post, token in changed
    ]


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
                "fromAccountId": Ref("account", source.id),
                "toAccountId": Ref("account", target.id),
                "amount": source.least,  # so that no account becomes empty
                "idempotencyKey": KEY,
            }
        },
        source.token,
    )


# ---------------------------------------------------------------- cases

# In the order of measurement, of the tables and of the plot: first what differs between requests.
CASES = {
    case.name: case
    for case in (
        Case("user_posts_each", "a user with 15 posts, each time another user", _each_user),
        Case(
            "post_author_posts_each",
            "a post, its author and 5 of the author's posts, each time another post",
            _each_post,
        ),
        Case("feed_each", "20 posts with authors, each time after another post", _after_each("posts")),
        Case("search_each", "the 20 most viewed posts of a period with authors, each time another one", _each_period),
        Case("post_author_each", "a post with its author, each time another post", _each_post),
        Case(
            "users_posts_each",
            "20 users with 10 posts each, each time after another user",
            _after_each("users", users=20, posts=10),
        ),
        Case(
            "posts_authors_each",
            "100 posts with authors, each time after another post",
            _after_each("posts", posts=100),
        ),
        Case(
            "three_levels_each",
            "10 posts, their authors, 5 posts of each, each time after another post",
            _after_each("posts", posts=10, each=5),
        ),
        Case(
            "filtered_page_each",
            "a filtered page of 20 with its total, each time with another filter",
            _each_threshold,
        ),
        Case("users_posts_equal", "20 users with 10 posts each, equal requests", _always(users=20, posts=10)),
        Case("posts_authors_equal", "100 posts with authors, equal requests", _always(posts=100)),
        Case(
            "three_levels_equal",
            "10 posts, their authors, 5 posts of each, equal requests",
            _always(posts=10, each=5),
        ),
        Case("filtered_page_equal", "a filtered page of 20 with its total, equal requests", _one_threshold),
        Case("typename", "{ __typename }", _always()),
        Case("update_post", "an author changes a post", _any_change, writes=True),
        Case("transfer_1000", "transfers among 1,000 accounts", _any_transfer(1000), writes=True),
        Case("transfer_2", "transfers between 2 accounts", _any_transfer(PAIR), writes=True),
    )
}


# ---------------------------------------------------------------- comparison of responses


def plain(answer: Any) -> Any:
    """Return a response without the differences between dialects, for comparison.

    Ids become numbers, instants have one format, a connection with only nodes becomes its list, the id of a new ledger
    row becomes 0, and the random key of a request becomes KEY again.
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
    if "createdAt" in clean:
        clean["createdAt"] = _instant(datetime.datetime.fromisoformat(clean["createdAt"]))
    if "views" in clean:
        clean["views"] = int(clean["views"])
    if "title" in clean:
        clean["title"] = _DRAWN.sub(KEY, clean["title"])
    if clean.get("transaction"):
        clean["transaction"] = {"id": 0}
    return clean


def missing(answer: Any, path: str = "data") -> str | None:
    """Return the path of the first null or empty list in a response, or None: such a response measures nothing."""
    if answer is None or answer == []:
        return path
    inner = enumerate(answer) if isinstance(answer, list) else answer.items() if isinstance(answer, dict) else ()
    found = (missing(value, f"{path}.{name}") for name, value in inner if name != "userErrors")
    return next((one for one in found if one), None)
