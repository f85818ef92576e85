"""Waiting in line: first come, first served, for a limited time, for any kind of object."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

from db.errors import Unavailable

T = TypeVar("T")
TurnKey = tuple[str, int, int]
"""The target of a write: a kind of row, its id, and the id of the user who writes, or 0.

With the user id in it, callers wait for their own writes only. A row whose existence is not public needs this: a wait
would reveal to other users that the row exists.
"""


class Line(Generic[T]):
    """Callers that wait for one object each, in the order of their arrival.

    If an object is handed to a caller that leaves in the same turn of the event loop, the object is not lost:
    `wait` returns it through `give_back`.

    Attributes:
        places: the place of each caller that waits, with the time of the event loop at which its wait began.
    """

    def __init__(self) -> None:
        self.places: OrderedDict[asyncio.Future[T], float] = OrderedDict()

    def __len__(self) -> int:
        """Return how many callers wait."""
        return len(self.places)

    def since(self, place: int) -> float:
        """Return when the caller at `place`, from 0, began to wait, in seconds of the event loop's clock."""
        for index, began in enumerate(self.places.values()):
            if index == place:
                return began
        raise IndexError(place)

    def join(self) -> asyncio.Future[T]:
        """Add a caller at the end. Pass the returned place to `wait` at once."""
        loop = asyncio.get_running_loop()
        place: asyncio.Future[T] = loop.create_future()
        self.places[place] = loop.time()
        return place

    async def wait(
        self,
        place: asyncio.Future[T],
        within_s: float,
        refusal: Callable[[], Exception],
        give_back: Callable[[T], None],
    ) -> T:
        """Return the object for the caller at `place`. `give_back` takes the object if the caller has left meanwhile.

        Raises:
            Exception: `refusal()` after `within_s` seconds, or the error that `fail` received.
        """
        timer = asyncio.get_running_loop().call_later(within_s, self._expire, place, refusal)
        try:
            return await place
        except BaseException:
            if place.done() and not place.cancelled() and place.exception() is None:
                give_back(place.result())
            raise
        finally:
            self.places.pop(place, None)
            timer.cancel()
            del place, timer  # the trace of a refusal holds this frame, and the future holds the refusal

    def hand(self, thing: T) -> bool:
        """Hand `thing` to the caller that has waited longest; return False if no caller waits."""
        while self.places:
            place, _ = self.places.popitem(last=False)
            if not place.done():
                place.set_result(thing)
                return True
        return False

    def fail(self, error: Exception) -> bool:
        """Refuse the caller that has waited longest; return False if no caller waits."""
        while self.places:
            place, _ = self.places.popitem(last=False)
            if not place.done():
                place.set_exception(error)
                return True
        return False

    def _expire(self, place: asyncio.Future[T], refusal: Callable[[], Exception]) -> None:
        if not place.done():
            place.set_exception(refusal())


@dataclass(slots=True, eq=False)
class Bound:
    """A limited number of holders at once. Further callers wait in line.

    Attributes:
        free: how many places are free; at the beginning the limit. No place is free while a caller waits.
        within_s: how long a caller waits at most, in seconds, before it receives `refusal()`.
        line: the callers that wait; None until the first one. Most bounds are never reached.
    """

    free: int
    within_s: float
    refusal: Callable[[], Exception]
    line: Line[None] | None = None

    def enter_at_once(self) -> bool:
        """Become a holder and return True, or return False if that would need a wait."""
        if self.free:
            self.free -= 1
            return True
        return False

    async def enter(self) -> None:
        """Become a holder, until `leave`, and wait for that if necessary.

        Raises:
            Exception: the refusal, if the wait took too long.
        """
        if self.enter_at_once():
            return
        if self.line is None:
            self.line = Line()
        await self.line.wait(self.line.join(), self.within_s, self.refusal, lambda _: self.leave())

    def leave(self) -> None:
        """Stop being a holder."""
        if self.line is None or not self.line.hand(None):
            self.free += 1


class Turns:
    """Turns to write a row: callers that would wait for each other in the database wait here without a connection.

    Two callers have their turn at once: as soon as the first commits, the database hands the row's lock to the second,
    while the third is still on its way. A key is removed when no caller has its turn: then none waits for it either.
    """

    AT_ONCE = 2

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._turns: dict[TurnKey, Bound] = {}

    def __len__(self) -> int:
        """Return how many keys are in use."""
        return len(self._turns)

    def turn(self, keys: Iterable[TurnKey]) -> "Held":
        """Return a context manager that waits for the turn of all `keys` and holds it within its block.

        Raises:
            Unavailable: DATABASE_BUSY, on entering, if a turn did not arrive in time.
        """
        return Held(self, sorted(set(keys)))  # one order for all callers, so that no two wait for each other

    def enter_at_once(self, keys: Iterable[TurnKey]) -> bool:
        """Take the turns of all `keys` and return True, or take none and return False if that would need a wait."""
        turns = self._turns
        for key in keys:
            turn = turns.get(key)
            if turn is not None and not turn.free:
                return False
        for key in keys:
            turn = turns.get(key)
            if turn is None:
                turn = turns[key] = Bound(self.AT_ONCE, self._within_s, _busy)
            turn.free -= 1
        return True

    async def enter(self, keys: Iterable[TurnKey]) -> None:
        """Wait for the turn of each key, one after the other. After an error none is held."""
        held: list[TurnKey] = []
        try:
            for key in keys:
                turn = self._turns.setdefault(key, Bound(self.AT_ONCE, self._within_s, _busy))
                try:
                    await turn.enter()
                except BaseException:
                    self._forget_unused(key, turn)  # this call may have received the last place when it had just left
                    raise
                held.append(key)
        except BaseException:
            self.leave(held)
            raise

    def leave(self, keys: Iterable[TurnKey]) -> None:
        """End the turn of each key, so that the next caller in line has it."""
        for key in keys:
            turn = self._turns[key]
            if turn.line is None:
                turn.free += 1
            else:
                turn.leave()
            if turn.free == self.AT_ONCE:
                del self._turns[key]

    def _forget_unused(self, key: TurnKey, turn: Bound) -> None:
        if turn.free == self.AT_ONCE and self._turns.get(key) is turn:
            del self._turns[key]


class Held(AbstractAsyncContextManager[None]):
    """Holds the turns of some keys within a block."""

    __slots__ = ("_keys", "_turns")

    def __init__(self, turns: Turns, keys: list[TurnKey]) -> None:
        self._turns = turns
        self._keys = keys

    async def __aenter__(self) -> None:
        if not self._turns.enter_at_once(self._keys):
            await self._turns.enter(self._keys)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._turns.leave(self._keys)


def _busy() -> Exception:
    return Unavailable("DATABASE_BUSY", "too many clients write the same rows; try again shortly")
