"""A bounded cache that a flood of new keys cannot empty: a segmented LRU, as for disk blocks.

What is new stands on probation, in a small segment of its own, and moves to the protected one when it is asked for
again. A flood of keys that come once therefore only pushes out each other. (Karedla, Love and Wherry: Caching
Strategies to Improve Disk System Performance, IEEE Computer 27(3), 1994.)

Both segments are bounded by the bytes that whoever puts a value in says it takes, not by how many there are: one value
may take a thousand times what another does. What grows later is counted as it grows.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

from cachetools import LRUCache

# What one entry takes beside its value: a tuple, two dictionaries' and an ordered dictionary's places for the key.
ENTRY_BYTES = 600

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SegmentedCache(Generic[K, V]):
    """Two least-recently-used segments, each bounded in bytes."""

    def __init__(self, *, protected_bytes_max: int, probation_bytes_max: int) -> None:
        self._protected: LRUCache[K, tuple[V, int]] = LRUCache(protected_bytes_max, getsizeof=_size)
        self._probation: LRUCache[K, tuple[V, int]] = LRUCache(probation_bytes_max, getsizeof=_size)

    def __len__(self) -> int:
        """Return how many values are kept."""
        return len(self._protected) + len(self._probation)

    @property
    def size_bytes(self) -> int:
        """How many bytes the values take that are kept."""
        return int(self._protected.currsize + self._probation.currsize)

    def get(self, key: K) -> V | None:
        """Return the value, or None; whatever is found is protected from then on."""
        try:
            return self._protected[key][0]
        except KeyError:
            entry = self._probation.pop(key, None)
        if entry is None:
            return None
        self._keep(self._protected, key, entry)
        return entry[0]

    def put(self, key: K, value: V, size_bytes: int) -> None:
        """Keep a value that takes so many bytes, on probation; one that no segment could hold is not kept."""
        self._protected.pop(key, None)
        self._keep(self._probation, key, (value, size_bytes + ENTRY_BYTES))

    def grow(self, key: K, by: int) -> None:
        """Count a value as so many bytes larger, if it is kept. Others make place, or it is not kept any more."""
        for segment in (self._protected, self._probation):
            entry = segment.pop(key, None)
            if entry is not None:
                self._keep(segment, key, (entry[0], entry[1] + by))

    def _keep(self, segment: LRUCache[K, tuple[V, int]], key: K, entry: tuple[V, int]) -> None:
        if entry[1] <= segment.maxsize:
            segment[key] = entry


def _size(entry: tuple[object, int]) -> int:
    return entry[1]
