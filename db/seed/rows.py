"""The rows of seeded data, generated one after the other from a `SeedPlan` alone: without a database or a clock.

Invariants:

- The same plan makes the same rows to the byte. Each table has separate random numbers, and instants count back from
  `REFERENCE`.
- Memory grows with the users and accounts, never with the posts, comments or transactions.
- No user acts before they have joined, ids rise with time, and no account is ever overdrawn.

Authors, owners and views have realistic, skewed distributions: a few users write much and are read much, most write
little. Activity does not depend on when a user joined, because lists begin with the newest users.
"""

import datetime
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from random import Random
from typing import Any, NamedTuple

from db.models.base import Model
from db.models.comments import Comment
from db.models.posts import VIEWS_MAX
from db.seed.texts import Author, People, drawn
from db.seed.words import FOUNDERS, MEMOS

# The instant at which seeded data ends. It is fixed, so that a seed makes the same instants next year.
REFERENCE = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)

# Instants are negative numbers of microseconds from REFERENCE.
_HOUR = 60 * 60 * 1_000_000
_DAY = 24 * _HOUR
_YEAR = 365 * _DAY
_JOINING_SINCE = -4 * _YEAR
_JOINING_UNTIL = -_YEAR // 2  # so that the newest users have half a year for their posts
_POSTING_SINCE = _BANKING_SINCE = -3 * _YEAR
_EDITED_WITHIN = 60 * _DAY

# Probabilities.
_ACTIVE, _EVER_CHANGED, _WITH_PROFILE, _WITH_BIO, _WITH_WEBSITE = 0.97, 0.3, 0.8, 0.7, 0.3
_PUBLISHED, _EDITED, _WITH_MEMO = 0.85, 0.25, 0.6

# Exponents of Pareto distributions. Near 1 the sizes follow Zipf's law: the n-th is one n-th of the first.
_AUTHORS_EXPONENT, _OWNERS_EXPONENT, _VIEWS_EXPONENT = 1.3, 1.2, 1.1
_AUTHOR_WEIGHT_MAX, _OWNER_WEIGHT_MAX = 1000.0, 20.0
_VIEWS_SCALE = 30

_FOUNDER_WEIGHT = 30.0
_FOUNDERS_POSTS = 6
_FOUNDERS_ACCOUNTS = ((0, "EUR"), (1, "EUR"), (0, "JPY"), (1, "KWD"))

_DEPOSIT_MEMO = "opening deposit"
_DEPOSIT_STEP, _DEPOSIT_STEPS = 10, 500
_TRANSFER_SHARE_MAX = 0.4


class Currency(NamedTuple):
    """A currency of accounts: its share of the accounts, and about the value of one euro in its minor units."""

    code: str
    share: float
    unit: int


CURRENCIES = (
    Currency("EUR", 0.45, 100),
    Currency("USD", 0.30, 100),
    Currency("GBP", 0.15, 100),
    Currency("JPY", 0.06, 150),  # no minor digit
    Currency("KWD", 0.04, 300),  # three
)
_CURRENCY_SHARES = list(accumulate(currency.share for currency in CURRENCIES))


@dataclass(frozen=True)
class SeedPlan:
    """What to seed.

    Attributes:
        users: the number of users. The first two are `ada` and `ben`.
        posts: the number of posts of all authors.
        accounts: the number of accounts, without those of the system user.
        seed: the seed of the random numbers. Another seed makes other data of the same kind.
        children: the number of rows of each table in `CHILDREN`; a missing number is 0.
        transfers_per_account: the approximate number of transfers after the first deposit. It is smaller if few
            accounts have the same currency.
        admin: whether `ada` is an administrator.
    """

    users: int
    posts: int
    accounts: int
    seed: int = 1
    children: Mapping[str, int] = field(default_factory=dict)
    transfers_per_account: int = 3
    admin: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """The number of rows by the name of the table."""
        children = {child.table: self.children.get(child.table, 0) for child in CHILDREN}
        return {"users": self.users, "posts": self.posts, **children, "accounts": self.accounts}

    def random(self, purpose: str) -> Random:
        """Return the random numbers for one purpose. They do not depend on the numbers for other purposes."""
        return Random(f"{self.seed}/{purpose}")  # noqa: S311 - these must be predictable


