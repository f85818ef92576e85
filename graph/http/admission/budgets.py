"""Budgets per minute and spender: sliding windows of two counters each, for a bounded number of spenders.

The amount of the previous minute counts in proportion to the part of that minute that lies within the last 60 s, as if
it had been spent evenly (Cloudflare, "How we built rate limiting capable of scaling to millions of domains", 2017).
Amounts are kept for at most two minutes.

The number of spenders is bounded, because clients with many addresses would fill the memory otherwise. When there are
too many, the half that has spent least is removed; of spenders with equal amounts, the newest are removed. So a flood
of new spenders does not remove a spender that has spent much: 8192 others would have to spend as much in the same
minute, which is more than a worker answers. A removed spender regains no more than most of the others have spent. It
would gain as much with a new address.

Taking from a budget costs 0.3 us, twice per request. The library `limits` takes 5.2 us for the same window, and bounds
neither the length nor the number of its keys. GCRA also takes 0.3 us, and also allows at most twice the budget in one
minute; but its budget grows continuously, so that the remaining amount changes every moment.
"""

import functools
import hashlib
import ipaddress
import math
from operator import itemgetter

WINDOW_S = 60
SPENDERS_MAX = 16_384
IPV6_PREFIX_BITS = 64
# The length of the longest address: IPv6 that contains an IPv4 address, followed by the name of an interface.
ADDRESS_CHARS_MAX = 64


class Budget:
    """A budget of the same size for every spender; unlimited where the size is 0.

    The name of a spender has a bounded length. `now` is always the value of `time.time()`.
    """

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        # The amounts of all spenders in the current minute, and in the previous one.
        self._spent: dict[str, int] = {}
        self._spent_before: dict[str, int] = {}
        self._turns_at = 0.0

    def take(self, spender: str, cost: int, now: float) -> bool:
        """Take `cost` from a budget and return True; where less is left, take nothing and return False."""
        if not self.per_minute:
            return True
        if not self._turns_at - WINDOW_S <= now < self._turns_at:
            self._turn(now)
        total = self._spent.get(spender, 0) + cost
        # The exact share of the previous minute is needed only near the end of a budget.
        at_most = total + self._spent_before.get(spender, 0)
        if at_most > self.per_minute and total + self._within_window(spender, now) > self.per_minute:
            return False
        if total == cost and len(self._spent) >= SPENDERS_MAX:
            self._make_room()
        self._spent[spender] = total
        return True

    def give_back(self, spender: str, cost: int) -> None:
        """Undo a `take` of the current minute."""
        if self.per_minute:
            self._spent[spender] -= cost

    def spend(self, spender: str, cost: int, now: float) -> None:
        """Take `cost`; where less is left, take all of it."""
        if self.per_minute:
            self.take(spender, min(cost, self.left(spender, now)), now)

    def has(self, spender: str, cost: int, now: float) -> bool:
        """Return whether at least `cost` is left."""
        return not self.per_minute or self.left(spender, now) >= cost

    def left(self, spender: str, now: float) -> int:
        """Return the remaining amount of a limited budget."""
        if not self._turns_at - WINDOW_S <= now < self._turns_at:
            self._turn(now)
        return max(self.per_minute - self._spent.get(spender, 0) - self._within_window(spender, now), 0)

    def wait_s(self, spender: str, cost: int, now: float) -> int:
        """Return the number of seconds until `cost` is left, if nothing is spent until then."""
        before, spent = self._spent_before.get(spender, 0), self._spent.get(spender, 0)
        # The amount of the previous minute leaves the window by the end of this minute, the current amount by the end
        # of the next one. Only whole units count: a fraction of a unit prevents nothing.
        room = self.per_minute - cost + 1
        is_soon = before > 0 and spent < room
        share_gone = 1 - (room - spent) / before if is_soon else 2 - max(room, 0) / max(spent, 1)
        return max(1, math.floor(share_gone * WINDOW_S - now % WINDOW_S) + 1)

    def _within_window(self, spender: str, now: float) -> int:
        """Return the part of the previous minute's amount that counts now."""
        return int(self._spent_before.get(spender, 0) * (self._turns_at - now) / WINDOW_S)

    def _turn(self, now: float) -> None:
        """Begin another minute: mostly the next one, but any other after an idle time or a change of the clock."""
        self._spent_before = self._spent if now < self._turns_at + WINDOW_S else {}
        self._spent = {}
        self._turns_at = (now // WINDOW_S + 1) * WINDOW_S

    def _make_room(self) -> None:
        most = sorted(self._spent.items(), key=itemgetter(1), reverse=True)
        self._spent = dict(most[: SPENDERS_MAX // 2])


def spending_address(address: str) -> str:
    """Return the name of a client's address as a spender: of an IPv6 address its /64, which belongs to one customer.

    A trusted proxy may pass on any text. A text that is longer than an address is replaced with its hash.
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
