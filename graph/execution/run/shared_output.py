"""What operations that share a table have written of its rows, together with what the table has brought along for them.

Where all edges of a table's rows are answered by what came with the table, and nothing but tables is read below these
edges, the answers of the rows depend on the table and on the edges' arguments alone. The first operation keeps them
with the table, and those that come to the same table with the same arguments read nothing below its rows.
"""

from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from graph.execution.plan.scalar_output import FieldError
from graph.execution.run.tables import Columns

Text = Callable[[list[Any]], Any]
"""Makes what stands for a list of finished answers where they are sent: their JSON, say."""

Offload = Callable[..., Awaitable[Any]]
"""Runs a function with its arguments in another thread."""


@dataclass(slots=True, eq=False)
class Written:
    """Where the answers of a table's rows stand, or will stand.

    Attributes:
        key: what they depend on beside the table.
    """

    table: Columns
    key: Hashable

    @property
    def is_there(self) -> bool:
        """Whether they have been written."""
        written = self.table.written
        return written is not None and self.key in written

    def keep(self, answers: Any) -> None:
        """Keep the answers for who comes next."""
        if self.table.written is None:
            self.table.written = {}
        self.table.written.setdefault(self.key, answers)

    def taken(self, text: Text | None) -> Any:
        """Return the answers, of which text is made when they are first wanted again."""
        written = self.table.written
        assert written is not None
        known = written[self.key]
        if text is not None and type(known) is list:
            known = written[self.key] = text(known)
        return known


def places_of(
    tables: Sequence[Columns | FieldError], level: object, identities: Sequence[Hashable]
) -> list[Written] | None:
    """Return where the answers of `level` stand with each of the tables, whose edges' loaders have these identities.

    None where one of the tables does not bring along what one of the loaders would read.
    """
    key = (level, *identities)
    places = []
    for table in tables:
        if isinstance(table, FieldError):
            return None
        brought = table.brought
        if not all(one in brought for one in identities):
            return None
        places.append(Written(table, key))
    return places