FirstIds = Mapping[str, int]
"""The ids of the first seeded rows by the name of the table. `system` is the user through whom money enters."""

Row = dict[str, Any]
"""The values of a row by the names of its columns, of which it has all that are stored."""


def _instant(microseconds: int) -> datetime.datetime:
    return REFERENCE + datetime.timedelta(microseconds=microseconds)


def _later(random: Random, since: int, within: int) -> int:
    return since + int(random.random() * min(within, -since))


class Activity:
    """Which users do one kind of action, and when: in proportion to a weight, evenly from their start until the end.

    The activity of all users therefore grows with their number. A user who joined late does as much as the others.
    """

    def __init__(self, joined: Sequence[int], weights: Iterable[float], since: int) -> None:
        """Start each user at their instant in `joined`, but not before `since`. The first weight must not be 0."""
        self._begun = array("q", (max(at, since) for at in joined))
        # Running totals: the actions per microsecond of the users up to each one, and all actions until its start.
        self._rates = array("d", accumulate(weight / -at for weight, at in zip(weights, self._begun, strict=True)))
        spans = zip(self._rates, pairwise([*self._begun, 0]), strict=True)
        self._done = array("d", accumulate((rate * (to - at) for rate, (at, to) in spans), initial=0.0))

    def instant(self, random: Random, number: int, count: int) -> int:
        """Return an instant within the `number`-th of `count` equal parts of all actions."""
        done = (number + random.random()) / count * self._done[-1]
        last = bisect_right(self._done, done, 0, len(self._begun)) - 1
        at = self._begun[last] + int((done - self._done[last]) / self._rates[last])
        return min(at, self._begun[last + 1] if last + 1 < len(self._begun) else -1)

    def one(self, random: Random, at: int) -> int:
        """Return the number of a user who acts at the instant `at`. Users with larger weights are more likely."""
        last = bisect_right(self._begun, at) - 1
        # Bisection finds the user in whose part of the total a random number falls.
        return bisect_right(self._rates, random.random() * self._rates[last], 0, last)


