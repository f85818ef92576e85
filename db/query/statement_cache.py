"""What is kept of compiled statements, and of what arranges their records: so many bytes in all, whoever asks for what.

A client varies columns, filters, orders and what is nested as it likes, and a page with twenty nested pages takes
thirty times what a count does. So what counts is the bytes of all entries together, not how many each function has.
"""

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import update_wrapper
from types import CellType, FunctionType
from typing import Any, Generic, TypeVar, TypeVarTuple

from db.connections.statements import Statement

STATEMENTS_BYTES_MAX = 33_554_432
# An entry itself, its places in two dictionaries (which are up to half empty), and an attribute dictionary.
ENTRY_BYTES = 900

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Entry(Generic[T]):
    """One answer of one function; it hashes by its identity, so that it moves in the order at little cost."""

    __slots__ = ("arguments", "found", "size_bytes", "value")

    def __init__(self, arguments: Any, value: T, found: dict[Any, "_Entry[T]"]) -> None:
        self.arguments = arguments
        self.value = value
        self.found = found
        self.size_bytes = ENTRY_BYTES + _bytes_of((arguments, value), set())


class StatementCache:
    """The answers of the functions that it decorates, bounded in bytes; the least recently used go first.

    It belongs to the thread of the event loop.

    Attributes:
        size_bytes: how many bytes the entries take. A statement that two entries hold is counted with both: whichever
            goes first, the other one still keeps it.
    """

    def __init__(self, bytes_max: int) -> None:
        self.size_bytes = 0
        self._bytes_max = bytes_max
        self._entries: OrderedDict[_Entry[Any], None] = OrderedDict()

    def __len__(self) -> int:
        """Return how many answers are kept."""
        return len(self._entries)

    def __call__(self, function: Callable[[*Ts], T]) -> Callable[[*Ts], T]:
        """Have `function` called once for the same arguments, by position, as long as its answer is kept.

        Each answer is a `Statement`, or a tuple that holds one. It is compiled here, for only then is its size known.
        """
        found: dict[tuple[*Ts], _Entry[T]] = {}
        used = self._entries.move_to_end

        def kept(*arguments: *Ts) -> T:
            entry = found.get(arguments)
            if entry is not None:
                used(entry)
                return entry.value
            value = function(*arguments)
            self._keep(_Entry(arguments, value, found))
            return value

        return update_wrapper(kept, function)

    def _keep(self, entry: _Entry[Any]) -> None:
        entry.found[entry.arguments] = entry
        self._entries[entry] = None
        self.size_bytes += entry.size_bytes
        while self.size_bytes > self._bytes_max:
            oldest, _ = self._entries.popitem(last=False)
            del oldest.found[oldest.arguments]
            self.size_bytes -= oldest.size_bytes


statements = StatementCache(STATEMENTS_BYTES_MAX)
"""The one cache of all statements that have shapes."""


def _bytes_of(part: object, seen: set[int]) -> int:
    """Return what a part of an entry takes; lists, orders and audiences are everybody's, and are not counted."""
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
