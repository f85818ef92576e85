"""Look-ups: operations that are one row by its key, for who asks for that row without awaiting it.

Such an operation waits once, and what follows does not wait at all. Whoever can be told of a row when it is there needs
no coroutine for it, and no task: `Prepared.lookup` says whom to ask for which key, and `Lookup.answer` makes the answer
of what has come. Errors are left to `Lookup.completed`, which goes the way of every operation from there on.
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
    """One run of such an operation, which has begun."""

    run: Run
    level: Level
    plan: FieldPlan
    loading: BoundEdge

    @property
    def loader(self) -> LevelLoader:
        """Who is to be asked."""
        return self.loading.loader

    @property
    def key(self) -> Any:
        """What for."""
        return self.loading.key

    def answer(self, row: Any) -> dict[str, Any] | None:
        """Return the data where `row` is what was found; None where there is none, or an error in it."""
        return of_row(self.level, self.plan, self.run.root_value, row)

    def completed(self, found: Any) -> Coroutine[Any, Any, ExecutionResult]:
        """Return the result, with its errors, of what was found: a row, None, or the exception in its place."""
        if isinstance(found, Exception):
            return resolved(self.run, self.level, (None, None, FieldError(found)))
        return resolved(self.run, self.level, (self.loading, self.key, found))