class Crowd:
    """The users: when they join, and their shares of the posts and of the accounts."""

    def __init__(self, plan: SeedPlan) -> None:
        random = plan.random("crowd")
        founders = min(plan.users, len(FOUNDERS))
        others = range(founders, plan.users)
        self.joined = array("q", (_JOINING_SINCE + number * _HOUR for number in range(founders)))
        since = _JOINING_SINCE + len(FOUNDERS) * _HOUR
        span = _JOINING_UNTIL - since
        self.joined.extend(since + (number * span + int(random.random() * span)) // plan.users for number in others)
        authors = [min(random.paretovariate(_AUTHORS_EXPONENT), _AUTHOR_WEIGHT_MAX) for _ in others]
        owners = [min(random.paretovariate(_OWNERS_EXPONENT), _OWNER_WEIGHT_MAX) for _ in self.joined]
        self.authors = Activity(self.joined, [_FOUNDER_WEIGHT] * founders + authors, _POSTING_SINCE)
        self.owners = Activity(self.joined, owners, _BANKING_SINCE)


def user_rows(plan: SeedPlan, crowd: Crowd, ids: FirstIds, hashed_password: str) -> Iterator[Row]:
    """Yield the users."""
    random, people = plan.random("users"), People(plan.random("names"))
    for number, joined in enumerate(crowd.joined):
        founder = number < len(FOUNDERS)
        username, _ = people.names(number)
        email = f"{username}@example.{'com' if founder else drawn(random, ('com', 'net', 'org'))}"
        active = founder or random.random() < _ACTIVE
        role = "admin" if plan.admin and number == 0 else "member"
        changed = random.random() < _EVER_CHANGED
        updated = _later(random, joined, -joined) if changed else joined
        yield {
            "id": ids["users"] + number,
            "username": username,
            "email": email,
            "hashed_password": hashed_password,
            "is_active": active,
            "role": role,
            "version": 1 + changed,
            "created_at": _instant(joined),
            "updated_at": _instant(updated),
        }


def profile_numbers(plan: SeedPlan) -> list[int]:
    """Return the numbers of the users who have a profile."""
    random = plan.random("profiles")
    return [number for number in range(plan.users) if random.random() < _WITH_PROFILE or number < len(FOUNDERS)]


def profile_rows(plan: SeedPlan, numbers: Sequence[int], ids: FirstIds) -> Iterator[Row]:
    """Yield the profiles of the users with these numbers."""
    random, people = plan.random("bios"), People(plan.random("names"))
    writer = Author(random)
    for number in numbers:
        username, display_name = people.names(number)
        bio = writer.bio() if random.random() < _WITH_BIO or number < len(FOUNDERS) else None
        website = f"https://{username.replace('_', '-')}.example.com/" if random.random() < _WITH_WEBSITE else None
        yield {"user_id": ids["users"] + number, "display_name": display_name, "bio": bio, "website_url": website}


def post_rows(plan: SeedPlan, crowd: Crowd, ids: FirstIds) -> Iterator[Row]:
    """Yield the posts, oldest first."""
    random = plan.random("posts")
    writer = Author(random)
    for number in range(plan.posts):
        at = crowd.authors.instant(random, number, plan.posts)
        founding = number < _FOUNDERS_POSTS
        author = number % min(plan.users, len(FOUNDERS)) if founding else crowd.authors.one(random, at)
        title, content = writer.post()
        published = random.random() < _PUBLISHED
        views = int(_VIEWS_SCALE * (random.paretovariate(_VIEWS_EXPONENT) - 1)) if published else 0
        edited = random.random() < _EDITED
        updated = _later(random, at, _EDITED_WITHIN) if edited else at
        yield {
            "id": ids["posts"] + number,
            "title": title,
            "content": content,
            "published": published,
            "views": min(views, VIEWS_MAX),
            "author_id": ids["users"] + author,
            "version": 1 + edited,
            "created_at": _instant(at),
            "updated_at": _instant(updated),
        }


@dataclass(frozen=True)
class PostedRows:
    """A table whose rows users write on posts.

    Attributes:
        model: the table; a column that no row has here is an error.
        texts: the columns of texts, each with the function that writes it.
        per_post: how many rows a post has, unless a plan says otherwise.
    """

    model: type[Model]
    texts: Mapping[str, Callable[[Author], str]]
    per_post: int

    @property
    def table(self) -> str:
        """The name of the table."""
        return str(self.model.__tablename__)

    def rows(self, plan: SeedPlan, crowd: Crowd, ids: FirstIds) -> Iterator[Row]:
        """Yield the rows, oldest first, each on an older post."""
        random, count = plan.random(self.table), plan.counts[self.table]
        writer = Author(random)
        # Posts and these rows are both in equal parts of all actions. The first rows are left out, because there would
        # be no post for them yet.
        skipped = -(-count // max(plan.posts - 1, 1))
        for number in range(skipped, count + skipped):
            older = number * plan.posts // (count + skipped)
            at = crowd.authors.instant(random, number, count + skipped)
            yield {
                "id": ids[self.table] + number - skipped,
                **{column: write(writer) for column, write in self.texts.items()},
                "author_id": ids["users"] + crowd.authors.one(random, at),
                "post_id": ids["posts"] + int(random.random() * older),
                "version": 1,
                "created_at": _instant(at),
                "updated_at": _instant(at),
            }


CHILDREN = (PostedRows(Comment, {"body": Author.comment}, per_post=2),)
"""The tables of what users write on posts."""


def typical_children(posts: int) -> dict[str, int]:
    """Return how many rows each table of `CHILDREN` has with this number of posts."""
    return {child.table: child.per_post * posts for child in CHILDREN}


class _Account(NamedTuple):
    owner: int | None  # None is the system
    currency: Currency
    opened: int


class Ledger:
    """The accounts of a plan and the movements between them.

    A balance is stored with its account, and an account must exist before its transactions. So the movements are
    generated twice: here, to add them up, and again when they are written. That needs less memory than to store them.
    """

    def __init__(self, plan: SeedPlan, crowd: Crowd) -> None:
        self._plan = plan
        owned = list(_owned_accounts(plan, crowd))
        held = {account.currency for account in owned}
        self._system = {currency: number for number, currency in enumerate(c for c in CURRENCIES if c in held)}
        system = (_Account(None, currency, _BANKING_SINCE) for currency in self._system)
        self._accounts = [*system, *owned]
        self._balances = array("q", bytes(8 * len(self._accounts)))
        self.account_count = len(self._accounts)
        self.transaction_count = sum(1 for _ in self._movements(self._balances))

    def account_rows(self, ids: FirstIds) -> Iterator[Row]:
        """Yield the accounts, with the balances at the end; the system's accounts first."""
        for number, (owner, currency, opened) in enumerate(self._accounts):
            yield {
                "id": ids["accounts"] + number,
                "owner_id": ids["system"] if owner is None else ids["users"] + owner,
                "currency_code": currency.code,
                "balance": self._balances[number],
                "is_system": owner is None,
                "created_at": _instant(opened),
            }

    def transaction_rows(self, ids: FirstIds) -> Iterator[Row]:
        """Yield the transactions, in the order in which they changed the balances."""
        movements = self._movements(array("q", bytes(8 * len(self._accounts))))
        for number, (source, target, amount, memo, at) in enumerate(movements):
            yield {
                "id": ids["transactions"] + number,
                "from_id": ids["accounts"] + source,
                "to_id": ids["accounts"] + target,
                "amount": amount,
                "memo": memo,
                "key_id": None,
                "created_at": _instant(at),
            }

    def _movements(self, balances: "array[int]") -> Iterator[tuple[int, int, int, str | None, int]]:
        """Yield source, target, amount, memo and instant of each movement, and update `balances`."""
        random = self._plan.random("ledger")
        transfers = self._plan.transfers_per_account
        opened: dict[Currency, list[int]] = {currency: [] for currency in self._system}
        first = len(self._system)
        for number in range(first, len(self._accounts)):
            _, currency, at = self._accounts[number]
            opened[currency].append(number)
            amount = _DEPOSIT_STEP * currency.unit * (1 + int(random.random() * _DEPOSIT_STEPS))
            yield self._moved(balances, self._system[currency], number, amount, _DEPOSIT_MEMO, at)
            until = self._accounts[number + 1].opened if number + 1 < len(self._accounts) else 0
            for turn in range(transfers):
                # The first of these transfers is from the new account. Otherwise the newest accounts would have only
                # their deposits.
                source = first + int(random.random() * (number + 1 - first)) if turn else number
                peers = opened[self._accounts[source].currency]
                target = drawn(random, peers)
                memo = drawn(random, MEMOS) if random.random() < _WITH_MEMO else None
                amount = 1 + int(balances[source] * random.random() * _TRANSFER_SHARE_MAX)
                if source != target and amount <= balances[source]:
                    moment = at + (until - at) * (turn + 1) // (transfers + 1)
                    yield self._moved(balances, source, target, amount, memo, moment)

    @staticmethod
    def _moved(
        balances: "array[int]", source: int, target: int, amount: int, memo: str | None, at: int
    ) -> tuple[int, int, int, str | None, int]:
        balances[source] -= amount
        balances[target] += amount
        return source, target, amount, memo, at


def _owned_accounts(plan: SeedPlan, crowd: Crowd) -> Iterator[_Account]:
    random = plan.random("accounts")
    by_code = {currency.code: currency for currency in CURRENCIES}
    for number in range(plan.accounts):
        opened = crowd.owners.instant(random, number, plan.accounts)
        if number < len(_FOUNDERS_ACCOUNTS):
            founder, code = _FOUNDERS_ACCOUNTS[number]
            yield _Account(min(founder, plan.users - 1), by_code[code], opened)
        else:
            currency = CURRENCIES[bisect_right(_CURRENCY_SHARES, random.random(), 0, len(CURRENCIES) - 1)]
            yield _Account(crowd.owners.one(random, opened), currency, opened)
