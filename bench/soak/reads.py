"""The queries of clients: each field, with the expected response for a given caller."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.soak.journal import Journal, Outcome
from bench.soak.world import User

ID = "ID!"
POST = "{ id title content version published author { id username email } }"
TRANSACTION = "{ id amount { amount } memo from { id } to { id } }"
FIELDS_MAX = 3

# Returns the error in a value, or None.
Check = Callable[[Any], str | None]


@dataclass(frozen=True)
class Field:
    """A top-level field.

    Attributes:
        text: field, arguments and selection, with the variables in `variables`.
        variables: types and values of the variables, by name.
        check: returns the error in the value, or None.
        error: the path of a required error, below the field, and its code.
    """

    text: str
    variables: Mapping[str, tuple[str, str]]
    check: Check
    error: tuple[tuple[str | int, ...], str] | None = None


@dataclass(frozen=True)
class Reading:
    """A query with some fields."""

    text: str
    name: str
    variables: dict[str, str]
    fields: Mapping[str, Field]

    @property
    def expected_errors(self) -> dict[tuple[str | int, ...], str]:
        """The paths of required errors, with their codes."""
        return {(alias, *one.error[0]): one.error[1] for alias, one in self.fields.items() if one.error}


@dataclass
class Reader:
    """Draws the queries of one user."""

    user: User
    users: Sequence[User]
    journal: Journal
    rng: random.Random
    fresh: int = field(default=0)

    def drawn(self, *, is_fresh: bool, failing: bool) -> Reading:
        """Return a query: with `is_fresh` a document that the server has never seen, else one that repeats."""
        kinds = sorted(self.rng.sample(sorted(self._kinds), self.rng.randint(1, FIELDS_MAX)))
        suffix = f"_{self.rng.getrandbits(48):x}" if is_fresh else ""
        fields = {kind + suffix: self._kinds[kind](self) for kind in kinds}
        if failing:
            fields["bad" + suffix] = self._too_many()
        given = {name: one for each in fields.values() for name, one in each.variables.items()}
        name = "Read_" + "_".join(fields)
        declared = ", ".join(f"${one}: {type_}" for one, (type_, _) in given.items())
        body = " ".join(f"{alias}: {one.text}" for alias, one in fields.items())
        text = f"query {name}{f'({declared})' if declared else ''} {{ {body} }}"
        return Reading(text, name, {one: value for one, (_, value) in given.items()}, fields)

    # ------------------------------------------------------------ fields

    def _other(self) -> User:
        return self.rng.choice([one for one in self.users if one is not self.user])

    def _post(self) -> Field:
        post = self.rng.choice([one for one in self.journal.posts if one.published or one.owner is self.user])
        lowest, owner = post.lowest, post.owner
        shown = {"id": owner.id, "username": owner.username, "email": owner.email if owner is self.user else None}

        def check(value: Any) -> str | None:
            wrong = post.difference(value, lowest)
            return wrong or (None if value["author"] == shown else f"the author should be {shown}")

        return Field(f"post(id: $post) {POST}", {"post": (ID, post.id)}, check)

    def _hidden_post(self) -> Field:
        hidden = [one for one in self.journal.posts if not one.published and one.owner is not self.user]
        return Field(f"post(id: $draft) {POST}", {"draft": (ID, self.rng.choice(hidden).id)}, _is_null)

    def _viewer(self) -> Field:
        user = self.user

        def check(value: Any) -> str | None:
            nodes = value["accounts"]["nodes"]
            right = (value["username"], value["email"]) == (user.username, user.email)
            right = right and sorted(one["id"] for one in nodes) == sorted(user.accounts)
            right = right and all(float(one["balance"]["amount"]) >= 0 for one in nodes)
            return None if right else "it is another viewer, or another viewer's accounts"

        text = "viewer { username email accounts(first: 5) { nodes { id balance { amount } } } }"
        return Field(text, {}, check)

    def _hidden_account(self) -> Field:
        account = self.rng.choice(self._other().accounts)
        return Field(
            "account(id: $account) { id balance { amount } transactions(first: 3) { nodes { id } } }",
            {"account": (ID, account)},
            _is_null,
        )

    def _stranger(self) -> Field:
        other = self._other()
        right = {"username": other.username, "email": None, "accounts": {"totalCount": 0, "nodes": []}}
        text = "user(id: $stranger) { username email accounts(first: 5) { totalCount nodes { id } } }"
        return Field(text, {"stranger": (ID, other.id)}, _equals(right))

    def _list(self) -> Field:
        other = self._other()
        posts = {one.id: (one, one.lowest) for one in self.journal.posts if one.owner is other and one.published}

        def check(value: Any) -> str | None:
            found = {one["id"]: one for one in value["nodes"]}
            if set(found) != set(posts) or value["totalCount"] != len(posts):
                return f"the posts should be {sorted(posts)}"
            wrong = [post.difference(found[id_], lowest) for id_, (post, lowest) in posts.items()]
            return next(filter(None, wrong), None)

        text = "posts(first: 50, filter: {authorId: $author}) { totalCount nodes { id title version published } }"
        return Field(text, {"author": (ID, other.id)}, check)

    def _own_key(self) -> Field:
        mine = [one for one in self.journal.movements[-300:] if one.owner is self.user and one.outcome is Outcome.MADE]
        if not mine:
            return self._viewer()
        one = self.rng.choice(mine)
        right = {"id": one.transaction_id, **one.shown}
        return Field(
            f"transactionByIdempotencyKey(key: $key) {TRANSACTION}", {"key": ("UUID!", one.key)}, _equals(right)
        )

    def _hidden_key(self) -> Field:
        others = [one for one in self.journal.movements[-300:] if one.owner is not self.user]
        key = self.rng.choice(others).key if others else "0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e"
        return Field(f"transactionByIdempotencyKey(key: $others) {TRANSACTION}", {"others": ("UUID!", key)}, _is_null)

    def _hidden_transaction(self) -> Field:
        mine = set(self.user.accounts)
        others = [
            one
            for one in self.journal.movements[-300:]
            if one.transaction_id and not mine & {one.from_id, one.to_id} and one.owner is not self.user
        ]
        if not others:
            return self._hidden_key()
        id_ = self.rng.choice(others).transaction_id
        return Field(f"transaction(id: $moved) {TRANSACTION}", {"moved": (ID, str(id_))}, _is_null)

    def _too_many(self) -> Field:
        text = "user(id: $greedy) { posts(first: 101) { nodes { id } } }"
        return Field(text, {"greedy": (ID, self.user.id)}, _is_null, (("posts",), "BAD_USER_INPUT"))

    _kinds: Mapping[str, Callable[["Reader"], Field]] = field(
        init=False,
        repr=False,
        default_factory=lambda: {
            "post": Reader._post,
            "hiddenPost": Reader._hidden_post,
            "viewer": Reader._viewer,
            "hiddenAccount": Reader._hidden_account,
            "stranger": Reader._stranger,
            "list": Reader._list,
            "ownKey": Reader._own_key,
            "hiddenKey": Reader._hidden_key,
            "hiddenTransaction": Reader._hidden_transaction,
        },
    )


def _is_null(value: Any) -> str | None:
    return None if value is None else "it should not be seen"


def _equals(right: Any) -> Check:
    return lambda value: None if value == right else f"it should be {right}"
