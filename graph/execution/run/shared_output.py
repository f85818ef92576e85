"""Shared output: response data of a table's rows that several operations reuse.

The statement of a table may also load the results of all edges of its rows. If these edges lead only to tables, the
response data of the rows depends only on the table and on the edges' arguments. The first operation stores the data
with the table. Later operations with the same table and the same arguments load nothing below its rows.
"""

from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from graph.execution.plan.scalar_output import FieldError
from graph.execution.run.tables import Columns

Text = Callable[[list[Any]], Any]
"""Encodes a list of completed objects, for example as JSON. Its return value takes the place of the list."""

Offload = Callable[..., Awaitable[Any]]
"""Runs a function with the given arguments in another thread, and returns its result."""


@dataclass(slots=True, eq=False)
class SharedOutput:
    """The place, with a table, where the response data of its rows is or will be stored.

    Attributes:
        key: what the data depends on besides the table.
    """

    table: Columns
    key: Hashable

    @property
    def is_written(self) -> bool:
        """Whether the data is stored."""
        written = self.table.shared_output
        return written is not None and self.key in written

    def keep(self, answers: Any) -> None:
        """Store the data for later operations, unless it is stored already."""
        if self.table.shared_output is None:
            self.table.shared_output = {}
        self.table.shared_output.setdefault(self.key, answers)

    def answers(self, text: Text | None) -> Any:
        """Return the stored data. The first reuse encodes it with `text`, and stores the encoded form."""
        written = self.table.shared_output
        assert written is not None
        known = written[self.key]
        if text is not None and type(known) is list:
            known = written[self.key] = text(known)
        return known


def shared_outputs(
    tables: Sequence[Columns | FieldError], level: object, identities: Sequence[Hashable]
) -> list[SharedOutput] | None:
    """Return for each table the place of its shared output.

    Args:
        tables: the tables of one field; a `FieldError` takes the place of a failed one.
        level: the level of the tables' rows.
        identities: the identities of its edges (`BoundEdge.identity`).

    Returns:
        None if a table failed, or did not bring the results of all edges.
    """
    key = (level, *identities)
    places = []
    for table in tables:
        if isinstance(table, FieldError):
            return None
        included = table.included_loaders
        if not all(one in included for one in identities):
            return None
        places.append(SharedOutput(table, key))
    return places
