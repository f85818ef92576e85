"""graphql-core's executor, which runs what is not compiled, without the reference cycles that it leaves by itself.

It refers to itself by the helpers that it gives to resolvers, and keeps errors whose tracebacks lead back to it.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any

from graphql import GraphQLError, is_non_null_type, located_error
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetailsList
from graphql.execution.executor import to_nodes
from graphql.pyutils import Path
from graphql.type import GraphQLOutputType

from graph.execution.run.values import INFO_HELPERS
from graph.execution.traces import forget_told_trace, forget_trace


class OrdinaryExecutor(Executor[None]):
    """Executes one operation, and leaves nothing of it to the cycle collector.

    What is to be logged of an error that nobody expected is the trace of its `original_error`, which stays; whoever has
    logged it, takes it away (`forget_trace`).
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.async_helpers = INFO_HELPERS

    def execute_operation(self, serially: bool | None = None) -> Any:
        """Return the result, or an awaitable of it."""
        outcome = super().execute_operation(serially)
        return self._ended(outcome) if isinstance(outcome, Awaitable) or self.background_futures else outcome

    async def _ended(self, outcome: Any) -> Any:
        try:
            return await outcome if isinstance(outcome, Awaitable) else outcome
        except BaseException:
            for error in self.collected_errors.errors:  # which nobody will hear of
                forget_trace(error)
            raise
        finally:
            await self._end_background()

    async def _end_background(self) -> None:
        """End the fields that go on beside an error which has taken their place: nobody waits for them any more."""
        while self.background_futures:
            # A task that is cancelled before it begins would leave the coroutine that it was to await to a warning.
            await asyncio.sleep(0)
            pending = list(self.background_futures)
            for one in pending:
                one.cancel()
            await asyncio.wait(pending)

    def build_response(self, data: dict[str, Any] | None) -> Any:
        """Return the result, without traces of where errors were collected."""
        for error in self.collected_errors.errors:
            _located(error)
        return super().build_response(data)

    def handle_field_error(
        self, raw_error: Exception, return_type: GraphQLOutputType, field_details_list: FieldDetailsList, path: Path
    ) -> None:
        """Collect an error, or raise it again where its field may not be null."""
        forget_told_trace(raw_error)
        try:
            # An error that is raised holds the frames of this call: none of them may hold the error.
            error = located_error(raw_error, to_nodes(field_details_list), path.as_list())
            _located(error)
            if self.error_propagation and is_non_null_type(return_type):
                raise error
            self.collected_errors.add(error, path)
        finally:
            del raw_error, error


def _located(error: GraphQLError) -> None:
    """Forget where a located error came through; where the original one arose is told by that."""
    error.__traceback__ = error.__context__ = None
    forget_told_trace(error)
