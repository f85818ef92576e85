"""Budgets a minute, by whoever spends them: sliding windows of two counters, of a bounded number of spenders.

What was spent in the minute before counts by the share of it that lies within the last 60 s, as if it had been spent
evenly (Cloudflare, "How we built rate limiting capable of scaling to millions of domains", 2017). Nothing is kept of a
spender for longer than two minutes.

The number of spenders is bounded, or clients with many addresses would fill the memory. Where there are too many, the
half of them that has spent least is forgotten, and of equals who came last. So a flood of new spenders frees nobody who
has spent much: 8192 others would have to spend as much in the same minute, which is more than a worker answers. Who is
forgotten gets back no more than most of the others have spent, and would get as much by calling from a new address.

To take from a budget costs 0.3 us, twice for each request. The library `limits` takes 5.2 us for the same window, and
bounds neither the length nor the number of its keys. GCRA takes 0.3 us as well, and allows as much in the worst minute,
twice the budget; its budget grows all the time, so that what is left is another number a moment later.
"""

import functools
import hashlib
import ipaddress
import math
from operator import itemgetter

WINDOW_S = 60
SPENDERS_MAX = 16_384
IPV6_PREFIX_BITS = 64
# The longest address: of IPv6 with an IPv4 address in it, and the name of an interface behind it.
ADDRESS_CHARS_MAX = 64


class Budget:
    """A budget of the same size for every spender; of 0, one without end.

    A spender has a name of bounded length. `now` is always the time of `time.time()`.
    """

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        # What each has spent in this minute, and in the one before.
        self._spent: dict[str, int] = {}
        self._spent_before: dict[str, int] = {}
        self._turns_at = 0.0

    def take(self, spender: str, cost: int, now: float) -> bool:
        """Take `cost` from a budget; False, and nothing is taken, where it does not reach."""
        if not self.per_minute:
            return True
        if not self._turns_at - WINDOW_S <= now < self._turns_at:
            self._turn(now)
        total = self._spent.get(spender, 0) + cost
        # Only who comes near the end of a budget needs the exact share of what was spent before.
        at_most = total + self._spent_before.get(spender, 0)
        if at_most > self.per_minute and total + self._within_window(spender, now) > self.per_minute:
            return False
        if total == cost and len(self._spent) >= SPENDERS_MAX:
            self._make_room()
        self._spent[spender] = total
        return True

    def give_back(self, spender: str, cost: int) -> None:
        """Take back what was taken just now."""
        if self.per_minute:
            self._spent[spender] -= cost

    def spend(self, spender: str, cost: int, now: float) -> None:
        """Take `cost`, or where there is less, all that there is."""
        if self.per_minute:
            self.take(spender, min(cost, self.left(spender, now)), now)

    def has(self, spender: str, cost: int, now: float) -> bool:
        """Say whether the budget reaches for `cost`."""
        return not self.per_minute or self.left(spender, now) >= cost

    def left(self, spender: str, now: float) -> int:
        """Return what is left of a budget that has an end."""
        if not self._turns_at - WINDOW_S <= now < self._turns_at:
            self._turn(now)
        return max(self.per_minute - self._spent.get(spender, 0) - self._within_window(spender, now), 0)

    def wait_s(self, spender: str, cost: int, now: float) -> int:
        """Return in how many seconds the budget reaches for `cost`, if nothing is spent until then."""
        before, spent = self._spent_before.get(spender, 0), self._spent.get(spender, 0)
        # What was spent before leaves the window by the end of this minute, the rest by the end of the next one. Only
        # whole units count: a part of one is not in the way.
        room = self.per_minute - cost + 1
        is_soon = before > 0 and spent < room
        share_gone = 1 - (room - spent) / before if is_soon else 2 - max(room, 0) / max(spent, 1)
        return max(1, math.floor(share_gone * WINDOW_S - now % WINDOW_S) + 1)

    def _within_window(self, spender: str, now: float) -> int:
        """Return what counts of what was spent in the minute before."""
        return int(self._spent_before.get(spender, 0) * (self._turns_at - now) / WINDOW_S)

    def _turn(self, now: float) -> None:
        """Begin another minute: mostly the next one; but nobody may have asked for long, or a clock is put back."""
        self._spent_before = self._spent if now < self._turns_at + WINDOW_S else {}
        self._spent = {}
        self._turns_at = (now // WINDOW_S + 1) * WINDOW_S

    def _make_room(self) -> None:
        most = sorted(self._spent.items(), key=itemgetter(1), reverse=True)
        self._spent = dict(most[: SPENDERS_MAX // 2])


def spending_address(address: str) -> str:
    """Return by what a client's address is known to the budgets: of IPv6 by its /64, which is one customer's.

    A trusted proxy may hand on any text. One that is longer than an address is known by its hash.
    """
    if len(address) > ADDRESS_CHARS_MAX:
        return hashlib.blake2b(address.encode(errors="surrogatepass"), digest_size=16).hexdigest()
    return _known(address)


@functools.lru_cache(maxsize=4096)
def _known(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # a Unix socket's, or a test's
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed), IPV6_PREFIX_BITS), strict=False))
