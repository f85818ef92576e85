"""A bounded number of places, of which nobody can keep others out: neither one address, nor a few together."""

from collections.abc import Hashable
from typing import Generic, TypeVar

# What one address may take of all places.
SHARES = 4

H = TypeVar("H", bound=Hashable)


class NoPlaceError(Exception):
    """There is no place for one more. The message says of how many, for people."""


class Places(Generic[H]):
    """Places, and who holds them for which address.

    An address takes a quarter of them at the most. Where all are taken, the address that has the most gives up the one
    that it has held for longest, so that those who come from many addresses displace one another and nobody else.
    """

    def __init__(self, number_max: int) -> None:
        self.number_max = number_max
        self.per_address_max = -(-number_max // SHARES)
        self.taken = 0
        self._by_address: dict[str, dict[H, None]] = {}

    def take(self, address: str, holder: H) -> H | None:
        """Give `holder` a place; return who has lost theirs for it.

        Raises:
            NoPlaceError: there is none, or the address has as many as it may have.
        """
        mine = self._by_address.get(address, {})
        if len(mine) >= self.per_address_max:
            raise NoPlaceError(f"{len(mine)} of this address do already")
        displaced = None
        if self.taken >= self.number_max:
            other = max(self._by_address, key=lambda one: len(self._by_address[one]))
            if len(self._by_address[other]) <= len(mine) + 1:
                raise NoPlaceError(f"{self.taken} do already")
            displaced = next(iter(self._by_address[other]))
            self.leave(other, displaced)
        self._by_address.setdefault(address, {})[holder] = None
        self.taken += 1
        return displaced

    def leave(self, address: str, holder: H) -> None:
        """Give the place up, unless it is lost already."""
        mine = self._by_address.get(address)
        if mine is None or holder not in mine:
            return
        del mine[holder]
        self.taken -= 1
        if not mine:
            del self._by_address[address]
