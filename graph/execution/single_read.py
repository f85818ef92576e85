"""Single reads: operations that one read answers. A caller can run them by callback, without a coroutine.

Such an operation waits once, for a row or a page and everything below it. What follows is synchronous. A caller that
can receive the answer through a callback needs neither a coroutine nor a task: `Prepared.lookup` begins the operation,
`SingleRead.reading` is what to subscribe to, and `SingleRead.answer` makes the response data from the answer.
`SingleRead.completed` handles errors, with the code that completes every other operation.
"""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, cast

from graphql import ExecutionResult

from graph.execution.declarations import BoundEdge, SingleLoader
from graph.execution.output.folding import folded
from graph.execution.output.results import resolved
from graph.execution.plan.levels import FieldPlan, Level
from graph.execution.plan.scalar_output import FieldError
from graph.execution.run.running import Run
from graph.execution.traces import caught


@dataclass(slots=True, eq=False)
class SingleRead:
    """One run of such an operation that has begun.

    Attributes:
        loader: the loader of the operation's only root edge.
        reading: what to subscribe to; None if the database does not coalesce this read.
        name: the name under which a batch of the loader is counted, or None.
    """

    run: Run
    level: Level
    plan: FieldPlan
    bound: BoundEdge
    loader: SingleLoader
    reading: Any
    name: str | None

    def rows(self, answer: Any) -> int:
        """Return how many rows of `answer`, which other operations may share, are rows of this operation."""
        return self.loader.rows(answer, self.bound.key)

    def answer(self, answer: Any) -> dict[str, Any] | None:
        """Return the response data; None if there is no row, or where a field has an error."""
        return folded(self.run, self.level, self.plan, self.bound, self.loader.take(answer, self.bound.key))

    def completed(self, answer: Any) -> Coroutine[Any, Any, ExecutionResult]:
        """Return the result, with its errors. What the answer holds is not read again.

        Args:
            answer: the answer to `reading`, or its exception.
        """
        bound = self.bound
        if isinstance(answer, Exception):
            return resolved(self.run, self.level, (None, None, FieldError(answer)))
        try:
            value = self.loader.take(answer, bound.key)
        except Exception as error:  # noqa: BLE001 - any exception of the loader is the field's error
            return resolved(self.run, self.level, (None, None, FieldError(caught(error))))
        return resolved(self.run, self.level, (bound, bound.key, value))


def single_read(run: Run, level: Level, plan: FieldPlan) -> SingleRead | None:
    """Begin an operation whose `level` at the root has the edge `plan`, and nothing else that is loaded.

    Return None if a general run must run it: its arguments are invalid, or one read does not answer it. In the
    second case the level no longer counts as one that folds: the next request begins with the general run.
    """
    try:
        bound = run.bound_edge(plan)
    except Exception:  # noqa: BLE001 - a general run meets the same exception, and reports it as a field error
        return None
    if bound.key is None:
        return None
    loader = cast("SingleLoader", bound.loader)
    brings, answers_all = getattr(loader, "brings", None), not bound.waits
    for edge, _ in plan.prefetchable:
        below = run.bound_edges.get(id(edge))
        if below is None:
            return None  # its arguments are invalid
        answers_all &= brings is not None and below.loader in brings and not below.waits
    if brings is None or not answers_all:
        level.is_folded = False
        return None
    return SingleRead(run, level, plan, bound, loader, loader.pending_read(bound.key), loader.name)
