"""Queues, bounds, turns and shares: first come, first served; nothing is lost or leaked."""

import asyncio
import gc
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.connections.shares import Share, Shares, share
from db.connections.waiting import Bound, Turns
from db.errors import Unavailable
from db.settings import Settings

LONG_S = 30.0


def too_long() -> Exception:
    return TimeoutError("too long")


class Callers:
    """Callers of one bound, and the order in which they are admitted."""

    def __init__(self, bound: Bound) -> None:
        self.bound = bound
        self.inside: list[int] = []
        self.tasks: list[asyncio.Task[None]] = []

    def arrive(self) -> None:
        number = len(self.tasks)

        async def enter() -> None:
            await self.bound.enter()
            self.inside.append(number)

        self.tasks.append(asyncio.create_task(enter()))


@given(limit=st.integers(1, 3), steps=st.lists(st.sampled_from(["arrive", "leave", "give up", "turn"]), max_size=40))
def test_bound_admits_up_to_its_limit_in_the_order_of_arrival(limit: int, steps: list[str]) -> None:
    async def wait_and_leave() -> None:
        callers = Callers(Bound(limit, LONG_S, too_long))
        left = 0
        for step in steps:
            if step == "arrive":
                callers.arrive()
            elif step == "leave" and len(callers.inside) > left:
                left += 1
                callers.bound.leave()
            elif step == "give up":
                for task in reversed(callers.tasks):
                    if task.cancel():  # not yet admitted, or admitted in this very turn
                        break
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert len(callers.inside) - left <= limit
            assert callers.inside == sorted(callers.inside)
        waiting = [task for task in callers.tasks if not task.done()]
        assert not waiting or len(callers.inside) - left == limit
        for task in waiting:
            task.cancel()
        await asyncio.gather(*callers.tasks, return_exceptions=True)
        # No place is lost: the bound admits as many as its limit.
        for _ in range(limit - (len(callers.inside) - left)):
            assert callers.bound.enter_at_once()
        assert not callers.bound.enter_at_once()

    asyncio.run(wait_and_leave())


async def test_caller_that_waits_too_long_is_refused_and_the_others_stay_queued() -> None:
    bound = Bound(1, 0.05, too_long)
    assert bound.enter_at_once()
    with pytest.raises(TimeoutError, match="too long"):
        await bound.enter()
    waiting = asyncio.create_task(bound.enter())
    await asyncio.sleep(0)
    bound.leave()
    await waiting
    bound.leave()
    assert bound.enter_at_once()


async def test_two_writers_have_their_turn_at_once_and_keys_are_forgotten() -> None:
    turns, order, release = Turns(LONG_S), list[int](), asyncio.Event()

    async def write(number: int) -> None:
        async with turns.turn([("row", 1, 0)]):
            order.append(number)
            await release.wait()

    writing = [asyncio.create_task(write(number)) for number in range(5)]
    await asyncio.sleep(0.01)
    assert (order, len(turns)) == ([0, 1], 1)
    release.set()
    await asyncio.gather(*writing)
    assert (order, len(turns)) == ([0, 1, 2, 3, 4], 0)


async def test_turns_of_several_rows_in_any_order_never_wait_for_each_other_in_a_circle() -> None:
    turns = Turns(LONG_S)

    async def write(number: int) -> None:
        rows = [("row", number % 3, 0), ("row", (number + 1) % 3, 0)]
        async with turns.turn(rows if number % 2 else reversed(rows)):
            await asyncio.sleep(0.001)

    async with asyncio.timeout(10):
        await asyncio.gather(*(write(number) for number in range(60)))
    assert len(turns) == 0


async def test_writer_whose_turn_is_too_late_is_refused_and_leaves_nothing() -> None:
    turns = Turns(0.05)
    async with turns.turn([("row", 1, 0)]), turns.turn([("row", 1, 0)]):
        with pytest.raises(Unavailable, match="the same rows"):
            async with turns.turn([("other", 1, 0), ("row", 1, 0)]):
                pass
        assert len(turns) == 1
        async with turns.turn([("row", 1, 7)]):  # the separate turn of another user
            pass
    assert len(turns) == 0


def test_a_share_of_the_pool_is_never_all_of_it_and_never_nothing() -> None:
    for kept, overflow in ((1, 0), (2, 0), (5, 0), (8, 4), (100, 20)):
        shares = Shares(Settings(pool_size=kept, pool_max_overflow=overflow))
        most = kept + overflow
        for bound in (shares.of_operation_max, shares.of_caller_max, shares.writes_max):
            assert 1 <= bound <= max(1, most - 1)
        assert shares.of_operation_max <= shares.of_caller_max


async def test_operations_of_a_caller_share_a_bound_that_is_forgotten_with_the_last_connection() -> None:
    shares = Shares(Settings(pool_size=8, pool_max_overflow=4, pool_timeout_s=0.05, operation_deadline_ms=100))
    own = shares.begin_operation("ada")
    assert share.get() is own
    for _ in range(shares.of_operation_max):
        await own.enter()
    with pytest.raises(Unavailable, match="of this operation"):
        await own.enter()
    other = shares.begin_operation("ada")
    for _ in range(shares.of_operation_max):
        await other.enter()
    lone = Share(shares, "ada")  # of an operation that runs one statement
    assert lone.enter_at_once()
    with pytest.raises(Unavailable, match="of this caller"):
        await lone.enter()
    stranger = shares.begin_operation("eve")
    assert share.get() is stranger
    assert stranger.enter_at_once()
    assert len(shares) == 2
    stranger.leave()
    assert len(shares) == 1
    # The connections count as long as they are held, also after their operations.
    held = [lone, *[one for one in (own, other) for _ in range(shares.of_operation_max)]]
    assert not Share(shares, "ada").enter_at_once()
    for one in held:
        assert len(shares) == 1
        one.leave()
    assert len(shares) == 0


async def test_place_that_reaches_a_statement_which_has_just_left_is_not_lost() -> None:
    shares = Shares(Settings(pool_size=1, pool_max_overflow=0))
    held, leaving = Share(shares, "ada"), Share(shares, "ada")
    assert held.enter_at_once()
    waiting = asyncio.create_task(leaving.enter())
    await asyncio.sleep(0)
    held.leave()  # hands the place over
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert len(shares) == 0
    assert held.enter_at_once()


async def test_statement_refused_when_the_last_place_becomes_free_does_not_forget_a_new_bound() -> None:
    shares = Shares(Settings(pool_size=1, pool_max_overflow=0, pool_timeout_s=0.05))
    held, late, other = (Share(shares, "ada") for _ in range(3))
    assert held.enter_at_once()

    def exchange() -> None:
        held.leave()
        assert other.enter_at_once()

    waiting = asyncio.create_task(late.enter())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.06, exchange)
    time.sleep(0.1)  # noqa: ASYNC251 - both timers end in the same turn of the event loop
    with pytest.raises(Unavailable):
        await waiting
    assert not late.enter_at_once()
    other.leave()
    assert len(shares) == 0


async def test_waiting_leaves_nothing_to_the_cycle_collector() -> None:
    async def wait_once() -> None:
        bound = Bound(1, 0.01, too_long)
        assert bound.enter_at_once()
        with suppress(TimeoutError):
            await bound.enter()

    await wait_once()
    gc.collect()
    gc.disable()
    try:
        gc.set_debug(gc.DEBUG_SAVEALL)
        await wait_once()
        gc.collect()
        assert not [one for one in gc.garbage if type(one).__module__.startswith("db.")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
