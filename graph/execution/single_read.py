"""Single reads: operations that one read answers. A caller can run them by callback, without a coroutine.

Such an operation waits once, for a row or a page and everything below it. What follows is synchronous. A caller that
can receive the answer through a callback needs neither a coroutine nor a task: `Prepared.lookup` begins the operation,
`SingleRead.reading` is what to subscribe to, and `SingleRead.answer` makes the response data from the answer.
`SingleRead.completed` handles errors, with the code that completes every other operation.
"""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from graphql import ExecutionResult

from graph.execution.declarations import BoundEdge, SingleLoader
from graph.execution.output.folding import folded
from graph.execution.output.results import resolved
from graph.execution.plan.levels import FieldPlan, Level
from graph.execution.plan.scalar_output import FieldError
from graph.execution.run.running import FollowedEdge, Run


@dataclass(slots=True, eq=False)
class SingleRead:
    """One run of such an operation that has begun.

    Attributes:
        loader: the loader of the operation's only root edge.
        reading: what to subscribe to; None if the database does not coalesce this read.
        rows: how many rows of the answer, which other operations may share, are rows of this operation; None before
            there is an answer.
    """

    run: Run
    level: Level
    plan: FieldPlan
    bound: BoundEdge
    loader: SingleLoader
    reading: Any
    rows: int | None = None
    followed: FollowedEdge | None = None

    def answer(self, answer: Any, error: Exception | None = None) -> dict[str, Any] | None:
        """Return the response data for the answer to `reading`, or for the error in its place.

        Returns:
            None if the read has failed, where there is no row, or where a field has an error. `completed` then has
            the result.
        """
        bound = self.bound
        if error is not None:
            self.followed = None, None, FieldError(error)
            return None
        value, self.rows = self.loader.take(answer, bound.key)
        self.followed = bound, bound.key, value
        return folded(self.run, self.level, self.plan, bound, value)

    def completed(self) -> Coroutine[Any, Any, ExecutionResult]:
        """Return the result, with its errors. What the answer holds is not read again."""
        return resolved(self.run, self.level, self.followed)
