"""What clients have asked to be written, noted before it is sent and after it is answered."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from bench.soak.world import User


class Outcome(Enum):
    """What is known of something that was to be written."""

    UNKNOWN = "unknown"
    MADE = "made"
    NOT_MADE = "not made"


@dataclass
class Post:
    """A post that one client alone changes. Title and content of version 7 say that they are of version 7.

    Attributes:
        lowest: the newest version that an answer has told of.
        highest: the newest version that may be there.
        in_doubt: whether an update may be under way still whose answer was lost.
    """

    id: str
    owner: User
    name: str
    published: bool
    lowest: int = 1
    highest: int = 1
    in_doubt: bool = False

    def texts(self, version: int) -> dict[str, str]:
        """Return title and content of a version."""
        return {"title": f"{self.name} v{version}", "content": f"The text of {self.name} in version {version}."}

    def difference(self, value: Mapping[str, Any] | None, lowest: int) -> str | None:
        """Say what is wrong with a post that was read, if anything; `lowest` is what it was before the request."""
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
    """A transfer or deposit: one row of the ledger at most, for its key."""

    owner: User
    from_id: str | None
    to_id: str
    amount: str
    memo: str
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    sent: int = 0
    outcome: Outcome = Outcome.UNKNOWN
    transaction_id: str | None = None
    # Whether an attempt so far, or one that is under way, may have moved the money without saying so.
    may_be_made: bool = False
    # Whether an answer was lost, or left open what has happened, before another one told.
    was_unknown: bool = False
    # All transfers of its list, itself among them, where all are made or none.
    together: "Sequence[Movement]" = field(default=(), repr=False)

    def tell(self, outcome: Outcome, transaction_id: str | None = None) -> bool:
        """Note what an answer says of it; False where an earlier answer has said something else."""
        if self.outcome is Outcome.UNKNOWN:
            self.outcome, self.transaction_id = outcome, transaction_id
        return (self.outcome, self.transaction_id) == (outcome, transaction_id)

    @property
    def shown(self) -> dict[str, Any]:
        """The transaction as the API shows it."""
        ends = {"to": {"id": self.to_id}} | ({"from": {"id": self.from_id}} if self.from_id else {})
        return {"amount": {"amount": self.amount}, "memo": self.memo, **ends}


@dataclass
class Creation:
    """A post that is asked for once, and never again."""

    title: str
    outcome: Outcome = Outcome.UNKNOWN


@dataclass
class Journal:
    """Everything that clients have asked to be written."""

    posts: list[Post] = field(default_factory=list)
    movements: list[Movement] = field(default_factory=list)
    creations: list[Creation] = field(default_factory=list)

    def published_of(self, user: User) -> set[str]:
        """Return the ids of the published posts of a user."""
        return {post.id for post in self.posts if post.owner is user and post.published}
