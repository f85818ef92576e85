"""Which engine runs an operation: the compiled one, or graphql-core's, which every operation can be left to.

An operation is compiled from its second sight on, so that a flood of texts that come once pays for no plan; one whose
answer may be large at first sight, since the ordinary engine takes twenty times as long for it. What the compiled
engine does not do it leaves, whole and before anything has run, to the ordinary one; the reasons are counted. That
engine takes no large operations: it would hold the event loop for seconds. Both read through the same declarations and
loaders (`graph.schema.fields`), and give the same data and the same errors.

A query that reads money sees one state of the database over all its statements, whichever engine runs it.
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
from graph.execution import Lookup, OrdinaryExecutor, Prepared, Unsupported
from graph.runtime.context import Context, Services
from graph.runtime.worker_thread import Stopwatch

MONEY_TYPES = frozenset({"Account", "Transaction"})
COMPILED_FROM = 2
# The most values of an answer for which an operation is left to the ordinary engine at first sight: it takes about 8 µs
# for each, and to make a plan takes as long as for some hundreds.
FIRST_SIGHT_VALUES_MAX = 300
# And for which it is left to it at all, but where nothing is compiled: for about 40 ms.
ORDINARY_VALUES_MAX = 5_000
# The most values of an answer that is written without a look at whether another thread should.
SMALL_VALUES_MAX = 20_000
# The argument of a cancellation that came too late to say that nothing was written.
OUTCOME_UNKNOWN = "a COMMIT was under way, or had happened"


class Size(NamedTuple):
    """How large an operation is.

    Attributes:
        values: how many its answer has at most.
        watch: gives what measures the time of an operation that has no price.
        in_parts: whether its answer may have more bytes than allowed, so that it is measured while it is written.
    """

    values: int
    watch: Callable[[], Stopwatch]
    in_parts: bool = False


SMALL = Size(0, Stopwatch)


def _untold(grown_by: int) -> None:
    """Do without being told."""


@dataclass(slots=True)
class Execution:
    """How one operation runs.

    Attributes:
        selection: what it reads where nothing is joined.
        joined: what it reads where the compiled engine runs it.
        runs: how often it has run.
        grown: is told of the bytes that it takes more from when it is compiled on.
        reads_schema_alone: whether it is an introspection and nothing else.
        in_snapshot: whether all its statements have to see one state of the database.
        tables: those that it may read.
    """

    document: DocumentNode
    definition: OperationDefinitionNode
    selection: Selection
    joined: Selection
    prepared: Prepared | None = None
    runs: int = 0
    grown: Callable[[int], None] = field(default=_untold)
    reads_schema_alone: bool = False
    in_snapshot: bool = field(init=False)
    tables: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.in_snapshot = (
            self.definition.operation is OperationType.QUERY
            and not MONEY_TYPES.isdisjoint(self.selection.row_types)
            and not self.selection.is_single
        )
        self.tables = tuple(sorted({TABLE_OF[one] for one in self.selection.row_types if one in TABLE_OF}))


def _json(answers: list[Any]) -> orjson.Fragment:
    """Return finished answers as JSON, which stands for them in a result's data."""
    return orjson.Fragment(orjson.dumps(answers))


