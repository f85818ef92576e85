"""A bounded cache that a flood of new keys cannot empty: a segmented LRU, as for disk blocks.

What is new stands on probation, in a small segment of its own, and moves to the protected one when it is asked for
again. A flood of keys that come once therefore only pushes out each other. (Karedla, Love and Wherry: Caching
Strategies to Improve Disk System Performance, IEEE Computer 27(3), 1994.)

Both segments are bounded by the bytes that whoever puts a value in says it takes, not by how many there are: one value
may take a thousand times what another does. What grows later is counted as it grows.
"""

from collections.abc import Hashable
from typing import Any, Generic, NamedTuple, TypeVar

from cachetools import LRUCache

# What one entry takes beside its value: a tuple, two dictionaries' and an ordered dictionary's places for the key.
ENTRY_BYTES = 600

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Entry(NamedTuple, Generic[K, V]):
    """A value, with the key that it came with and how many bytes it takes."""

    key: K
    value: V
    size_bytes: int


class SegmentedCache(Generic[K, V]):
    """Two least-recently-used segments, each bounded in bytes."""

    def __init__(self, *, protected_bytes_max: int, probation_bytes_max: int) -> None:
        # Each entry knows the key that it came with: whoever asks for it again has an equal one, and a value that holds
        # the first would then keep both.
        self._protected: LRUCache[K, _Entry[K, V]] = LRUCache(protected_bytes_max, getsizeof=_size)
        self._probation: LRUCache[K, _Entry[K, V]] = LRUCache(probation_bytes_max, getsizeof=_size)

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
            return self._protected[key].value
        except KeyError:
            entry = self._probation.pop(key, None)
        if entry is None:
            return None
        self._keep(self._protected, entry)
        return entry.value

    def put(self, key: K, value: V, size_bytes: int) -> None:
        """Keep a value that takes so many bytes, on probation; one that no segment could hold is not kept."""
        self._protected.pop(key, None)
        self._keep(self._probation, _Entry(key, value, size_bytes + ENTRY_BYTES))

    def grow(self, key: K, by: int) -> None:
        """Count a value as so many bytes larger, if it is kept. Others make place, or it is not kept any more."""
        for segment in (self._protected, self._probation):
            entry = segment.pop(key, None)
            if entry is not None:
                self._keep(segment, entry._replace(size_bytes=entry.size_bytes + by))

    def _keep(self, segment: LRUCache[K, _Entry[K, V]], entry: _Entry[K, V]) -> None:
        if entry.size_bytes <= segment.maxsize:
            segment[entry.key] = entry


def _size(entry: _Entry[Any, Any]) -> int:
    return entry.size_bytes
