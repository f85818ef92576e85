"""The journal: all writes that clients have requested, recorded before they are sent and after their responses."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from bench.soak.world import User


class Outcome(Enum):
    """What is known about a requested write."""

    UNKNOWN = "unknown"
    MADE = "made"
    NOT_MADE = "not made"


@dataclass
class Post:
    """A post that only one client changes. Title and content contain the version number.

    Attributes:
        lowest: the newest version that a response has shown.
        highest: the newest version that may exist.
        in_doubt: whether an update with a lost response may still be running.
    """

    id: str
    owner: User
    name: str
    published: bool
    lowest: int = 1
    highest: int = 1
    in_doubt: bool = False

    def texts(self, version: int) -> dict[str, str]:
        """Return the title and the content of a version."""
        return {"title": f"{self.name} v{version}", "content": f"The text of {self.name} in version {version}."}

    def difference(self, value: Mapping[str, Any] | None, lowest: int) -> str | None:
        """Return the error in a post that was read, or None; `lowest` is its value before the request."""
        if value is None:
            return "the post is missing"
        version: int = value["version"]
        if not lowest <= version <= self.highest:
            return f"version {version} is not within {lowest} and {self.highest}"
        right = {"id": self.id, "version": version, "published": self.published, **self.texts(version)}
        wrong = {name: value[name] for name in value if name in right and value[name] != right[name]}
        return f"{wrong} is wrong" if wrong else None


@dataclass(eq=False)
class Movement:
    """A transfer or deposit. Its key has at most one row in the ledger."""

    owner: User
    from_id: str | None
    to_id: str
    amount: str
    memo: str
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    sent: int = 0
    outcome: Outcome = Outcome.UNKNOWN
    transaction_id: str | None = None
    # Whether an earlier or running attempt may have moved the money without a response that reports it.
    may_be_made: bool = False
    # Whether a response was lost, or left the outcome open, before another response reported it.
    was_unknown: bool = False
    # All transfers of its list, including itself, where either all are made or none.
    together: "Sequence[Movement]" = field(default=(), repr=False)

    def record_outcome(self, outcome: Outcome, transaction_id: str | None = None) -> bool:
        """Record the outcome in a response; return False if it contradicts an earlier response."""
        if self.outcome is Outcome.UNKNOWN:
            self.outcome, self.transaction_id = outcome, transaction_id
        return (self.outcome, self.transaction_id) == (outcome, transaction_id)

    @property
    def shown(self) -> dict[str, Any]:
        """The transaction in the form of the API."""
        ends = {"to": {"id": self.to_id}} | ({"from": {"id": self.from_id}} if self.from_id else {})
        return {"amount": {"amount": self.amount}, "memo": self.memo, **ends}


@dataclass
class Creation:
    """A post whose creation is requested exactly once."""

    title: str
    outcome: Outcome = Outcome.UNKNOWN


@dataclass
class Journal:
    """All writes that clients have requested."""

    posts: list[Post] = field(default_factory=list)
    movements: list[Movement] = field(default_factory=list)
    creations: list[Creation] = field(default_factory=list)

    def published_of(self, user: User) -> set[str]:
        """Return the ids of the published posts of a user."""
        return {post.id for post in self.posts if post.owner is user and post.published}
