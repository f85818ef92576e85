"""The columns that an operation needs, collected by the walk over its document (`graph.analysis.walk`).

Every field of a row-backed type declares the columns that it reads (`graph.schema.fields`). They are collected for
each *coordinate*, a field of a root or row-backed type that leads to rows, such as `Query.posts` or `Post.author`. All
places where a coordinate occurs share one set of columns, so that its loader keeps one cache: a user that an operation
selects at two places is read once, with the columns of both.

Where a statement can join the row that a to-one edge leads to (`joins`), it reads the columns of that row with a prefix
(`author.username`), in addition to the columns that the edge itself needs. An edge below a statement that joins nothing
keeps its loader.

The columns by which a list is ordered are read only where a cursor is selected, and the row after the end of a page
only where a field needs it.

Fields with @skip and @include count, whatever the values of their variables: a column too many is cheap, a missing
column is a fault.
"""

from collections.abc import Mapping
from typing import TypeAlias

from db.query.pages import Columns
from graph.analysis.field_facts import FieldFacts

# One for each coordinate and order in use. An operation has few coordinates, but a variable may hold any order.
ANSWERS_KEPT_MAX = 64

Coordinate: TypeAlias = tuple[str, str]


class Needs:
    """The needs of the rows that one coordinate leads to, or the part of them that a selection set adds.

    Attributes:
        columns: the columns by row-backed type.
        joined: the additional columns where the statement joins the rows that edges lead to.
        order: whether the columns of the list's order are needed, for cursors.
        ahead: whether a field needs to know if more rows follow the page.
    """

    __slots__ = ("ahead", "columns", "joined", "order")

    def __init__(self) -> None:
        self.columns: dict[str, set[str]] = {}
        self.joined: dict[str, set[str]] = {}
        self.order = False
        self.ahead = False

    def add(self, other: "Needs", *, joined: bool = True) -> None:
        """Add the needs of `other`; without its `joined` columns where `joined` is False."""
        _merge(self.columns, other.columns)
        if joined:
            _merge(self.joined, other.joined)
        self.order |= other.order
        self.ahead |= other.ahead

    def add_field(self, facts: FieldFacts) -> None:
        """Add the needs of a field with regard to the row, or the list, to which it belongs."""
        for row_type, columns in facts.columns:
            known = self.columns.get(row_type)
            if known is None:
                self.columns[row_type] = set(columns)
            else:
                known.update(columns)
        self.order |= facts.reads_order
        self.ahead |= facts.looks_ahead

    def of_both(self) -> Mapping[str, set[str]]:
        """Return the columns by row-backed type, including those that are needed where edges are joined."""
        if not self.joined:
            return self.columns
        both = {name: set(columns) for name, columns in self.columns.items()}
        _merge(both, self.joined)
        return both


def _merge(into: dict[str, set[str]], other: Mapping[str, set[str]]) -> None:
    for name, columns in other.items():
        known = into.get(name)
        if known is None:
            into[name] = set(columns)
        else:
            known |= columns


class Selection:
    """The columns that one operation needs at each of its coordinates.

    Attributes:
        row_types: the row-backed types that the operation reads.
        is_single: whether all of it is one statement: one row of one type, without an edge.
    """

    def __init__(self, needs: Mapping[Coordinate, Needs], *, joins: bool, is_single: bool) -> None:
        self._needs = needs
        self._columns = {at: need.of_both() if joins else need.columns for at, need in needs.items()}
        self._answers: dict[tuple[str, str, str, tuple[str, ...]], Columns] = {}
        self.is_single = is_single
        self.row_types = frozenset(name for columns in self._columns.values() for name in columns)

    def columns(self, parent_type: str, field: str, row_type: str, always: tuple[str, ...] = ()) -> Columns:
        """Return the columns of `row_type` needed below `parent_type.field`, with `always`, in a fixed order."""
        key = (parent_type, field, row_type, always)
        answer = self._answers.get(key)
        if answer is None:
            if len(self._answers) >= ANSWERS_KEPT_MAX:
                self._answers.clear()
            needed = self._columns.get((parent_type, field), {}).get(row_type, ())
            answer = self._answers[key] = tuple(sorted({*needed, *always}))
        return answer

    def page_columns(self, parent_type: str, field: str, row_type: str, order: Columns) -> Columns:
        """Return the columns that a page reads: the selected ones, and those of its order if cursors are selected."""
        needs = self._needs.get((parent_type, field))
        if needs is not None and needs.order:
            return self.columns(parent_type, field, row_type, order)
        return self.columns(parent_type, field, row_type) or ("id",)

    def looks_ahead(self, parent_type: str, field: str) -> bool:
        """Return whether a selected field needs to know if more rows follow the page below `parent_type.field`."""
        needs = self._needs.get((parent_type, field))
        return needs is not None and needs.ahead
