"""The engine: prepares operations of a schema, and runs them.

An operation is prepared once (`Prepared`). A plan is made at the first run under each vector of its conditions, and
kept, for up to PLANS_MAX vectors. An operation that cannot be planned is left to the ordinary engine as a whole:
`Prepared.run` raises `Unsupported` before any resolver has run. The reason is one of a small fixed set.
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
from graphql.execution import VariableValues
from graphql.pyutils import is_awaitable

from graph.execution.output.folding import folded, folds
from graph.execution.output.generation import payload_completer
from graph.execution.output.results import resolved
from graph.execution.plan.collecting import Unsupported, condition_variables, fragments_of, refusal
from graph.execution.plan.levels import Level
from graph.execution.plan.plan import Plan, Planner
from graph.execution.plan.scalar_output import FieldError
from graph.execution.plan.sizes import PLAN_BYTES, level_bytes
from graph.execution.plan.variables import Coercion
from graph.execution.run.running import Run
from graph.execution.run.shared_output import Offload, Text
from graph.execution.single_read import SingleRead
from graph.execution.strawberry_adapter import unsupported_by
from graph.execution.traces import caught

# Each vector of conditions needs a separate plan. It takes more memory than the operation, and milliseconds to make.
PLANS_MAX = 4
COERCION_ERRORS_MAX = 50
OPTIONS = frozenset(
    {
        "abort_signal",
        "executor_class",
        "field_resolver",
        "hooks",
        "is_async_iterable",
        "is_awaitable",
        "middleware",
        "type_resolver",
    }
)
"""The options of `graphql.execute` that change how resolvers are called."""


class _PlanSize:
    """The bytes that one plan takes. They are counted while the plan is kept."""

    def __init__(self, grown: Callable[[int], None]) -> None:
        self._grown = grown
        self._bytes = 0
        self._is_kept = True

    def grow(self, by: int) -> None:
        """Count `by` more bytes."""
        if self._is_kept:
            self._bytes += by
            self._grown(by)

    def forget(self) -> None:
        """Subtract all bytes counted so far, and ignore bytes that a run in progress still adds."""
        self._is_kept = False
        self._grown(-self._bytes)


class Prepared:
    """One operation, ready to run. The document must be valid for the schema.

    Args:
        text: encodes a list of completed objects. Where it is passed, the data of a result may contain its return value
            in place of such a list.
        options: options of `graphql.execute` that only graphql-core's executor has (`OPTIONS`). Where one is given,
            no run is supported.
        grown: is called with the approximate number of bytes each time a plan or a level takes more memory. Levels
            below abstract types are planned during a run. When a plan is dropped, the number is negative.

    Attributes:
        lookup_level: the root level of a lookup: one read may answer the whole operation. None for other operations,
            and before the first run, which makes the plan.
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
        **options: Any,
    ) -> None:
        if not options.keys() <= OPTIONS:
            raise TypeError(f"unknown options: {', '.join(sorted(options.keys() - OPTIONS))}")
        self._unsupported = next((name for name, value in options.items() if value is not None), None)
        self._schema = schema
        self._text = text
        self._operation = operation
        self._fragments = fragments_of(document)
        self._hide_suggestions = hide_suggestions
        self._conditions = condition_variables(operation, self._fragments)
        self._coercion = Coercion(schema, operation)
        self._grown = grown
        self._plans: dict[tuple[bool, ...], Plan | Unsupported] = {}
        self._sizes: dict[tuple[bool, ...], _PlanSize] = {}
        self._sole: Plan | None = None  # set where the operation has no conditions
        self.lookup_level: Level | None = None

    def run(
        self,
        inputs: dict[str, Any],
        context: Any,
        root_value: Any = None,
        *,
        offload: Offload | None = None,
        in_parts: bool = False,
        extensions: dict[str, Any] | None = None,
    ) -> Coroutine[Any, Any, ExecutionResult]:
        """Run the operation.

        Args:
            inputs: the variables, not coerced yet.
            context: passed to resolvers.
            root_value: the source of root fields.
            offload: runs a function in another thread; passed where the response may be large. Large responses are then
                completed in that thread, and a plan is made even where PLANS_MAX plans exist.
            in_parts: the caller measures the response while it encodes it, so that `text` is not called here.
            extensions: the `extensions` of the request, for `info.input_extensions`.

        Raises:
            Unsupported: the ordinary engine must run the operation; no resolver has run.
        """
        variables = self._coercion.coerced(inputs) or self._coerced_fully(inputs)
        if isinstance(variables, list):
            return _refused(variables)
        plan = self._sole or self.plan(variables, replaces=offload is not None)
        text = None if in_parts else self._text
        run = Run(self._schema, self._operation, self._fragments, variables, context, root_value, offload, text)
        run.extensions = extensions
        return _answered(run, plan.roots[0]) if len(plan.roots) == 1 else _answered_serially(run, plan)

    def lookup(self, inputs: dict[str, Any], context: Any, root_value: Any = None) -> SingleRead | None:
        """Begin an operation that is a lookup. Return None if `run` must run it.

        Either variables or arguments are invalid, and `run` reports the errors; or one read does not answer the
        operation, which never counts as a lookup again; or the database does not coalesce the read.
        """
        level = self.lookup_level
        assert level is not None
        edge = level.single_root_edge
        assert edge is not None
        variables = self._coercion.coerced(inputs) or self._coerced_fully(inputs)
        if isinstance(variables, list):
            return None
        run = Run(self._schema, self._operation, self._fragments, variables, context, root_value, text=self._text)
        try:
            bound = run.bound_edge(edge)
        except Exception:  # noqa: BLE001 - a general run meets the same exception, and reports it as a field error
            return None
        if bound.key is None:
            return None
        loader: Any = bound.loader
        brings: Any = getattr(loader, "brings", None)
        answers_all = brings is not None and not bound.waits
        for one, _ in edge.prefetchable:
            below = run.bound_edges.get(id(one))
            if below is None:
                return None  # its arguments are invalid
            answers_all = answers_all and below.loader in brings and not below.waits
        if not answers_all:
            self.lookup_level, level.is_folded = None, False
            return None
        reading = loader.pending_read(bound.key)
        return None if reading is None else SingleRead(run, level, edge, bound, loader, reading)

    def _coerced_fully(self, inputs: dict[str, Any]) -> VariableValues | list[GraphQLError]:
        """Return the variables as graphql-core coerces them, or its errors."""
        return get_variable_values(
            self._schema,
            self._operation.variable_definitions or (),
            inputs,
            max_errors=COERCION_ERRORS_MAX,
            hide_suggestions=self._hide_suggestions,
        )

    def plan(self, variables: VariableValues, *, replaces: bool = False) -> Plan:
        """Return the plan for these variables.

        Args:
            variables: coerced.
            replaces: whether a new plan may replace the oldest one where PLANS_MAX plans exist.

        Raises:
            Unsupported: the operation has no plan for these variables.
        """
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
            size = self._sizes[vector] = _PlanSize(self._grown)
            plan = self._plans[vector] = self._planned(vector, size)
            size.grow(PLAN_BYTES)
        if isinstance(plan, Unsupported):
            raise Unsupported(*plan.args)
        if not vector:
            self._sole = plan
            if self._operation.operation is OperationType.QUERY and folds(plan.roots[0]):
                self.lookup_level = plan.roots[0]
        return plan

    def _planned(self, vector: tuple[bool, ...], size: _PlanSize) -> Plan | Unsupported:
        operation = self._operation
        root_type = self._schema.get_root_type(operation.operation)
        if root_type is None:
            return Unsupported("subscription")
        reason = self._unsupported or unsupported_by(self._schema) or refusal(operation, self._fragments)
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
            # The callback must not refer to this object: levels hold the planner, which would close a reference cycle.
            planned=lambda level: size.grow(level_bytes(level)),
        )
        try:
            plan = planner.plan(root_type, serial=operation.operation is OperationType.MUTATION)
        except Unsupported as unsupported:
            return unsupported.with_traceback(None)
        except RecursionError:
            return Unsupported("depth")
        for level in plan.roots:
            level.payload = payload_completer(level)
        return plan


