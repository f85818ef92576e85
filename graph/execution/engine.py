"""The engine: prepares operations of a schema, and runs them.

An operation is prepared once. What it does is planned at the first run under each vector of its conditions
(`Prepared`), and the plan kept, for up to PLANS_MAX vectors. What cannot be planned is left, whole, to the ordinary
engine: `Prepared.run` then raises `Unsupported` before anything has run, and the reason is one of a few.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    get_variable_values,
)
from graphql.execution.values import VariableValues

from graph.execution.lookup import Lookup
from graph.execution.output.completion import of_row
from graph.execution.output.results import resolved
from graph.execution.plan.collecting import Unsupported, condition_variables, fragments_of, refusal
from graph.execution.plan.plan import Level, Plan, Planner
from graph.execution.plan.sizes import PLAN_BYTES, level_bytes
from graph.execution.plan.variables import Coercion
from graph.execution.run.running import Run
from graph.execution.run.shared_output import Offload, Text

# Each vector of conditions has a plan of its own, which takes more than the operation, and milliseconds to make.
PLANS_MAX = 4
COERCION_ERRORS_MAX = 50


class _Size:
    """What a plan takes, which is counted for as long as it is kept."""

    def __init__(self, grown: Callable[[int], None]) -> None:
        self._grown = grown
        self._bytes = 0
        self._is_kept = True

    def grow(self, by: int) -> None:
        """Count so many bytes more."""
        if self._is_kept:
            self._bytes += by
            self._grown(by)

    def forget(self) -> None:
        """Count them no longer, and none that a run under way still adds."""
        self._is_kept = False
        self._grown(-self._bytes)


class Prepared:
    """One operation, ready to run. The document is valid for the schema.

    Where `text` is given, what it makes of a list of finished answers may stand in the list's place in a result's data.
    `grown` is told each time when more memory is taken, about how many bytes: by plans, and by levels that are planned
    while they run; and, with a negative number, when a plan is forgotten.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        document: DocumentNode,
        operation: OperationDefinitionNode,
        *,
        hide_suggestions: bool = False,
        text: Text | None = None,
        grown: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._schema = schema
        self._text = text
        self._operation = operation
        self._fragments = fragments_of(document)
        self._hide_suggestions = hide_suggestions
        self._conditions = condition_variables(operation, self._fragments)
        self._coercion = Coercion(schema, operation)
        self._grown = grown
        self._plans: dict[tuple[bool, ...], Plan | Unsupported] = {}
        self._sizes: dict[tuple[bool, ...], _Size] = {}
        self._sole: Plan | None = None  # where nothing depends on a condition

    def run(
        self,
        inputs: dict[str, Any],
        context: Any,
        root_value: Any = None,
        *,
        offload: Offload | None = None,
        in_parts: bool = False,
    ) -> Coroutine[Any, Any, ExecutionResult]:
        """Run the operation with these variables, as they came.

        Where its answer may be large, `offload` runs a function in another thread. Then the answer is written there,
        and a plan is made however many there are already. Where the answer is measured while it is sent, `in_parts`,
        no text is made of it here.

        Raises:
            Unsupported: the ordinary engine should run it; nothing has run.
        """
        variables = self._coercion.coerced(inputs)
        if variables is None:
            found = get_variable_values(
                self._schema,
                self._operation.variable_definitions or (),
                inputs,
                max_errors=COERCION_ERRORS_MAX,
                hide_suggestions=self._hide_suggestions,
            )
            if isinstance(found, list):
                return _refused(found)
            variables = found
        plan = self.plan(variables, replaces=offload is not None)
        run = Run(self._schema, self._operation, self._fragments, variables, context, root_value, offload)
        text = None if in_parts else self._text
        if len(plan.roots) == 1:
            return _answered(run, plan.roots[0], text)
        return _answered_serially(run, plan, text)

    @property
    def is_lookup(self) -> bool:
        """Whether all of it is one row by its key; before the first run, which makes the plan, that is not known."""
        plan = self._sole
        if plan is None or len(plan.roots) != 1:
            return False
        single_root_edge = plan.roots[0].single_root_edge
        return single_root_edge is not None and single_root_edge.leads_to_leaves

    def lookup(self, inputs: dict[str, Any], context: Any, root_value: Any = None) -> Lookup | None:
        """Begin an operation that is a look-up; None where something is wrong with it, which `run` then says."""
        assert self._sole is not None
        (level,) = self._sole.roots
        single_root_edge = level.single_root_edge
        assert single_root_edge is not None
        variables = self._coercion.coerced(inputs)
        if variables is None:
            return None
        run = Run(self._schema, self._operation, self._fragments, variables, context, root_value)
        try:
            loading = run.begun(single_root_edge)
        except Exception:  # noqa: BLE001 - `run` comes to the same, and makes an error of it
            return None
        return (
            None if loading.key is None or loading.wrap is not None else Lookup(run, level, single_root_edge, loading)
        )

    def plan(self, variables: VariableValues, *, replaces: bool = False) -> Plan:
        """Return the plan under these variables, which `replaces` the oldest one where there are many.

        Raises:
            Unsupported: there is none.
        """
        if self._sole is not None:
            return self._sole
        try:
            vector = tuple(variables.coerced[name] for name in self._conditions)
        except KeyError:
            raise Unsupported("condition") from None
        plan = self._plans.get(vector)
        if plan is None:
            if len(self._plans) == PLANS_MAX:
                if not replaces:
                    raise Unsupported("many conditions")
                oldest = next(iter(self._plans))
                del self._plans[oldest]
                self._sizes.pop(oldest).forget()
            size = self._sizes[vector] = _Size(self._grown)
            plan = self._plans[vector] = self._planned(vector, size)
            size.grow(PLAN_BYTES)
        if isinstance(plan, Unsupported):
            raise Unsupported(*plan.args)
        if not vector:
            self._sole = plan
        return plan

    def _planned(self, vector: tuple[bool, ...], size: _Size) -> Plan | Unsupported:
        operation = self._operation
        root_type = self._schema.get_root_type(operation.operation)
        if operation.operation is OperationType.SUBSCRIPTION or root_type is None:
            return Unsupported("subscription")
        reason = refusal(operation, self._fragments)
        if reason is None and any(type(one) is not bool for one in vector):
            reason = "condition"
        if reason is not None:
            return Unsupported(reason)
        conditions = dict(zip(self._conditions, vector, strict=True))
        planner = Planner(
            self._schema,
            operation,
            self._fragments,
            conditions,
            hide_suggestions=self._hide_suggestions,
            # Not told by this object: levels hold the planner, which tells of those below.
            planned=lambda level: size.grow(level_bytes(level)),
        )
        try:
            return planner.plan(root_type, serial=operation.operation is OperationType.MUTATION)
        except Unsupported as unsupported:
            return unsupported.with_traceback(None)
        except RecursionError:
            return Unsupported("depth")


async def _refused(errors: list[GraphQLError]) -> ExecutionResult:
    return ExecutionResult(None, errors)


async def _answered(run: Run, level: Level, text: Text | None) -> ExecutionResult:
    single_root_edge = level.single_root_edge
    reached = None if single_root_edge is None else await run.reach(single_root_edge)
    if single_root_edge is not None and single_root_edge.leads_to_leaves and reached is not None:
        loading, _, row = reached
        data = (
            None
            if loading is None or loading.wrap is not None
            else of_row(level, single_root_edge, run.root_value, row)
        )
        if data is not None:
            return ExecutionResult(data, None)
    return await resolved(run, level, reached, text)


async def _answered_serially(run: Run, plan: Plan, text: Text | None) -> ExecutionResult:
    """Run one root field after the other. A null that bubbles up to the root ends the operation there."""
    data: dict[str, Any] = {}
    errors: list[GraphQLError] = []
    for level in plan.roots:
        result = await _answered(run, level, text)
        errors += result.errors or ()
        if result.data is None:
            return ExecutionResult(None, errors)
        data |= result.data
    return ExecutionResult(data, errors or None)
