"""Tables: rows stored column by column, as PostgreSQL returns them where each column is aggregated to one array.

A hundred rows of four columns are then four lists, not a hundred records, and the response is made by a loop over the
lists in parallel. Code that needs single rows gets mappings, which are made at the first such access.

Several operations whose reads were coalesced into one statement may share a table. The response data of its rows is
then stored with the table, and freed with it.
"""

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Protocol, overload


class Columns(Protocol):
    """The value of a field that is declared as a table."""

    @property
    def columns(self) -> Mapping[str, list[Any]]:
        """The values of each column. There is at least one column, and the lists are never mutated."""
        ...

    @property
    def size(self) -> int:
        """The number of rows."""
        ...

    @property
    def included_loaders(self) -> Collection[Hashable]:
        """The identities (`BoundEdge.identity`) of the loaders whose results for these rows came with the rows."""
        ...

    shared_output: dict[Any, Any] | None
    """The response data of the rows, by the level or key that it was made for; None before the first."""


class Table(Sequence[Mapping[str, Any]]):
    """The rows of one level.

    Attributes:
        columns: the values of each column, by its name.
        size: the number of rows.
        included_loaders: see `Columns`.
        shared_output: see `Columns`.
    """

    __slots__ = ("_rows", "columns", "included_loaders", "shared_output", "size")

    def __init__(self, columns: Mapping[str, list[Any]], size: int) -> None:
        self.columns = columns
        self.size = size
        self.included_loaders: Collection[Hashable] = ()
        self.shared_output: dict[Any, Any] | None = None
        self._rows: list[dict[str, Any]] | None = None

    @classmethod
    def joined(cls, parts: Sequence[Columns], size: int) -> "Table":
        """Make one table of the rows of all `parts`. All have the same columns; together they have `size` rows."""
        if not parts:
            return cls({}, 0)
        if len(parts) == 1:
            return cls(parts[0].columns, size)
        each = [part.columns for part in parts]
        return cls({name: list(chain.from_iterable([one[name] for one in each])) for name in each[0]}, size)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows, each as a mapping."""
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
