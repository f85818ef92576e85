"""The result of a root level: the last step of every run. Tries the fast path, then the one that collects errors."""

from typing import Any

from graphql import ExecutionResult, GraphQLError

from graph.execution.output.completion import Completion, completed, needed
from graph.execution.plan.levels import Level
from graph.execution.plan.scalar_output import Broken, FieldError
from graph.execution.run.frames import Below, Frame
from graph.execution.run.running import NOT_CALLED, FollowedEdge, Run
from graph.execution.run.shared_output import Text
from graph.execution.run.waves import Waves
from graph.execution.traces import forget_trace

# The most values that are completed on the event loop, which blocks all requests for about ten milliseconds. Larger
# responses are completed in another thread, which the event loop can interrupt.
VALUES_MAX = 20_000


async def resolved(
    run: Run, level: Level, followed: FollowedEdge | None = None, *, called: Any = NOT_CALLED
) -> ExecutionResult:
    """Resolve and complete a root `level`.

    `followed` is the outcome of its only edge, `called` the value of the resolver of its only field, if it is known
    already.
    """
    frame = await Waves(run, needed).resolve(level, followed, called)
    if run.offload is not None and frame.values_below() > VALUES_MAX:
        result: ExecutionResult = await run.offload(_result, frame, run.text)
        return result
    return _result(frame, run.text)


def _result(frame: Frame, text: Text | None) -> ExecutionResult:
    try:
        return ExecutionResult(completed(frame, text)[0], None)
    except Exception:  # noqa: BLE001, S110 - the slow path below meets the same error, and reports it with its path
        pass
    completion = Completion()
    data: dict[str, Any] | None = None
    errors = completion.errors
    try:
        data = completion.complete(frame, 0, None)
    except GraphQLError as error:
        errors.append(error)
    _forget_unreported(frame, {id(error.original_error) for error in errors})
    return ExecutionResult(data, errors or None)


def _forget_unreported(root: Frame, reported: set[int]) -> None:
    """Remove the traces of errors that are not in the result, for example below a null: they form reference cycles."""
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
        elif isinstance(one, FieldError) and id(one.error) not in reported:
            forget_trace(one.error)
