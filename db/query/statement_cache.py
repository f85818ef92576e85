"""The cache of compiled statements and of the functions that map their records, bounded in bytes.

Clients vary columns, filters, orders and nested pages freely, and a page with twenty nested pages takes thirty times as
much as a count. Therefore the bound is the bytes of all entries together, not the number of entries of each function.
"""

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import update_wrapper
from types import CellType, FunctionType
from typing import Any, Generic, TypeVar, TypeVarTuple

from db.connections.statements import Statement

STATEMENTS_BYTES_MAX = 33_554_432
# The entry itself, its places in two dictionaries (which are up to half empty), and an attribute dictionary.
ENTRY_BYTES = 900

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Entry(Generic[T]):
    """One cached result of one function. It hashes by identity, so that the order is updated at little cost."""

    __slots__ = ("arguments", "results", "size_bytes", "value")

    def __init__(self, arguments: Any, value: T, results: dict[Any, "_Entry[T]"]) -> None:
        self.arguments = arguments
        self.value = value
        self.results = results
        self.size_bytes = ENTRY_BYTES + _bytes_of((arguments, value), set())


class StatementCache:
    """Caches the results of decorated functions, bounded in bytes. The least recently used are removed first.

    It must be used in the thread of the event loop only.

    Attributes:
        size_bytes: the bytes that the entries take. A statement that two entries hold is counted with both, because it
            stays in memory until both are removed.
    """

    def __init__(self, bytes_max: int) -> None:
        self.size_bytes = 0
        self._bytes_max = bytes_max
        self._entries: OrderedDict[_Entry[Any], None] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of cached results."""
        return len(self._entries)

    def __call__(self, function: Callable[[*Ts], T]) -> Callable[[*Ts], T]:
        """Let `function` be called once for the same positional arguments, until its result is removed.

        Each result is a `Statement`, or a tuple that holds one. It is compiled here, because its size is unknown
        before.
        """
        results: dict[tuple[*Ts], _Entry[T]] = {}
        used = self._entries.move_to_end

        def cached(*arguments: *Ts) -> T:
            entry = results.get(arguments)
            if entry is not None:
                used(entry)
                return entry.value
            value = function(*arguments)
            self._keep(_Entry(arguments, value, results))
            return value

        return update_wrapper(cached, function)

    def _keep(self, entry: _Entry[Any]) -> None:
        entry.results[entry.arguments] = entry
        self._entries[entry] = None
        self.size_bytes += entry.size_bytes
        while self.size_bytes > self._bytes_max:
            oldest, _ = self._entries.popitem(last=False)
            del oldest.results[oldest.arguments]
            self.size_bytes -= oldest.size_bytes


statements = StatementCache(STATEMENTS_BYTES_MAX)
"""The one cache of all statements that have shapes."""


def _bytes_of(part: object, seen: set[int]) -> int:
    """Return the bytes of a part of an entry. Lists, orders and access levels are shared and are not counted."""
    if id(part) in seen:
        return 0
    seen.add(id(part))
    if isinstance(part, Statement):
        return part.size_bytes
    parts: Iterable[object] = ()
    if isinstance(part, tuple | frozenset | list):
        parts = part
    elif isinstance(part, FunctionType):
        parts = part.__closure__ or ()
    elif isinstance(part, CellType):
        parts = (part.cell_contents,)
    elif not isinstance(part, str):
        return 0
    return sys.getsizeof(part) + sum(_bytes_of(one, seen) for one in parts)
