"""Every query of the tests runs on both engines, and their results are equal.

The served application runs the compiled engine from the first execution of an operation on. After each query the
ordinary engine runs it, too, for the same viewer; if data or errors differ, the request fails. Other writers may change
data between the two runs, so that a difference counts only if it persists.
"""

from asyncio import Task, get_running_loop
from contextvars import Context as Variables
from typing import Any, Protocol, TypeVar

import orjson
from fastapi import FastAPI
from graphql import ExecutionResult, OperationType

from db.access import Viewer
from graph.http.call import Call
from graph.http.inline_lookup import InlineLookups, OnResponse
from graph.http.parsing.requests import GraphQLRequest
from graph.http.responses.response import Response
from graph.operations.cache import Operation
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


def told(result: ExecutionResult) -> tuple[Any, list[Any]]:
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
        ours, theirs = (set(map(repr, told(answer)[1])) for answer in (one, other))
        return not ours.isdisjoint(theirs)
    return told(one) == told(other)


def is_too_large(result: ExecutionResult) -> bool:
    """Return whether an operation never ran because it is too large for the only engine that could run it."""
    codes = [(error.extensions or {}).get("code") for error in result.errors or ()]
    return result.data is None and codes == ["OPERATION_TOO_LARGE"]


def compare_engines(engines: Engines) -> None:
    """Make `engines` run every query on both, from its first execution on."""
    if not engines.compiled_from:
        return
    engines.compiled_from = 1
    run = engines.run
    ordinary = engines.ordinary()

    async def run_both(
        execution: Execution, variables: dict[str, Any], services: Services, viewer: Viewer, size: Size = SMALL
    ) -> ExecutionResult:
        result = await run(execution, dict(variables), services, viewer, size)
        if execution.definition.operation is not OperationType.QUERY or is_too_large(result):
            return result
        counters = services.database.counters
        expected = result
        for attempt in range(ATTEMPTS_MAX):
            before = counters.statements
            # In an empty context, which logs, counts and traces nothing.
            with unrecorded():
                asked = ordinary.run(execution, dict(variables), services, viewer)
                expected = await get_running_loop().create_task(asked, context=Variables())
                compared = (
                    result
                    if not attempt
                    else await get_running_loop().create_task(
                        run(execution, dict(variables), services, viewer), context=Variables()
                    )
                )
            counters.statements = before
            if agree(compared, expected):
                return result
        raise DisagreementError(f"{told(result)} is not {told(expected)}")

    vars(engines)["run"] = run_both


def compare_inline_lookups(app: FastAPI) -> None:
    """Make the inline lookups of `app` compare their responses with those of the ordinary engine."""
    inline_lookups: InlineLookups = vars(app)["direct"].inline_lookups
    engines: Engines = app.state.operations.engines
    if not engines.compiled_from:
        return
    continue_as = inline_lookups.continue_as
    ordinary = engines.ordinary()
    comparing: set[Task[None]] = set()

    def continue_with_both(call: Call, operation: Operation, viewer: Viewer, answered: OnResponse) -> bool:
        async def compare(answer: Response) -> None:
            assert isinstance(call.parsed, GraphQLRequest)
            services, variables = app.state.services, call.parsed.variables
            said, before = orjson.loads(answer.body), services.database.counters.statements
            with unrecorded():
                expected = await ordinary.run(operation.execution, dict(variables), services, viewer)
                found = orjson.loads(orjson.dumps(expected.data))
                if (said["data"], len(said.get("errors", ()))) != (found, len(expected.errors or ())):
                    # Other writers may have changed data; then both engines agree on the current state.
                    try:
                        await engines.run(operation.execution, dict(variables), services, viewer)
                    except DisagreementError as error:
                        answer = Response(500, orjson.dumps({"errors": [{"message": str(error)}]}), answer.media_type)
            services.database.counters.statements = before
            answered(answer)

        def told(answer: Response) -> None:
            if answer.status != 200:
                answered(answer)
                return
            task = get_running_loop().create_task(compare(answer), context=Variables())
            comparing.add(task)
            task.add_done_callback(comparing.discard)

        return continue_as(call, operation, viewer, told)

    vars(inline_lookups)["continue_as"] = continue_with_both