class Engines:
    """Runs operations.

    Attributes:
        compiled_from: the sight of an operation from which on it is compiled; 0 for never.
        left: how many runs were left to the ordinary engine, by reason.
        compiled: how many were not.
    """

    def __init__(self, schema: GraphQLSchema, *, compiled_from: int, hide_suggestions: bool) -> None:
        self._schema = schema
        self.compiled_from = compiled_from
        self._hide_suggestions = hide_suggestions
        self.left: Counter[str] = Counter()
        self.compiled = 0

    def ordinary(self) -> "Engines":
        """Return engines that compile nothing, for comparison."""
        return Engines(self._schema, compiled_from=0, hide_suggestions=self._hide_suggestions)

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
    ) -> Coroutine[Any, Any, ExecutionResult]:
        """Run an operation as `viewer`, with variables as they came.

        Raises:
            asyncio.CancelledError: with the argument OUTCOME_UNKNOWN where a write may have happened.
        """
        if not execution.in_snapshot:
            return self._run(execution, variables, Context(services, viewer, execution.selection), size)
        return self._run_in_snapshot(execution, variables, services, viewer, size)

    def lookup(
        self, execution: Execution, variables: dict[str, Any], services: Services, viewer: Viewer
    ) -> Lookup | None:
        """Begin an operation that is a look-up, without a coroutine; None where `run` has to run it."""
        assert execution.prepared is not None
        return execution.prepared.lookup(variables, Context(services, viewer, execution.joined))

    def _run_in_snapshot(
        self, execution: Execution, variables: dict[str, Any], services: Services, viewer: Viewer, size: Size
    ) -> Coroutine[Any, Any, ExecutionResult]:
        def run(snapshot: Reader) -> Coroutine[Any, Any, ExecutionResult]:
            return self._run(execution, variables, Context(services, viewer, execution.selection, snapshot), size)

        return services.database.read_as_one(run, execution.tables)

    async def _run(
        self, execution: Execution, variables: dict[str, Any], context: Context, size: Size
    ) -> ExecutionResult:
        values, worker = size.values, context.services.worker
        offload = worker.run if values > SMALL_VALUES_MAX else None
        left = "first sight"
        try:
            if self._is_compiled(execution, values):
                assert execution.prepared is not None
                context.selection = execution.joined
                try:
                    result = await execution.prepared.run(variables, context, offload=offload, in_parts=size.in_parts)
                except Unsupported as unsupported:
                    left = str(unsupported)
                    self.left[left] += 1
                    context.selection = execution.selection
                else:
                    self.compiled += 1
                    return result
            if values > ORDINARY_VALUES_MAX:
                if execution.reads_schema_alone:
                    return await worker.run(size.watch().timed, self._introspected, execution, variables)
                if self.compiled_from:
                    return ExecutionResult(None, [_too_large(left, values)])
            return await self._ordinary(execution, variables, context)
        except asyncio.CancelledError as cancelled:
            if context.committing:
                raise asyncio.CancelledError(OUTCOME_UNKNOWN) from cancelled
            raise
        finally:
            # Batches that nobody waits for any more end here: what they read through is about to serve others.
            if not context.running.is_at_rest():
                await context.running.end()

    def _is_compiled(self, execution: Execution, values: int) -> bool:
        execution.runs += 1
        if execution.prepared is None:
            comes_first = execution.runs < self.compiled_from and values <= FIRST_SIGHT_VALUES_MAX
            if not self.compiled_from or comes_first:
                self.left["first sight" if self.compiled_from else "setting"] += 1
                return False
            execution.prepared = Prepared(
                self._schema,
                execution.document,
                execution.definition,
                hide_suggestions=self._hide_suggestions,
                text=_json,
                grown=execution.grown,
            )
        return True

    def _introspected(self, execution: Execution, variables: dict[str, Any]) -> ExecutionResult:
        """Run an operation that reads nothing but the schema, and so waits for nothing."""
        result = self._execute(execution, variables, None)
        assert isinstance(result, ExecutionResult)
        return result

    async def _ordinary(self, execution: Execution, variables: dict[str, Any], context: Context) -> ExecutionResult:
        outcome = self._execute(execution, variables, context)
        return outcome if isinstance(outcome, ExecutionResult) else await outcome

    def _execute(
        self, execution: Execution, variables: dict[str, Any], context: Context | None
    ) -> ExecutionResult | Awaitable[ExecutionResult]:
        name = execution.definition.name
        return execute(
            self._schema,
            execution.document,
            context_value=context,
            variable_values=variables,
            operation_name=name.value if name is not None else None,
            executor_class=OrdinaryExecutor,
            hide_suggestions=self._hide_suggestions,
        )


def _too_large(reason: str, values: int) -> GraphQLError:
    """Return the refusal of an operation that cannot be compiled, and is too large to run otherwise."""
    way_out = "ask for less"
    if reason == "introspection":
        way_out = "ask for __schema and __type in an operation of their own"
    message = (
        f"the operation's values: {values}, and at most {ORDINARY_VALUES_MAX} allowed where it is not compiled "
        f"({reason}); {way_out}"
    )
    extensions = {
        "code": "OPERATION_TOO_LARGE",
        "limit": "values of an operation that is not compiled",
        "maximum": ORDINARY_VALUES_MAX,
        "measured": str(values),
    }
    return GraphQLError(message, extensions=extensions)
