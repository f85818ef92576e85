"""Budgets of cost a minute, by whoever spends them: a sliding window of two counters.

What was spent in the last minute is taken to be what was spent in this one, and of the one before the share that the
last sixty seconds still hold. Two numbers for each spender, and those who spend nothing for two minutes are forgotten.
"""

import math
import time
from collections.abc import Hashable

WINDOW_S = 60


class Budget:
    """A budget of the same size for every spender; of 0, one without end."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._minute = 0
        self._spent: dict[Hashable, int] = {}
        self._spent_before: dict[Hashable, int] = {}

    def has(self, spender: Hashable, cost: int) -> bool:
        """Say whether the budget reaches for `cost`."""
        if not self.per_minute:
            return True
        return self._used(spender, time.time()) + cost <= self.per_minute

    def spend(self, spender: Hashable, cost: int) -> None:
        """Take `cost` from the budget, of which then nothing may be left, but never less than nothing."""
        if self.per_minute:
            self._turn(time.time())
            self._spent[spender] = min(self._spent.get(spender, 0) + cost, self.per_minute)

    def left(self, spender: Hashable) -> int:
        """Return what is left."""
        return int(max(self.per_minute - self._used(spender, time.time()), 0))

    def wait_s(self, spender: Hashable, cost: int) -> int:
        """Return in how many seconds the budget reaches for `cost`, if nothing is spent until then."""
        now = time.time()
        self._turn(now)
        spent, before = self._spent.get(spender, 0), self._spent_before.get(spender, 0)
        # What was spent before leaves the window by the end of this minute, the rest by the end of the next one.
        room = self.per_minute - cost
        is_soon = before > 0 and spent <= room
        share_gone = 1 - (room - spent) / before if is_soon else 2 - max(room, 0) / max(spent, 1)
        return max(1, math.ceil(share_gone * WINDOW_S - now % WINDOW_S))

    def _used(self, spender: Hashable, now: float) -> float:
        self._turn(now)
        before = self._spent_before.get(spender, 0)
        return self._spent.get(spender, 0) + before * (1 - now % WINDOW_S / WINDOW_S)

    def _turn(self, now: float) -> None:
        minute = int(now // WINDOW_S)
        if minute != self._minute:
            self._spent_before = self._spent if minute == self._minute + 1 else {}
            self._spent, self._minute = {}, minute
