"""graphql-core's executor for operations that are not compiled, without the reference cycles that it leaves behind.

There are two such cycles: the helpers that it passes to resolvers refer to the executor, and so do the tracebacks of
the errors that it collects.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any

from graphql import GraphQLError, is_non_null_type, located_error
from graphql.execution import Executor
from graphql.pyutils import Path
from graphql.type import GraphQLOutputType

from graph.execution.graphql_core_adapter import FieldDetailsList, to_nodes
from graph.execution.run.values import INFO_HELPERS
from graph.execution.traces import forget_expected_trace, forget_trace


class OrdinaryExecutor(Executor[None]):
    """Executes one operation. Reference counts alone free everything that it used.

    The traceback of an unexpected error must be logged, so the `original_error` keeps it. The caller that logs it
    then removes it (`forget_trace`).
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.async_helpers = INFO_HELPERS

    def execute_operation(self, serially: bool | None = None) -> Any:
        """Return the result, or an awaitable of the result."""
        outcome = super().execute_operation(serially)
        return self._ended(outcome) if isinstance(outcome, Awaitable) or self.background_futures else outcome

    async def _ended(self, outcome: Any) -> Any:
        try:
            return await outcome if isinstance(outcome, Awaitable) else outcome
        except BaseException:
            for error in self.collected_errors.errors:  # they are in no result, so no caller removes their traces
                forget_trace(error)
            raise
        finally:
            await self._end_background()

    async def _end_background(self) -> None:
        """Cancel fields that still run although an error has replaced their parent: nothing awaits their values."""
        while self.background_futures:
            # A task that is cancelled before it starts never awaits its coroutine, and Python warns about that.
            await asyncio.sleep(0)
            pending = list(self.background_futures)
            for one in pending:
                one.cancel()
            await asyncio.wait(pending)

    def build_response(self, data: dict[str, Any] | None) -> Any:
        """Return the result. Its errors keep no traceback of the place where they were collected."""
        for error in self.collected_errors.errors:
            _located(error)
        return super().build_response(data)

    def handle_field_error(
        self, raw_error: Exception, return_type: GraphQLOutputType, field_details_list: FieldDetailsList, path: Path
    ) -> None:
        """Collect an error, or raise it again where its field is non-null."""
        forget_expected_trace(raw_error)
        try:
            # A raised error holds the frames of this call. None of these frames may hold the error.
            error = located_error(raw_error, to_nodes(field_details_list), path.as_list())
            _located(error)
            if self.error_propagation and is_non_null_type(return_type):
                raise error
            self.collected_errors.add(error, path)
        finally:
            del raw_error, error


def _located(error: GraphQLError) -> None:
    """Remove the traceback of a located error. The original error keeps its traceback, unless it was expected."""
    error.__traceback__ = error.__context__ = None
    forget_expected_trace(error)
