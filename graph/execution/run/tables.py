"""Tables: rows that came column by column, as PostgreSQL gives them where each column is one array.

A hundred rows of four columns are four lists then, not a hundred records, and an answer is written by going through the
lists side by side. Who wants a row all the same gets a mapping, made when it is first wanted.

A table may belong to several operations at once, whose reads were one statement. What is written of its rows is kept
with it then, for as long as one of them has it.
"""

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Protocol, overload


class Columns(Protocol):
    """What a field that is declared a table returns."""

    @property
    def columns(self) -> Mapping[str, list[Any]]:
        """The values of each column, of which there is one at least; none is changed any more."""
        ...

    @property
    def size(self) -> int:
        """How many rows there are."""
        ...

    @property
    def brought(self) -> Collection[Hashable]:
        """The identities of the loaders (`BoundEdge.identity`) whose answers for the rows came with them."""
        ...

    written: dict[Any, Any] | None
    """What was written of the rows, by who wrote it; None as long as nothing was."""


class Table(Sequence[Mapping[str, Any]]):
    """The rows of one level.

    Attributes:
        columns: the values of each column by its name.
        size: how many rows there are.
        brought: as `Columns` has it.
        written: likewise.
    """

    __slots__ = ("_rows", "brought", "columns", "size", "written")

    def __init__(self, columns: Mapping[str, list[Any]], size: int) -> None:
        self.columns = columns
        self.size = size
        self.brought: Collection[Hashable] = ()
        self.written: dict[Any, Any] | None = None
        self._rows: list[dict[str, Any]] | None = None

    @classmethod
    def joined(cls, parts: Sequence[Columns], size: int) -> "Table":
        """Make the table of the rows of all `parts`, which have the same columns, and `size` rows together."""
        if not parts:
            return cls({}, 0)
        if len(parts) == 1:
            return cls(parts[0].columns, size)
        each = [part.columns for part in parts]
        return cls({name: list(chain.from_iterable([one[name] for one in each])) for name in each[0]}, size)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows, one mapping each."""
        if self._rows is None:
            names, columns = list(self.columns), self.columns.values()
            self._rows = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
        return self._rows

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, index: int) -> Mapping[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Mapping[str, Any]]: ...

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self.rows)
