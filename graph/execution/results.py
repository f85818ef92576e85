"""The result of a root level, which every run ends with: written fast, or with all errors where there are some."""

from graphql import ExecutionResult, GraphQLError

from graph.execution.completion import Completion, completed
from graph.execution.plan import Level
from graph.execution.running import Reached, Run
from graph.execution.written import Text


async def resolved(run: Run, level: Level, reached: Reached | None = None, text: Text | None = None) -> ExecutionResult:
    """Return the result of a root `level`; where its only edge has been followed already, `reached` is the outcome."""
    frame = await run.resolve(level, reached)
    try:
        return ExecutionResult(completed(frame, text)[0], None)
    except Exception:  # noqa: BLE001, S110 - whatever it is, it is found again below, with its path
        pass
    completion = Completion()
    try:
        data = completion.complete(frame, 0, None)
    except GraphQLError as error:
        return ExecutionResult(None, [*completion.errors, error])
    return ExecutionResult(data, completion.errors or None)
