"""One client: how it sends operations and checks their responses."""

import random
import time
from collections.abc import Mapping
from typing import Any

import orjson

from bench.soak.journal import Journal, Movement, Outcome, Post
from bench.soak.oracle import Judged, Oracle
from bench.soak.reads import Reader
from bench.soak.wire import AbortedError, BrokenError, UnansweredError, Wire
from bench.soak.world import User, World

ABORT_AFTER_MAX_S = 0.05
ABORTED_SHARE = 0.06


class Client:
    """A connection of one user. Each client owns one post, which no other client changes."""

    def __init__(self, world: World, oracle: Oracle, journal: Journal, user: User, rng: random.Random) -> None:
        """Connect at the first operation."""
        self.oracle, self.journal, self.user, self.rng = oracle, journal, user, rng
        self.post: Post | None = None
        self._wire = Wire(world.client_port, world.plan.answer_limit_s)
        self._reader = Reader(user, world.users, journal, rng)
        self._world = world

    def close(self) -> None:
        """Close the connection."""
        self._wire.close()

    async def request(
        self,
        text: str,
        name: str,
        variables: Mapping[str, Any],
        expected: Mapping[tuple[str | int, ...], str] | None = None,
        *,
        may_abort: bool = True,
    ) -> Judged | None:
        """Send an operation, judge its response, and return what is left to check; None if no response arrived."""
        body = orjson.dumps({"query": text, "operationName": name, "variables": variables})
        aborts = may_abort and self.rng.random() < ABORTED_SHARE
        abort_after_s = self.rng.random() * ABORT_AFTER_MAX_S if aborts else None
        started_at, what = time.monotonic(), f"{self.user.username}: {body.decode()}"
        try:
            answer = await self._wire.request(body, self.user.token, abort_after_s=abort_after_s)
        except AbortedError:
            self.oracle.counts["aborted"] += 1
        except BrokenError as error:
            self.oracle.broken(started_at, what, error)
        except UnansweredError:
            self.oracle.unanswered(started_at, what)
        else:
            return self.oracle.judged(answer, started_at, what, expected)
        return None

    async def read(self, *, is_fresh: bool, failing: bool) -> None:
        """Send a random query, and compare the response with the expected one."""
        reading = self._reader.drawn(is_fresh=is_fresh, failing=failing)
        judged = await self.request(reading.text, reading.name, reading.variables, reading.expected_errors)
        if judged is None or judged.data is None:
            return
        for alias, one in reading.fields.items():
            value = judged.data.get(alias)
            wrong = ("it failed, and is not null" if value else None) if alias in judged.failed else one.check(value)
            if wrong:
                detail = {"request": reading, "user": self.user.username, "field": alias, "answer": judged.data}
                self.oracle.violation("a wrong answer", why=wrong, **detail)

    def drawn_movement(self) -> Movement:
        """Record a new random transfer of the user in the journal, and return it."""
        others = [
            account for user in self._world.users for account in user.accounts if account not in self.user.accounts
        ]
        # A large amount now and then, so that some transfers are refused.
        units = self.rng.choice((1, 3, 9, 27, 20_000))
        amount = f"{units}.{self.rng.randrange(1, 100):02}"
        one = Movement(self.user, self.rng.choice(self.user.accounts), self.rng.choice(others), amount, f"memo {units}")
        self.journal.movements.append(one)
        return one

    def recently_made(self) -> Movement | None:
        """Return one of the user's recent movements that was made, or None."""
        mine = [one for one in self.journal.movements[-300:] if one.owner is self.user and one.outcome is Outcome.MADE]
        return self.rng.choice(mine) if mine else None
