"""Which engine runs an operation: the compiled one, or graphql-core's, which every operation can be left to.

An operation is compiled from its second sight on, so that a flood of texts that come once pays for no plan. What the
compiled engine does not do it leaves, whole and before anything has run, to the ordinary one; the reasons are counted.
Both read through the same declarations and loaders (`graph.fields`), and give the same data and the same errors.

A query that reads money sees one state of the database over all its statements, whichever engine runs it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from graphql import (
    DocumentNode,
    ExecutionResult,
    FragmentDefinitionNode,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    execute,
)

from db.statements import Reader
from db.tables import TABLE_OF
from db.viewer import Viewer
from graph.context import Context, Services
from graph.execution import Lookup, OrdinaryExecutor, Prepared, Unsupported
from graph.selection import Selection

MONEY_TYPES = frozenset({"Account", "Transaction"})
COMPILED_FROM = 2
# The argument of a cancellation that came too late to say that nothing was written.
OUTCOME_UNKNOWN = "a COMMIT was under way, or had happened"


def _untold(grown_by: int) -> None:
    """Do without being told."""


@dataclass(slots=True)
class Execution:
    """How one operation runs.

    Attributes:
        selection: what it reads where nothing is joined.
        joined: what it reads where the compiled engine runs it; None until it is compiled.
        runs: how often it has run.
        grown: is told of the bytes that it takes more from when it is compiled on.
        in_snapshot: whether all its statements have to see one state of the database.
        tables: those that it may read.
    """

    document: DocumentNode
    definition: OperationDefinitionNode
    fragments: Mapping[str, FragmentDefinitionNode]
    selection: Selection
    joined: Selection | None = None
    prepared: Prepared | None = None
    runs: int = 0
    grown: Callable[[int], None] = field(default=_untold)
    in_snapshot: bool = field(init=False)
    tables: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.in_snapshot = (
            self.definition.operation is OperationType.QUERY
            and not MONEY_TYPES.isdisjoint(self.selection.row_types)
            and not self.selection.is_single
        )
        self.tables = tuple(sorted(TABLE_OF[one] for one in self.selection.row_types if one in TABLE_OF))


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

    def execution(
        self,
        document: DocumentNode,
        definition: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
    ) -> Execution:
        """Return how the operation `definition` of a valid document runs."""
        return Execution(document, definition, fragments, Selection(self._schema, definition, fragments))

    def run(
        self, execution: Execution, variables: dict[str, Any], services: Services, viewer: Viewer
    ) -> Coroutine[Any, Any, ExecutionResult]:
        """Run an operation as `viewer`, with variables as they came.

        Raises:
            asyncio.CancelledError: with the argument OUTCOME_UNKNOWN where a write may have happened.
        """
        if not execution.in_snapshot:
            return self._run(execution, variables, Context(services, viewer, execution.selection))
        return self._run_in_snapshot(execution, variables, services, viewer)

    def lookup(
        self, execution: Execution, variables: dict[str, Any], services: Services, viewer: Viewer
    ) -> Lookup | None:
        """Begin an operation that is a look-up, without a coroutine; None where `run` has to run it."""
        assert execution.prepared is not None
        assert execution.joined is not None
        return execution.prepared.lookup(variables, Context(services, viewer, execution.joined))

    def _run_in_snapshot(
        self, execution: Execution, variables: dict[str, Any], services: Services, viewer: Viewer
    ) -> Coroutine[Any, Any, ExecutionResult]:
        def run(snapshot: Reader) -> Coroutine[Any, Any, ExecutionResult]:
            return self._run(execution, variables, Context(services, viewer, execution.selection, snapshot))

        return services.database.read_as_one(run, execution.tables)

    async def _run(self, execution: Execution, variables: dict[str, Any], context: Context) -> ExecutionResult:
        try:
            if self._is_compiled(execution):
                assert execution.prepared is not None
                assert execution.joined is not None
                context.selection = execution.joined
                try:
                    result = await execution.prepared.run(variables, context)
                except Unsupported as unsupported:
                    self.left[str(unsupported)] += 1
                    context.selection = execution.selection
                else:
                    self.compiled += 1
                    return result
            return await self._ordinary(execution, variables, context)
        except asyncio.CancelledError as cancelled:
            if context.committing:
                raise asyncio.CancelledError(OUTCOME_UNKNOWN) from cancelled
            raise
        finally:
            # Batches that nobody waits for any more end here: what they read through is about to serve others.
            if not context.running.is_at_rest():
                await context.running.end()

    def _is_compiled(self, execution: Execution) -> bool:
        execution.runs += 1
        if execution.prepared is None:
            if not self.compiled_from or execution.runs < self.compiled_from:
                self.left["first sight" if self.compiled_from else "setting"] += 1
                return False
            definition = execution.definition
            execution.joined = Selection(self._schema, definition, execution.fragments, joins=True)
            execution.prepared = Prepared(
                self._schema,
                execution.document,
                definition,
                hide_suggestions=self._hide_suggestions,
                text=_json,
                grown=execution.grown,
            )
        return True

    async def _ordinary(self, execution: Execution, variables: dict[str, Any], context: Context) -> ExecutionResult:
        name = execution.definition.name
        outcome = execute(
            self._schema,
            execution.document,
            context_value=context,
            variable_values=variables,
            operation_name=name.value if name is not None else None,
            executor_class=OrdinaryExecutor,
            hide_suggestions=self._hide_suggestions,
        )
        return outcome if isinstance(outcome, ExecutionResult) else await outcome
