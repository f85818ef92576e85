"""A model of the ledger: for any sequence of requests, with crashes between them, the ledger does what the model says.

The model has balances and keys. Hypothesis draws the requests, and shrinks a failure to the fewest steps.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, TypeVar

from hypothesis import Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from db.access import Viewer
from db.connections.database import Database
from db.errors import Refusal, Unavailable
from db.ledger.batches import settle_batch
from db.ledger.settlement import Movement, Settlement
from db.settings import Settings
from tests.db.support.backends import connected_superuser, terminate_all_unseen
from tests.db.support.ledgers import WRONG_BALANCES, balances
from tests.db.support.rows import SETTLED, move, new_account, new_user
from tests.faults.served import kill_all
from tests.running.amounts import examples

T = TypeVar("T")
Requested = tuple[Movement, tuple[Movement, ...]]
"""The request of a key: a movement, and the other movements of its all-or-none batch."""

OTHER, REUSED = "OTHER_TRANSFER_REFUSED", "IDEMPOTENCY_KEY_REUSED"
OWNERS = 3
KEYS = 4
# Failures are shrunk, but not explained: an explanation would try the same steps hundreds of times more.
SETTINGS = hypothesis_settings(
    max_examples=examples(20), stateful_step_count=25, phases=[Phase.generate, Phase.shrink], report_multiple_bugs=False
)
CENTS = st.sampled_from([1, 2, 50, 500])
OWNER = st.integers(0, OWNERS - 1)
KEY = st.integers(0, KEYS - 1)
MEMO = st.sampled_from([None, "", "rent"])


@dataclass
class Town:
    """Some owners with one account each. All owners use the same keys, numbered.

    Attributes:
        banker: makes the deposits.
        held: the balance of each account in cents, according to the model.
        settled: the outcome of each key of an owner: the request, and the cents that it moved or the refusal's code.
    """

    banker: Viewer
    viewers: list[Viewer]
    accounts: list[int]
    keys: list[uuid.UUID] = field(default_factory=lambda: [uuid.UUID(int=number) for number in range(1, KEYS + 1)])
    held: list[int] = field(default_factory=lambda: [0] * OWNERS)
    settled: dict[tuple[int, uuid.UUID], tuple[Requested, int | str]] = field(default_factory=dict)
    rows: dict[tuple[int, uuid.UUID], int] = field(default_factory=dict)


class LedgerMachine(RuleBasedStateMachine):
    """Sends requests and compares the results with the model. All examples share database and loop, but no town."""

    database: Database
    url: str
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.town = self.run(self._founded)

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        return self.loop.run_until_complete(work())

    async def _founded(self) -> Town:
        viewers = [await new_user(self.database) for _ in range(OWNERS)]
        return Town(
            await new_user(self.database, role="admin"),
            viewers,
            [await new_account(self.database, one) for one in viewers],
        )

    # ------------------------------------------------------------ requests

    @initialize(cents=CENTS)
    def first_money(self, cents: int) -> None:
        self._send(self.town.banker, replace(self._movement(None, 0, cents, None), key=uuid.UUID(int=KEYS + 1)))

    @rule(to=OWNER, cents=CENTS, key=KEY, memo=MEMO)
    def deposit(self, to: int, cents: int, key: int, memo: str | None) -> None:
        self._send(self.town.banker, replace(self._movement(None, to, cents, memo), key=self.town.keys[key]))

    @rule(by=OWNER, to=OWNER, cents=CENTS, key=KEY, memo=MEMO)
    def transfer(self, by: int, to: int, cents: int, key: int, memo: str | None) -> None:
        self._send(self.town.viewers[by], replace(self._movement(by, to, cents, memo), key=self.town.keys[key]))

    @rule(data=st.data(), times=st.integers(2, 4))
    def send_again_at_once(self, data: st.DataObject, times: int) -> None:
        if self.town.settled:
            owner, key = data.draw(st.sampled_from(list(self.town.settled)))
            (movement, _), _ = self.town.settled[owner, key]
            self._send(self._viewer(owner), movement, times)

    @rule(data=st.data(), to=OWNER, cents=CENTS, memo=MEMO)
    def send_another_under_the_same_key(self, data: st.DataObject, to: int, cents: int, memo: str | None) -> None:
        if self.town.settled:
            owner, key = data.draw(st.sampled_from(list(self.town.settled)))
            (movement, _), _ = self.town.settled[owner, key]
            others: dict[str, Any] = {
                "to_id": self.town.accounts[to],
                "amount": Decimal(cents).scaleb(-2),
                "memo": memo,
            }
            name = data.draw(st.sampled_from(sorted(others)))
            self._send(self._viewer(owner), replace(movement, **{name: others[name]}))

    @rule()
    def crash_of_every_backend(self) -> None:
        terminate_all_unseen(self.url)

    @rule(by=OWNER, to=OWNER, cents=CENTS, key=KEY, times=st.integers(1, 4))
    def transfer_in_a_crash(self, by: int, to: int, cents: int, key: int, times: int) -> None:
        movement = replace(self._movement(by, to, cents, "crash"), key=self.town.keys[key])
        expected, _ = self._expected(by, movement)

        async def requested() -> list[Settlement | BaseException]:
            viewer = self.town.viewers[by]
            async with connected_superuser(self.url) as superuser:
                settling = asyncio.gather(
                    *(move(self.database, viewer, movement) for _ in range(times)), return_exceptions=True
                )
                await kill_all(superuser)
                return await settling

        answers = self.run(requested)
        # A transfer that got no answer is settled by its key, whatever the outcome was.
        assert {cents_or_code(one) for one in answers if not isinstance(one, Unavailable)} <= {expected}
        again = self.run(lambda: cents_or_code_of_move(self.database, self.town.viewers[by], movement))
        assert again == expected

    @rule(
        by=OWNER,
        items=st.lists(st.tuples(OWNER, CENTS, KEY, MEMO), min_size=1, max_size=5),
        is_one=st.booleans(),
        crash=st.booleans(),
    )
    def batch(self, by: int, items: list[tuple[int, int, int, str | None]], *, is_one: bool, crash: bool) -> None:
        transfers = [
            replace(self._movement(by, to, cents, memo), key=self.town.keys[key]) for to, cents, key, memo in items
        ]
        viewer = self.town.viewers[by]

        async def requested() -> list[Settlement] | BaseException:
            settling = settle_batch(self.database, viewer, SETTLED, transfers, is_one=is_one)
            if not crash:
                return await settling
            async with connected_superuser(self.url) as superuser:
                [answer], _ = await asyncio.gather(
                    asyncio.gather(settling, return_exceptions=True), kill_all(superuser)
                )
                return answer

        if is_one:
            expected = self._expected_of_all(by, transfers)
        else:
            expected = []
            first: dict[uuid.UUID, Movement] = {}
            for one in transfers:
                is_same = first.setdefault(one.key, one) == one
                expected.append(self._expected(by, one)[0] if is_same else REUSED)
        answers = self.run(requested)
        if isinstance(answers, Unavailable):
            answers = self.run(lambda: settle_batch(self.database, viewer, SETTLED, transfers, is_one=is_one))
        assert not isinstance(answers, BaseException), answers
        assert [cents_or_code(one) for one in answers] == expected
        for one, answer in zip(transfers, answers, strict=True):
            if answer.row is not None:
                assert answer.row["id"] == self.town.rows.setdefault((by, one.key), answer.row["id"])

    # ------------------------------------------------------------ expected outcomes

    def _movement(self, by: int | None, to: int, cents: int, memo: str | None) -> Movement:
        source = None if by is None else self.town.accounts[by]
        return Movement(source, self.town.accounts[to], Decimal(cents).scaleb(-2), memo, uuid.UUID(int=0))

    def _viewer(self, owner: int) -> Viewer:
        return self.town.banker if owner < 0 else self.town.viewers[owner]

    def _send(self, viewer: Viewer, movement: Movement, times: int = 1) -> None:
        """Send a movement `times` times at once, and compare every answer with the model."""
        owner = -1 if viewer is self.town.banker else self.town.viewers.index(viewer)
        expected, is_new = self._expected(owner, movement)

        async def requested() -> list[Settlement | BaseException]:
            settling = (move(self.database, viewer, movement) for _ in range(times))
            return await asyncio.gather(*settling, return_exceptions=True)

        answers = self.run(requested)
        assert [cents_or_code(answer) for answer in answers] == [expected] * times
        settlements = [answer for answer in answers if isinstance(answer, Settlement)]
        assert [answer.replayed for answer in settlements].count(False) == int(is_new)
        for row in (answer.row for answer in settlements if answer.row is not None):
            assert row["id"] == self.town.rows.setdefault((owner, movement.key), row["id"])

    def _expected(self, owner: int, movement: Movement, earlier: tuple[Movement, ...] = ()) -> tuple[int | str, bool]:
        """Return the model's outcome of a movement, its cents or a code, and whether it is settled only now."""
        before = self.town.settled.get((owner, movement.key))
        if before is not None:
            requested, outcome = before
            return (outcome, False) if requested == (movement, earlier) else (REUSED, False)
        outcome = self._decided(owner, movement)
        self.town.settled[owner, movement.key] = (movement, earlier), outcome
        return outcome, True

    def _expected_of_all(self, owner: int, transfers: Sequence[Movement]) -> list[int | str]:
        """Return what the model says of an all-or-none batch."""
        first: dict[uuid.UUID, Movement] = {}
        for one in transfers:
            first.setdefault(one.key, one)
        if any(first[one.key] != one for one in transfers):
            return [OTHER if first[one.key] == one else REUSED for one in transfers]
        held, earlier = list(self.town.held), tuple(transfers)
        expected_by_key = {one.key: self._expected(owner, one, earlier) for one in first.values()}
        if any(isinstance(outcome, str) for outcome, _ in expected_by_key.values()):
            self.town.held = held
            for key, (outcome, is_new) in expected_by_key.items():
                if is_new and not isinstance(outcome, str):
                    expected_by_key[key] = OTHER, True
                    self.town.settled[owner, key] = (first[key], earlier), OTHER
        return [expected_by_key[one.key][0] for one in transfers]

    def _decided(self, owner: int, movement: Movement) -> int | str:
        held, cents = self.town.held, int(movement.amount.scaleb(2))
        target = self.town.accounts.index(movement.to_id)
        if movement.from_id == movement.to_id:
            return "SAME_ACCOUNT"
        if movement.from_id is not None and held[owner] < cents:
            return "INSUFFICIENT_FUNDS"
        if movement.from_id is not None:
            held[owner] -= cents
        held[target] += cents
        return cents

    @invariant()
    def balances_are_those_of_the_model_and_of_the_ledger(self) -> None:
        async def balances_and_errors() -> tuple[dict[int, int], Any]:
            return await balances(self.database), await self.database.fetch(WRONG_BALANCES, {})

        found, wrong = self.run(balances_and_errors)
        assert [found[account] for account in self.town.accounts] == self.town.held
        assert wrong == []


async def cents_or_code_of_move(database: Database, viewer: Viewer, movement: Movement) -> int | str:
    """Send a movement, and return the cents that it moved, or the code of the refusal."""
    try:
        return cents_or_code(await move(database, viewer, movement))
    except Refusal as refusal:
        return refusal.code


def cents_or_code(answer: Settlement | BaseException) -> int | str:
    """Return the cents that were moved, or the code of the refusal."""
    if isinstance(answer, Refusal):
        return answer.code
    if isinstance(answer, BaseException):
        raise answer
    if answer.refusal is not None:
        return answer.refusal.code
    assert answer.row is not None
    amount: int = answer.row["amount"]
    return amount


def test_ledger_agrees_with_the_model_after_any_sequence_of_requests(settings: Settings) -> None:
    assert settings.database_url is not None
    LedgerMachine.url = settings.database_url.get_secret_value()
    with asyncio.Runner() as runner:
        LedgerMachine.loop = runner.get_loop()
        LedgerMachine.database = runner.run(opened(settings))
        run_state_machine_as_test(LedgerMachine, settings=SETTINGS)
        runner.run(LedgerMachine.database.close())


async def opened(settings: Settings) -> Database:
    """Open a pool in the running loop."""
    return Database(settings)
