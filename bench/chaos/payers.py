"""The actions of clients in the chaos test. Each transfer is sent one to five times, some of them concurrently."""

import asyncio
import random
from collections.abc import Sequence
from decimal import Decimal

from bench.chaos.town import Town, opened
from bench.soak import writes
from bench.soak.clients import Client
from bench.soak.journal import Movement, Outcome
from bench.soak.world import User

CLIENTS = 32
TIMES_MAX = 5
AT_ONCE_SHARE = 0.3
# One amount is large, so that some transfers are refused.
UNITS = (1, 3, 9, 27, 81, 2000)
RUN_SIZE = 12
RUN_AMOUNT = "10.00"
LATELY = 400
PAUSE_MAX_S = 0.03
BATCH_SIZE_MAX = 8
ACTIONS = {
    "transfer": 40,
    "batch": 6,
    "sum": 22,
    "replay": 12,
    "reuse": 6,
    "deposit": 6,
    "stranger": 3,
    "run": 3,
    "refusal": 2,
}


class Payer:
    """One client: a connection of the user, further ones for concurrent requests, and one of the administrator."""

    def __init__(self, town: Town, user: User, rng: random.Random) -> None:
        """Connect at the first operation."""
        self.town, self.user, self.rng = town, user, rng
        self.own = self._client(user)
        self._twins = [self._client(user) for _ in range(TIMES_MAX - 1)]
        self._banker = self._client(town.world.admin)

    def _client(self, user: User) -> Client:
        return Client(self.town.world, self.town.oracle, self.town.journal, user, self.rng)

    async def live(self, stopping: asyncio.Event) -> None:
        """Run random actions, one after another, until `stopping` is set."""
        try:
            while not stopping.is_set():
                action = self.rng.choices(list(ACTIONS), list(ACTIONS.values()))[0]
                await self._act(action, stopping)
                self.town.oracle.counts[action] += 1
                await asyncio.sleep(self.rng.random() * PAUSE_MAX_S)
        finally:
            for client in (self.own, self._banker, *self._twins):
                client.close()

    async def _act(self, action: str, stopping: asyncio.Event) -> None:
        match action:
            case "transfer":
                await self._transfer(stopping)
            case "batch":
                await self._batch(stopping)
            case "sum":
                await self.town.read_sum(self._banker)
            case "deposit":
                one = self._noted(Movement(self.town.world.admin, None, self.user.accounts[1], self._amount(), "cash"))
                await writes.transfer(self._banker, one, stopping)
            case "replay":
                await self._replay()
            case "refusal":
                await self._refused(stopping)
            case "reuse":
                await self._reuse()
            case "stranger":
                await self._stranger()
            case "run":
                await self._run(stopping)

    def _noted(self, one: Movement) -> Movement:
        self.town.journal.movements.append(one)
        return one

    def _amount(self) -> str:
        return f"{self.rng.choice(UNITS)}.{self.rng.randrange(1, 100):02}"

    # ------------------------------------------------------------ transfers

    async def _transfer(self, stopping: asyncio.Event) -> None:
        """Send a transfer several times. Often another client sends the opposite transfer at the same time."""
        target = self.rng.choice([account for account in self.town.hot if account != self.user.accounts[0]])
        one = self._noted(Movement(self.user, self.user.accounts[0], target, self._amount(), "rent"))
        times = self.rng.randint(1, TIMES_MAX)
        if self.rng.random() < AT_ONCE_SHARE:
            await at_once([self.own, *self._twins][:times], [one] * times)
        await writes.transfer(self.own, one, stopping)
        for _ in range(one.sent, times):
            await writes.attempt(self.own, one)

    async def _batch(self, stopping: asyncio.Event) -> None:
        """Send a list of transfers, once or twice concurrently, then each transfer until its outcome is known."""
        others = [account for account in self.town.hot if account != self.user.accounts[0]]
        batch = [
            self._noted(Movement(self.user, self.user.accounts[0], self.rng.choice(others), self._amount(), "wages"))
            for _ in range(self.rng.randint(1, BATCH_SIZE_MAX))
        ]
        mode = self.rng.choice(["EACH", "ALL"])
        if mode == "ALL":
            for one in batch:
                one.together = batch
        if self.rng.random() < AT_ONCE_SHARE:
            for one in batch:
                one.may_be_made = True
            orders = [batch, batch if mode == "ALL" else batch[::-1]]
            sending = zip([self.own, *self._twins], orders, strict=False)
            await asyncio.gather(*(writes.attempt_batch(client, order, mode) for client, order in sending))
        else:
            await writes.attempt_batch(self.own, batch, mode)
        for one in batch:
            await writes.transfer(self.own, one, stopping)

    async def _refused(self, stopping: asyncio.Event) -> None:
        """Request more than the balance, deposit that much, and request it again with the same key: still refused."""
        source = self.user.accounts[1]
        one = self._noted(Movement(self.user, source, self.town.collector.accounts[1], "999999.99", "too much"))
        await writes.transfer(self.own, one, stopping)
        deposit = Movement(self.town.world.admin, None, source, "1000000.00", "plenty")
        await writes.transfer(self._banker, self._noted(deposit), stopping)
        await writes.attempt(self.own, one)
        emptying = Movement(self.user, source, self.town.collector.accounts[1], "1000000.00", "back")
        await writes.transfer(self.own, self._noted(emptying), stopping)

    async def _run(self, stopping: asyncio.Event) -> None:
        """Empty a new account by many concurrent transfers: only one can succeed."""
        spenders = [self._client(self.town.spender) for _ in range(RUN_SIZE)]
        try:
            source = await opened(spenders[0])
            if source is None:
                return
            deposit = self._noted(Movement(self.town.world.admin, None, source, RUN_AMOUNT, "all there is"))
            await writes.transfer(self._banker, deposit, stopping)
            if deposit.outcome is not Outcome.MADE:
                return
            target = self.town.collector.accounts[0]
            run = [
                self._noted(Movement(self.town.spender, source, target, RUN_AMOUNT, f"all of it to {number}"))
                for number in range(RUN_SIZE)
            ]
            self.town.runs.append(run)
            await at_once(spenders, run)
        finally:
            for client in spenders:
                client.close()

    # ------------------------------------------------------------ keys

    def _settled(self) -> Movement | None:
        """Return one of the user's recent transfers with a known outcome, or None."""
        lately = self.town.journal.movements[-LATELY:]
        mine = [one for one in lately if one.owner is self.user and one.outcome is not Outcome.UNKNOWN]
        return self.rng.choice(mine) if mine else None

    async def _replay(self) -> None:
        """Send a settled transfer again, which may be a refused one: the result must be the same."""
        one = self._settled()
        if one is not None:
            await writes.attempt(self.own, one)

    async def _reuse(self) -> None:
        """Request another movement with the key of a settled one: it must be refused."""
        one = self._settled()
        if one is None or one.from_id is None:
            return
        text, name, variables = writes.request_of(one)
        others = {
            "amount": str(Decimal(one.amount) + Decimal("0.01")),
            "memo": f"{one.memo}!",
            "toAccountId": self.town.collector.accounts[1 if one.to_id == self.town.collector.accounts[0] else 0],
            "fromAccountId": self.user.accounts[1 if one.from_id == self.user.accounts[0] else 0],
        }
        field = self.rng.choice(list(others))
        if others[field] == one.to_id:
            return
        given = {"input": {**variables["input"], field: others[field]}}
        payload = writes.payload_of(await self.own.request(text, name, given), "transfer")
        if payload is not None and [error["code"] for error in payload["userErrors"]] != ["IDEMPOTENCY_KEY_REUSED"]:
            self.town.oracle.violation("a key was taken for two movements", movement=one, sent=given, answer=payload)

    async def _stranger(self) -> None:
        """Query another user's key, and use the same key for an own transfer."""
        movements = self.town.journal.movements
        own = {one.key for one in movements if one.owner is self.user}
        others = [one for one in movements[-LATELY:] if one.key not in own]
        if not others:
            return
        other = self.rng.choice(others)
        target = self.rng.choice([account for account in self.town.hot if account != self.user.accounts[0]])
        # Recorded before it is sent: other clients of the same user choose foreign keys, too.
        one = self._noted(Movement(self.user, self.user.accounts[0], target, "0.01", "the same key", key=other.key))
        text = "query Whose($key: UUID!) { transactionByIdempotencyKey(key: $key) { id } }"
        judged = await self.own.request(text, "Whose", {"key": other.key})
        if judged is not None and judged.data and judged.data.get("transactionByIdempotencyKey"):
            self.town.oracle.violation("a key reveals something to another user", movement=other, answer=judged.data)
        await writes.attempt(self.own, one)


async def at_once(clients: Sequence[Client], movements: Sequence[Movement]) -> None:
    """Send movements concurrently, each on a separate connection."""
    for one in movements:
        one.may_be_made = one.may_be_made or movements.count(one) > 1
    await asyncio.gather(*map(writes.attempt, clients, movements))
