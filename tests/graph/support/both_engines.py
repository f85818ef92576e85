"""Every query of the tests runs on both engines, and their results are equal.

The served application runs the compiled engine from the first execution of an operation on. After each query the
ordinary engine runs it, too, for the same viewer; if data or errors differ, the request fails. Other writers may change
data between the two runs, so that a difference counts only if it persists.
"""

from asyncio import get_running_loop
from collections import Counter
from collections.abc import Callable
from contextvars import Context as Variables
from copy import copy
from functools import partial
from typing import Any, Protocol, TypeVar

import orjson
from fastapi import FastAPI
from graphql import ExecutionResult, OperationType

from db.access import Viewer
from graph.execution import SingleRead
from graph.http.call import Call
from graph.http.pipeline import OK, Pipeline
from graph.http.responses.response import Response
from graph.http.steps import Steps, Work
from graph.operations.cache import Operation, Operations
from graph.operations.dispatch import SMALL, Engines, Execution, Size
from graph.runtime.context import Services
from tests.graph.support.recording import unrecorded

ATTEMPTS_MAX = 5

T = TypeVar("T")


class OfEngine(Protocol):
    """Chooses what the tests expect of the engine under test, from what they expect of each."""

    def __call__(self, compiled: T, ordinary: T) -> T:
        """Return one of both."""
        ...


class DisagreementError(AssertionError):
    """The engines have different results for one query."""


def comparable(result: ExecutionResult) -> tuple[Any, list[Any]]:
    """Return a result in a comparable form: the order of errors is unspecified.

    Parts of the data may already be text, where operations share their rows; they are compared as they are sent.
    """
    errors = [(error.path, error.message, error.extensions, error.locations) for error in result.errors or ()]
    return orjson.loads(orjson.dumps(result.data)), sorted(errors, key=repr)


def agree(one: ExecutionResult, other: ExecutionResult) -> bool:
    """Return whether two results are the same.

    If a null has propagated to the root, fields that had not finished need not have reported their errors (see
    `tests.graph.execution.support.comparing`): then each result has some of the errors, and they have at least one in
    common.
    """
    if one.data is None and other.data is None:
        ours, theirs = (set(map(repr, comparable(answer)[1])) for answer in (one, other))
        return not ours.isdisjoint(theirs)
    return comparable(one) == comparable(other)


def is_too_large(result: ExecutionResult) -> bool:
    """Return whether an operation never ran because it is too large for the only engine that could run it."""
    codes = [(error.extensions or {}).get("code") for error in result.errors or ()]
    return result.data is None and codes == ["OPERATION_TOO_LARGE"]


def ordinary_only(engines: Engines) -> Engines:
    """Return engines of the same schema that compile nothing."""
    ordinary = copy(engines)
    ordinary.compiled_from, ordinary.compiled, ordinary.ordinary_runs = 0, 0, Counter()
    return ordinary


def compare_engines(engines: Engines) -> None:
    """Make `engines` run every query and every event of a subscription on both, from its first execution on."""
    if not engines.compiled_from:
        return
    engines.compiled_from = 1
    run = engines.run
    ordinary = ordinary_only(engines)

    async def run_both(
        execution: Execution,
        variables: dict[str, Any],
        services: Services,
        viewer: Viewer,
        size: Size = SMALL,
        event: Any = None,
    ) -> ExecutionResult:
        result = await run(execution, dict(variables), services, viewer, size, event)
        if execution.definition.operation is OperationType.MUTATION or is_too_large(result):
            return result
        counters = services.database.counters
        expected = result
        for attempt in range(ATTEMPTS_MAX):
            before = counters.statements
            # In an empty context, which logs, counts and traces nothing.
            with unrecorded():
                coroutine = ordinary.run(execution, dict(variables), services, viewer, SMALL, event)
                expected = await get_running_loop().create_task(coroutine, context=Variables())
                compared = (
                    result
                    if not attempt
                    else await get_running_loop().create_task(
                        run(execution, dict(variables), services, viewer, SMALL, event), context=Variables()
                    )
                )
            counters.statements = before
            if agree(compared, expected):
                return result
        raise DisagreementError(f"{comparable(result)} is not {comparable(expected)}")

    vars(engines)["run"] = run_both


def compare_single_reads(app: FastAPI) -> None:
    """Make `app` compare the responses of queries that need one read with those of the ordinary engine."""
    operations: Operations = app.state.operations
    if operations.engines.compiled_from:
        _Comparing(app, operations).install()


_Begun = tuple[Operation, dict[str, Any], Viewer]


class _Comparing:
    """Compares the responses of one application."""

    def __init__(self, app: FastAPI, operations: Operations) -> None:
        self._state = app.state
        self._engines = operations.engines
        self._ordinary = ordinary_only(operations.engines)
        self._pipeline: Pipeline = vars(app)["direct"].pipeline
        self._respond, self._single_read = self._pipeline.respond, operations.single_read
        self._begun: _Begun | None = None

    def install(self) -> None:
        """Take the place of what it compares."""
        vars(self._pipeline.operations)["single_read"] = self._noted
        vars(self._pipeline)["respond"] = self._compared

    def _noted(
        self, operation: Operation, variables: dict[str, Any], services: Services, viewer: Viewer, values: int
    ) -> SingleRead | None:
        single = self._single_read(operation, variables, services, viewer, values)
        if single is not None:
            self._begun = operation, variables, viewer
        return single

    def _latest(self) -> _Begun | None:
        return self._begun

    def _compared(self, call: Call) -> Steps:
        steps = self._respond(call)
        own: _Begun | None = None
        step: Callable[[], Any] = partial(steps.send, None)
        while True:
            self._begun = None  # nothing else runs until the next yield
            try:
                wait, step = step(), _nothing
            except StopIteration as done:
                step = _nothing  # an error's traceback holds this frame
                answer: Response = done.value
                if own is not None and answer.status == OK and answer.body.startswith(b"{"):
                    answer = yield Work(partial(self._in_empty_context, answer, *own), is_limited=False)
                return answer
            own = self._latest() or own
            try:
                step = partial(steps.send, (yield wait))
            except BaseException as error:  # noqa: BLE001 - the pipeline decides what it means
                step = partial(steps.throw, error)

    async def _in_empty_context(self, *compared: Any) -> Response:
        """Compare where nothing is logged, counted or traced."""
        return await get_running_loop().create_task(self._compare(*compared), context=Variables())

    async def _compare(
        self, answer: Response, operation: Operation, variables: dict[str, Any], viewer: Viewer
    ) -> Response:
        services: Services = self._state.services
        said, before = orjson.loads(answer.body), services.database.counters.statements
        with unrecorded():
            expected = await self._ordinary.run(operation.execution, dict(variables), services, viewer)
            found = orjson.loads(orjson.dumps(expected.data))
            if (said["data"], len(said.get("errors", ()))) != (found, len(expected.errors or ())):
                # Other writers may have changed data; then both engines agree on the current state.
                try:
                    await self._engines.run(operation.execution, dict(variables), services, viewer)
                except DisagreementError as error:
                    answer = Response(500, orjson.dumps({"errors": [{"message": str(error)}]}), answer.media_type)
        services.database.counters.statements = before
        return answer


def _nothing() -> None:
    """Take the place of a step that has run."""