async def _refused(errors: list[GraphQLError]) -> ExecutionResult:
    return ExecutionResult(None, errors)


async def _answered(run: Run, level: Level) -> ExecutionResult:
    complete = level.payload
    if complete is not None and run.offload is None:
        (plan,) = level.kept
        value = run.call(plan, run.root_value, plan.path)
        try:
            value = await value if is_awaitable(value) else value
        except Exception as error:  # noqa: BLE001 - any exception of a resolver is the field's error
            value = FieldError(caught(error))
        try:
            return ExecutionResult(complete(value), None)
        except Exception:  # noqa: BLE001, S110 - the general run meets the same error, and reports it with its path
            pass
        return await resolved(run, level, called=value)
    edge = level.single_root_edge
    followed = None if edge is None else await run.follow_root_edge(edge)
    if edge is not None and followed is not None and run.offload is None and folds(level):
        bound, _, value = followed
        data = None if bound is None else folded(run, level, edge, bound, value)
        if data is not None:
            return ExecutionResult(data, None)
    return await resolved(run, level, followed)


async def _answered_serially(run: Run, plan: Plan) -> ExecutionResult:
    """Run the root fields one after another. A null that propagates to the root ends the operation."""
    data: dict[str, Any] = {}
    errors: list[GraphQLError] = []
    for level in plan.roots:
        run.bound_edges.clear()  # the next field may have the same plan, and must see what was written before
        result = await _answered(run, level)
        errors += result.errors or ()
        if result.data is None:
            return ExecutionResult(None, errors)
        data |= result.data
    return ExecutionResult(data, errors or None)
