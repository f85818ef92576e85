"""Budgets of cost a minute, by whoever spends them: sliding windows of two counters, kept by `limits`.

What a spender has is bought from the library in blocks and spent here, for asking it takes longer than most operations
do at the door. What is left of a block at the end of its minute is lost to its spender, a five-hundredth at most.
"""

import functools
import ipaddress
import math
import time

from limits import RateLimitItemPerMinute
from limits.storage.memory import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

WINDOW_S = 60
BLOCKS = 500
IPV6_PREFIX_BITS = 64


class Budget:
    """A budget of the same size for every spender; of 0, one without end."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._item = RateLimitItemPerMinute(max(per_minute, 1))
        self._storage = MemoryStorage()
        self._windows = SlidingWindowCounterRateLimiter(self._storage)
        self._turns_at = 0.0
        self._bought: dict[str, int] = {}

    def take(self, spender: str, cost: int, now: float) -> bool:
        """Take `cost` from what is bought already; say whether that covers it at the time `now`."""
        if not self.per_minute:
            return True
        bought = self._bought.get(spender, 0)
        if bought < cost or not self._turns_at - WINDOW_S <= now < self._turns_at:
            return False
        self._bought[spender] = bought - cost
        return True

    def give_back(self, spender: str, cost: int) -> None:
        """Take back what was taken just now."""
        if self.per_minute:
            self._bought[spender] += cost

    def has(self, spender: str, cost: int) -> bool:
        """Say whether the budget reaches for `cost`."""
        if not self.per_minute:
            return True
        self._turn()
        missing = cost - self._bought.get(spender, 0)
        return missing <= 0 or self._windows.test(self._item, spender, cost=missing)

    def spend(self, spender: str, cost: int) -> None:
        """Take `cost` from the budget, of which then nothing may be left, but never less than nothing."""
        if not self.per_minute:
            return
        self._turn()
        bought = self._bought.get(spender, 0)
        if bought < cost:
            bought += self._buy(spender, cost - bought)
        self._bought[spender] = max(bought - cost, 0)

    def left(self, spender: str) -> int:
        """Return what is left."""
        self._turn()
        return self._windows.get_window_stats(self._item, spender).remaining + self._bought.get(spender, 0)

    def wait_s(self, spender: str, cost: int) -> int:
        """Return in how many seconds the budget reaches for `cost`, if nothing is spent until then."""
        now = time.time()
        before, _, counted, _ = self._storage.get_sliding_window(self._item.key_for(spender), WINDOW_S)
        spent = counted - self._bought.get(spender, 0)
        # What was spent before leaves the window by the end of this minute, the rest by the end of the next one. The
        # library counts whole units: a part of one is not in the way.
        room = self.per_minute - cost + 1
        is_soon = before > 0 and spent < room
        share_gone = 1 - (room - spent) / before if is_soon else 2 - max(room, 0) / max(spent, 1)
        return max(1, math.floor(share_gone * WINDOW_S - now % WINDOW_S) + 1)

    def _buy(self, spender: str, cost: int) -> int:
        """Buy a block, or where that is too much what is needed, or where even that is too much what there is."""
        block = max(self.per_minute // BLOCKS, cost)
        for wanted in (block, cost, min(cost, self._windows.get_window_stats(self._item, spender).remaining)):
            if wanted and self._windows.hit(self._item, spender, cost=wanted):
                return wanted
        return 0

    def _turn(self) -> None:
        now = time.time()
        if not self._turns_at - WINDOW_S <= now < self._turns_at:  # a clock may be put back
            self._turns_at = (now // WINDOW_S + 1) * WINDOW_S
            self._bought.clear()


@functools.lru_cache(maxsize=4096)
def spending_address(address: str) -> str:
    """Return by what a client's address is known to the budgets: of IPv6 by its /64, which is one customer's."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # a Unix socket's, or a test's
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed), IPV6_PREFIX_BITS), strict=False))
