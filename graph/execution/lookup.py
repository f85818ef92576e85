"""Lookups: operations that read one row by its key. A caller can run them by callback, without a coroutine.

Such an operation waits once, for the row; everything after that is synchronous. A caller that can receive the row
through a callback needs neither a coroutine nor a task: `Prepared.lookup` returns the loader and the key, and
`Lookup.answer` makes the response data from the row. `Lookup.completed` handles errors, with the code that completes
every other operation.
"""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from graphql import ExecutionResult

from graph.execution.declarations import BoundEdge, LevelLoader
from graph.execution.output.completion import of_row
from graph.execution.output.results import resolved
from graph.execution.plan.plan import FieldPlan, Level
from graph.execution.plan.scalar_output import FieldError
from graph.execution.run.running import Run


@dataclass(slots=True, eq=False)
class Lookup:
    """One run of a lookup that has begun."""

    run: Run
    level: Level
    plan: FieldPlan
    bound: BoundEdge

    @property
    def loader(self) -> LevelLoader:
        """The loader that reads the row."""
        return self.bound.loader

    @property
    def key(self) -> Any:
        """The key of the row."""
        return self.bound.key

    def answer(self, row: Any) -> dict[str, Any] | None:
        """Return the response data for `row`; None where there is no row, or where a field has an error."""
        return of_row(self.level, self.plan, self.run.root_value, row)

    def completed(self, found: Any) -> Coroutine[Any, Any, ExecutionResult]:
        """Return the result, with its errors.

        Args:
            found: the row, None where it does not exist, or the exception that the loader raised.
        """
        if isinstance(found, Exception):
            return resolved(self.run, self.level, (None, None, FieldError(found)))
        return resolved(self.run, self.level, (self.bound, self.key, found))
