"""A bounded number of places, shared fairly: neither one address nor a few together can exclude the others."""

from collections.abc import Hashable
from typing import Generic, TypeVar

# One address may take this fraction of all places: a quarter.
SHARES = 4

H = TypeVar("H", bound=Hashable)


class NoPlaceError(Exception):
    """No place is free. The message says how many are taken."""


class Places(Generic[H]):
    """Places, with the holders of each address.

    An address takes at most a quarter of them. Where all are taken, the address with the most places loses its oldest
    one. So a client that uses many places displaces only itself and similar clients.
    """

    def __init__(self, number_max: int) -> None:
        self.number_max = number_max
        self.per_address_max = -(-number_max // SHARES)
        self.taken = 0
        self._by_address: dict[str, dict[H, None]] = {}

    def take(self, address: str, holder: H) -> H | None:
        """Take a place for `holder`; return the holder that has lost its place for it, or None.

        Raises:
            NoPlaceError: no place can be taken, or the address has reached its limit.
        """
        mine = self._by_address.get(address, {})
        if len(mine) >= self.per_address_max:
            raise NoPlaceError(f"{len(mine)} from this address already")
        displaced = None
        if self.taken >= self.number_max:
            other = max(self._by_address, key=lambda one: len(self._by_address[one]))
            if len(self._by_address[other]) <= len(mine) + 1:
                raise NoPlaceError(f"{self.taken} already")
            displaced = next(iter(self._by_address[other]))
            self.leave(other, displaced)
        self._by_address.setdefault(address, {})[holder] = None
        self.taken += 1
        return displaced

    def leave(self, address: str, holder: H) -> None:
        """Release the place, unless it has been lost already."""
        mine = self._by_address.get(address)
        if mine is None or holder not in mine:
            return
        del mine[holder]
        self.taken -= 1
        if not mine:
            del self._by_address[address]
