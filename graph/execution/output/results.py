"""The result of a root level, which every run ends with: written fast, or with all errors where there are some."""

from typing import Any

from graphql import ExecutionResult, GraphQLError

from graph.execution.output.completion import Completion, completed
from graph.execution.plan.plan import Level
from graph.execution.plan.scalar_output import Broken, FieldError
from graph.execution.run.frames import Below, Frame
from graph.execution.run.running import Reached, Run
from graph.execution.run.shared_output import Text
from graph.execution.traces import forget_trace

# How many values are written while everybody waits: for some ten milliseconds. The rest is written in another thread,
# which the event loop interrupts.
VALUES_MAX = 20_000


async def resolved(run: Run, level: Level, reached: Reached | None = None, text: Text | None = None) -> ExecutionResult:
    """Return the result of a root `level`; where its only edge has been followed already, `reached` is the outcome."""
    frame = await run.resolve(level, reached)
    if run.offload is not None and frame.values_below() > VALUES_MAX:
        result: ExecutionResult = await run.offload(_result, frame, text)
        return result
    return _result(frame, text)


def _result(frame: Frame, text: Text | None) -> ExecutionResult:
    try:
        return ExecutionResult(completed(frame, text)[0], None)
    except Exception:  # noqa: BLE001, S110 - whatever it is, it is found again below, with its path
        pass
    completion = Completion()
    data: dict[str, Any] | None = None
    errors = completion.errors
    try:
        data = completion.complete(frame, 0, None)
    except GraphQLError as error:
        errors.append(error)
    _forget_untold(frame, {id(error.original_error) for error in errors})
    return ExecutionResult(data, errors or None)


def _forget_untold(root: Frame, told: set[int]) -> None:
    """Take away the traces of errors that are not in the result, as those below a null: they hold what holds them."""
    pending: list[Any] = [root]
    while pending:
        one = pending.pop()
        if isinstance(one, Frame):
            pending += one.values
            pending += [below for below in one.below if below is not None]
        elif isinstance(one, Below):
            pending += one.frames
            pending += one.table or ()
        elif isinstance(one, list):
            pending += [item for item in one if isinstance(item, list | FieldError)]
            if isinstance(one, Broken):
                pending.append(FieldError(one.error))
        elif isinstance(one, FieldError) and id(one.error) not in told:
            forget_trace(one.error)
