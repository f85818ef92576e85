"""The choice of an engine for an operation: the compiled one, or the ordinary one (graphql-core), which can run all.

An operation in a short document is compiled at its first execution: its plan and functions take less than a
millisecond. In a longer document it is compiled at its second execution, so that no such plan is made for texts that
are sent only once. An operation with a possibly large response is always compiled at its first execution, since the
ordinary engine takes twenty times as long for it. If the compiled engine does not support an operation, it rejects the
operation before anything has run, and the ordinary engine runs all of it; the reasons are counted. The ordinary engine
runs no large operations: they would block the event loop for seconds. Both engines read through the same declarations
and loaders (`graph.schema.fields`), and return the same data and errors.

A query that reads money sees one state of the database in all its statements, on either engine.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    execute,
)

from db.access import Viewer
from db.connections.statements import Reader
from db.repositories.row_tables import TABLE_OF
from graph.analysis.selection import Selection
from graph.analysis.walk import Analysis
from graph.execution import OrdinaryExecutor, Prepared, Unsupported
from graph.runtime.context import Context, Services
from graph.runtime.worker_thread import Stopwatch

MONEY_TYPES = frozenset({"Account", "Transaction"})
COMPILED_FROM = 2
# The maximum number of characters of a document whose operations are compiled at their first execution. A plan with its
# functions takes 0.2 ms for a post by its id, 0.6 ms for a page with authors, and 2 ms for 45 fields on 500 characters.
SHORT_DOCUMENT_LENGTH_MAX = 600
# The maximum number of response values for which the ordinary engine runs an operation at its first execution. It takes
# about 8 µs for each value; making a plan takes as long as some hundreds of values.
FIRST_EXECUTION_VALUES_MAX = 300
# The maximum number of response values for which the ordinary engine runs an operation at all, unless compiling is
# switched off. They take it about 40 ms.
ORDINARY_VALUES_MAX = 5_000
# The maximum number of response values for which no other thread is considered to complete the response.
SMALL_VALUES_MAX = 20_000
# The argument of a cancellation that came so late that a write may have been committed.
OUTCOME_UNKNOWN = "a COMMIT was running, or had ended"


class Size(NamedTuple):
    """How large an operation is.

    Attributes:
        values: the maximum number of values of its response.
        watch: returns a stopwatch for the time of an operation that has no price.
        in_parts: whether its response may have more bytes than allowed, so that it is measured while it is written.
    """

    values: int
    watch: Callable[[], Stopwatch]
    in_parts: bool = False


SMALL = Size(0, Stopwatch)


def _ignore_growth(grown_by: int) -> None:
    """Ignore the growth."""


@dataclass(slots=True)
class Execution:
    """The state of one operation with regard to its engine.

    Attributes:
        selection: the columns that it reads on the ordinary engine, where nothing is joined.
        joined: the columns that it reads on the compiled engine.
        grown: is called with the number of additional bytes whenever its plan grows, from its compilation on.
        reads_schema_alone: whether it is an introspection and nothing else.
        in_snapshot: whether all its statements must see one state of the database.
        is_short: whether its document is so short that a plan is made at its first execution.
    """

    document: DocumentNode
    definition: OperationDefinitionNode
    selection: Selection
    joined: Selection
    prepared: Prepared | None = None
    runs: int = 0
    grown: Callable[[int], None] = field(default=_ignore_growth)
    reads_schema_alone: bool = False
    in_snapshot: bool = field(init=False)
    tables: tuple[str, ...] = field(init=False)
    is_short: bool = field(init=False)

    def __post_init__(self) -> None:
        written = self.document.loc
        self.is_short = written is not None and written.end <= SHORT_DOCUMENT_LENGTH_MAX
        self.in_snapshot = (
            self.definition.operation is not OperationType.MUTATION
            and not MONEY_TYPES.isdisjoint(self.selection.row_types)
            and not self.selection.is_single
        )
        self.tables = tuple(sorted({TABLE_OF[one] for one in self.selection.row_types if one in TABLE_OF}))


def _json(answers: list[Any]) -> orjson.Fragment:
    """Return completed objects as JSON, which replaces them in the data of a result."""
    return orjson.Fragment(orjson.dumps(answers))


class Engines:
    """Runs operations.

    Attributes:
        compiled_from: the number of the execution from which on an operation in a long document is compiled; 0 for
            never, whatever the length.
        hide_suggestions: whether errors suggest no names.
        ordinary_runs: the number of runs on the ordinary engine, by reason.
    """

    def __init__(self, schema: GraphQLSchema, *, compiled_from: int, hide_suggestions: bool) -> None:
        self._schema = schema
        self.compiled_from = compiled_from
        self.hide_suggestions = hide_suggestions
        self.ordinary_runs: Counter[str] = Counter()
        self.compiled = 0

    def execution(self, document: DocumentNode, definition: OperationDefinitionNode, analysis: Analysis) -> Execution:
        """Return how the operation `definition` of a valid document runs."""
        return Execution(
            document,
            definition,
            analysis.selection,
            analysis.joined,
            reads_schema_alone=analysis.reads_schema_alone,
        )

    def run(
        self,
        execution: Execution,
        variables: dict[str, Any],
        services: Services,
        viewer: Viewer,
        size: Size = SMALL,
        event: Any = None,
    ) -> Coroutine[Any, Any, ExecutionResult]:
        """Run an operation as `viewer`, with variables as the client sent them; a subscription for one `event`.

        Raises:
            asyncio.CancelledError: with the argument OUTCOME_UNKNOWN where a write may have happened.
        """
        if not execution.in_snapshot:
            return self._run(execution, variables, Context(services, viewer, execution.selection), size, event)
        return self._run_in_snapshot(execution, variables, services, viewer, size, event)

    def _run_in_snapshot(
        self,
        execution: Execution,
        variables: dict[str, Any],
        services: Services,
        viewer: Viewer,
        size: Size,
        event: Any = None,
    ) -> Coroutine[Any, Any, ExecutionResult]:
        def run(snapshot: Reader) -> Coroutine[Any, Any, ExecutionResult]:
            context = Context(services, viewer, execution.selection, snapshot)
            return self._run(execution, variables, context, size, event)

        return services.database.read_as_one(run, execution.tables)

    async def _run(
        self, execution: Execution, variables: dict[str, Any], context: Context, size: Size, event: Any = None
    ) -> ExecutionResult:
        values, worker = size.values, context.services.worker
        offload = worker.run if values > SMALL_VALUES_MAX else None
        reason = "first execution"
        try:
            prepared = execution.prepared or self._compiled(execution, values)
            if prepared is not None:
                context.selection = execution.joined
                try:
                    in_parts = size.in_parts
                    result = await prepared.run(variables, context, event, offload=offload, in_parts=in_parts)
                except Unsupported as unsupported:
                    reason = str(unsupported)
                    self.ordinary_runs[reason] += 1
                    context.selection = execution.selection
                else:
                    self.compiled += 1
                    return result
            if values > ORDINARY_VALUES_MAX:
                if execution.reads_schema_alone:
                    return await worker.run(size.watch().timed, self._introspected, execution, variables)
                if self.compiled_from:
                    return ExecutionResult(None, [_too_large(reason, values)])
            return await self._ordinary(execution, variables, context, event)
        except asyncio.CancelledError as cancelled:
            if context.committing:
                raise asyncio.CancelledError(OUTCOME_UNKNOWN) from cancelled
            raise
        finally:
            # Batches without a waiting field end here: their connection is about to serve other operations.
            if not context.running.is_at_rest():
                await context.running.end()

    def _compiled(self, execution: Execution, values: int) -> Prepared | None:
        """Compile an operation, unless that is not worth it yet or never."""
        execution.runs += 1
        is_worth_it = execution.is_short or values > FIRST_EXECUTION_VALUES_MAX
        comes_first = execution.runs < self.compiled_from and not is_worth_it
        if not self.compiled_from or comes_first:
            self.ordinary_runs["first execution" if self.compiled_from else "setting"] += 1
            return None
        prepared = execution.prepared = Prepared(
            self._schema,
            execution.document,
            execution.definition,
            hide_suggestions=self.hide_suggestions,
            text=_json,
            grown=execution.grown,
        )
        return prepared

    def _introspected(self, execution: Execution, variables: dict[str, Any]) -> ExecutionResult:
        """Run an operation that reads only the schema, and therefore waits for nothing."""
        result = self._execute(execution, variables, None)
        assert isinstance(result, ExecutionResult)
        return result

    async def _ordinary(
        self, execution: Execution, variables: dict[str, Any], context: Context, event: Any
    ) -> ExecutionResult:
        outcome = self._execute(execution, variables, context, event)
        return outcome if isinstance(outcome, ExecutionResult) else await outcome

    def _execute(
        self, execution: Execution, variables: dict[str, Any], context: Context | None, event: Any = None
    ) -> ExecutionResult | Awaitable[ExecutionResult]:
        name = execution.definition.name
        return execute(
            self._schema,
            execution.document,
            event,
            context_value=context,
            variable_values=variables,
            operation_name=name.value if name is not None else None,
            executor_class=OrdinaryExecutor,
            hide_suggestions=self.hide_suggestions,
        )


def _too_large(reason: str, values: int) -> GraphQLError:
    """Return the refusal of an operation that is not compiled, and too large for the ordinary engine."""
    way_out = "request less data"
    if reason == "introspection":
        way_out = "select __schema and __type in a separate operation"
    message = (
        f"the operation's values: {values}, and at most {ORDINARY_VALUES_MAX} allowed if it is not compiled "
        f"({reason}); {way_out}"
    )
    extensions = {
        "code": "OPERATION_TOO_LARGE",
        "limit": "values of an operation that is not compiled",
        "maximum": ORDINARY_VALUES_MAX,
        "measured": str(values),
    }
    return GraphQLError(message, extensions=extensions)
