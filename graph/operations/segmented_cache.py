"""A bounded cache that a flood of new keys cannot empty: a segmented LRU, as for disk blocks.

A new entry is on probation, in a small segment, and moves to the protected segment when it is read again. So the
keys of a flood, which are used only once, displace only each other. (Karedla, Love and Wherry: Caching Strategies to
Improve Disk System Performance, IEEE Computer 27(3), 1994.)

Both segments are bounded in bytes, not in entries, since one value may be a thousand times as large as another. The
caller of `put` passes the size of a value in bytes, and reports later growth with `grow`.
"""

from collections.abc import Hashable
from typing import Any, Generic, NamedTuple, TypeVar

from cachetools import LRUCache

# The bytes of one entry in addition to its value: a tuple, and the slots for the key in two dictionaries and an ordered
# dictionary.
ENTRY_BYTES = 600

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Entry(NamedTuple, Generic[K, V]):
    """A value, with the key that was passed with it and its size in bytes."""

    key: K
    value: V
    size_bytes: int


class SegmentedCache(Generic[K, V]):
    """Two least-recently-used segments, each bounded in bytes."""

    def __init__(self, *, protected_bytes_max: int, probation_bytes_max: int) -> None:
        # An entry holds the key that it was put with. A later request has an equal key, but another object. If that
        # were stored as the key while the value holds the first, both would stay in memory.
        self._protected: LRUCache[K, _Entry[K, V]] = LRUCache(protected_bytes_max, getsizeof=_size)
        self._probation: LRUCache[K, _Entry[K, V]] = LRUCache(probation_bytes_max, getsizeof=_size)

    def __len__(self) -> int:
        """Return the number of kept values."""
        return len(self._protected) + len(self._probation)

    @property
    def size_bytes(self) -> int:
        """The total size of the kept values, in bytes."""
        return int(self._protected.currsize + self._probation.currsize)

    def get(self, key: K) -> V | None:
        """Return the value, or None. A value that is found is protected from then on."""
        try:
            return self._protected[key].value
        except KeyError:
            entry = self._probation.pop(key, None)
        if entry is None:
            return None
        self._keep(self._protected, entry)
        return entry.value

    def put(self, key: K, value: V, size_bytes: int) -> None:
        """Keep a value of `size_bytes` on probation. A value that is larger than a segment is not kept."""
        self._protected.pop(key, None)
        self._keep(self._probation, _Entry(key, value, size_bytes + ENTRY_BYTES))

    def grow(self, key: K, by: int) -> None:
        """Count a kept value as `by` bytes larger. Others are dropped to make room, or the value itself is."""
        for segment in (self._protected, self._probation):
            entry = segment.pop(key, None)
            if entry is not None:
                self._keep(segment, entry._replace(size_bytes=entry.size_bytes + by))

    def _keep(self, segment: LRUCache[K, _Entry[K, V]], entry: _Entry[K, V]) -> None:
        if entry.size_bytes <= segment.maxsize:
            segment[entry.key] = entry


def _size(entry: _Entry[Any, Any]) -> int:
    return entry.size_bytes
