"""The explanation of an operation: its reads, what each brings, and what renders each level of the response.

The operation is run, by the engine and the loaders that serve it, on a reader that logs its statements: a reader of a
database, or one that makes rows up. Only queries are run: of a mutation or a subscription, the plan of its payload or
of one event is explained.
"""

from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
from graphql import ExecutionResult, GraphQLError, GraphQLSchema, execute, get_variable_values

from db.access import Viewer
from db.connections.statements import KEYS, Reader
from graph.errors import in_graphql
from graph.execution import LevelLoader, OrdinaryExecutor, Prepared, RowEdge, Unsupported
from graph.execution.output.folding import folds
from graph.execution.output.generation import completer
from graph.execution.plan.levels import FieldKind, FieldPlan, Level
from graph.operations.cache import Operation
from graph.operations.observed_reads import LoggedContext, ReadLog, SentRead, levels_of, observe
from graph.runtime.context import Services

COUNT = "totalCount"
PAGE = "a page of the list"  # the loader of a list without a parent has no name
_WAYS = {
    FieldKind.INLINE: "computed from the row above it",
    FieldKind.ATTRIBUTE: "an attribute of the object above it",
    FieldKind.DERIVED: "a part of the object above it",
    FieldKind.JOINED: "joined into the statement of the write",
    FieldKind.OPAQUE: "its resolver is called for each object",
}
KEYS_OF = (KEYS, "account_ids")


@dataclass(slots=True)
class ExplainedRead:
    """One statement of an operation.

    Attributes:
        number: its number, in the order in which the statements are sent.
        path: the response path of the field that requests it; empty if the ordinary engine runs the operation.
        loader: the name of its loader, or the kind of the field that reads without one.
        parameters: the values of `$1`, `$2`, …, each with its name.
        folded: the paths of the fields whose rows or numbers it brings as well, each with the way.
        key: the column by whose values it reads, for all rows of a level at once; None if it reads by no key.
        shared_with: the paths of other fields that read from the same loader.
        rows: the number of its rows without those of nested lists; a page has one more if it looks ahead. None if
            it was not sent.
        us: how long it took in microseconds, None if it was not sent.
        analyzed: the lines of PostgreSQL's EXPLAIN.
    """

    number: int
    path: str
    loader: str
    sql: str
    parameters: list[tuple[str, Any]]
    folded: list[tuple[str, str]] = field(default_factory=list)
    key: str | None = None
    keys: list[Any] = field(default_factory=list)
    shared_with: list[str] = field(default_factory=list)
    rows: int | None = None
    us: int | None = None
    analyzed: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ExplainedField:
    """A field of the response that leads to objects, or that requests a statement.

    Attributes:
        path: its response path, without list indexes.
        way: how its value is found.
        renders: what makes the response data of its objects, one line for each object type.
        source: the generated functions of its objects.
    """

    path: str
    type: str
    way: str
    reads: list[int] = field(default_factory=list)
    renders: list[str] = field(default_factory=list)
    source: list[str] = field(default_factory=list)
    fields: "list[ExplainedField]" = field(default_factory=list)


@dataclass(slots=True)
class Explanation:
    """What an operation does.

    Attributes:
        name: its name; None if it has none.
        access_level: the kind of viewer for which the statements are compiled.
        reason: why the ordinary engine runs it; empty if it does not.
        is_run: whether it was run: only queries are.
        in_snapshot: whether all statements see one state of the database.
        is_single_read: whether one statement answers it, so that it needs no task.
        errors: the errors of the run, each with its response path.
    """

    name: str | None
    kind: str
    access_level: str
    variables: Mapping[str, Any]
    engine: str = "compiled"
    reason: str = ""
    is_run: bool = True
    in_snapshot: bool = False
    is_single_read: bool = False
    reads: list[ExplainedRead] = field(default_factory=list)
    fields: list[ExplainedField] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class VariablesRefused(Exception):  # noqa: N818 - as in db.errors
    """The variables are not valid for the operation."""

    def __init__(self, errors: Sequence[GraphQLError]) -> None:
        super().__init__("; ".join(in_graphql(error.message) for error in errors))
        self.errors = list(errors)


class ExplainedRun(NamedTuple):
    """An explanation, and the run that it explains.

    Attributes:
        sent: the statements that were sent, in the same order as the reads of the explanation.
        result: the result; None for a mutation, which is not run.
    """

    explanation: Explanation
    sent: Sequence[SentRead]
    result: ExecutionResult | None


async def explain(
    schema: GraphQLSchema,
    operation: Operation,
    variables: Mapping[str, Any],
    viewer: Viewer,
    reader: Reader | None = None,
) -> ExplainedRun:
    """Explain an operation. A query is run, on `reader` or, without one, on made-up rows.

    Raises:
        VariablesRefused: the variables are not valid for the operation.
    """
    execution = operation.execution
    explained = Explanation(
        operation.name,
        operation.kind,
        viewer.access_level.value,
        variables,
        is_run=operation.is_query,
        in_snapshot=execution.in_snapshot,
    )
    coerced = get_variable_values(schema, execution.definition.variable_definitions or (), dict(variables))
    if isinstance(coerced, list):
        raise VariablesRefused(coerced)
    result = None
    log = ReadLog(reader, is_coalesced=not execution.in_snapshot)
    prepared = Prepared(schema, execution.document, execution.definition)
    try:
        plan = prepared.plan(coerced)
    except Unsupported as unsupported:
        explained.engine, explained.reason = "ordinary", str(unsupported)
        if operation.is_query:
            context = LoggedContext(viewer, execution.selection, log)
            result = await _run(explained, _ordinary(schema, operation, variables, context), context)
        explained.reads = [_read(number, "", "", one, reader is None) for number, one in enumerate(log.sent, 1)]
        return ExplainedRun(explained, log.sent, result)
    for root in plan.roots:
        observe(schema, root, log)
    if operation.is_query:
        context = LoggedContext(viewer, execution.joined, log)
        result = await _run(explained, prepared.run(dict(variables), context), context)
        explained.is_single_read = len(log.sent) == 1 and not execution.in_snapshot and folds(plan.roots[0])
    _Tree(schema, explained, log, reader).explain(plan.roots)
    return ExplainedRun(explained, log.sent, result)


async def _ordinary(
    schema: GraphQLSchema, operation: Operation, variables: Mapping[str, Any], context: LoggedContext
) -> ExecutionResult:
    result = execute(
        schema,
        operation.execution.document,
        context_value=context,
        variable_values=dict(variables),
        operation_name=operation.name,
        executor_class=OrdinaryExecutor,
    )
    return result if isinstance(result, ExecutionResult) else await result


async def _run(
    explained: Explanation, run: Coroutine[Any, Any, ExecutionResult], context: LoggedContext
) -> ExecutionResult:
    try:
        result = await run
    finally:
        if not context.running.is_at_rest():
            await context.running.end()
    for error in result.errors or ():
        explained.errors.append(f"{'.'.join(map(str, error.path or ()))}: {error.message}")
    return result


async def traced(
    schema: GraphQLSchema, operation: Operation, variables: Mapping[str, Any], services: Services, viewer: Viewer
) -> ExecutionResult:
    """Run a query with its explanation in `extensions.trace` of the result."""

    async def run(reader: Reader) -> ExecutionResult:
        explanation, _, result = await explain(schema, operation, variables, viewer, reader)
        assert result is not None
        explanation.errors.clear()  # the response contains them, without what clients must not see
        # Parameters may have values without a JSON form. A trace shows them as text.
        result.extensions = {"trace": orjson.loads(orjson.dumps(explanation, default=str))}
        return result

    try:
        if operation.execution.in_snapshot:
            return await services.database.read_as_one(run, operation.execution.tables)
        return await run(services.database)
    except VariablesRefused as refused:
        return ExecutionResult(None, refused.errors)


def _read(
    number: int, path: str, loader: str, sent: SentRead, is_made_up: bool, key: str | None = None
) -> ExplainedRead:
    names, arguments = sent.statement.parameters, sent.statement.arguments(sent.values)
    given: list[Any] = next((list(sent.values[name]) for name in KEYS_OF if name in names), [])
    return ExplainedRead(
        number,
        path,
        loader,
        sent.statement.sql,
        list(zip(names, arguments, strict=True)),
        key=key,
        keys=given,
        rows=None if is_made_up else sent.rows,
        us=None if is_made_up else sent.elapsed_ns // 1000,
    )


class _Tree:
    """Makes the tree of an explanation from a plan and the log of its run."""

    def __init__(self, schema: GraphQLSchema, explained: Explanation, log: ReadLog, reader: Reader | None) -> None:
        self._schema = schema
        self._explained = explained
        self._log = log
        self._is_made_up = reader is None
        self._numbers = {one: number for number, one in enumerate(log.sent, 1)}
        self._reads: dict[SentRead, ExplainedRead] = {}

    def explain(self, roots: Sequence[Level]) -> None:
        """Fill the explanation."""
        for root in roots:
            self._explained.fields += self._fields(root, "", None)
        for sent, number in self._numbers.items():
            if sent not in self._reads:
                self._reads[sent] = _read(number, "", "", sent, self._is_made_up)
        self._explained.reads = sorted(self._reads.values(), key=lambda read: read.number)

    def _fields(self, level: Level, path: str, above: SentRead | None) -> Iterator[ExplainedField]:
        for plan in level.fields:
            explained = self._field(plan, f"{path}.{plan.key}" if path else plan.key, above)
            if explained is not None:
                yield explained

    def _field(self, plan: FieldPlan, path: str, above: SentRead | None) -> ExplainedField | None:
        own = self._own(plan, above)
        if plan.name == COUNT and above is not None and getattr(above.answer, "total", None) is not None:
            self._reads[above].folded.append((path, "counted"))
        if plan.place is None and not own:
            return None
        new = [one for one in own if one not in self._reads]
        for one in new:
            self._reads[one] = self._explained_read(plan, path, one)
        way = "read" if new else self._way(plan, path, own, above)
        explained = ExplainedField(path, str(plan.type_), way, [self._numbers[one] for one in new])
        for level in levels_of(self._schema, plan.place) if plan.place is not None else ():
            if plan.place is not None and plan.place.only is None and not level.source and self._explained.is_run:
                continue  # no object of this type occurred
            self._render(explained, plan, level)
            explained.fields += self._fields(level, path, own[0] if own else above)
        return explained

    def _explained_read(self, plan: FieldPlan, path: str, sent: SentRead) -> ExplainedRead:
        bound, declared = self._log.bound.get(plan), plan.declaration
        if bound is None:
            loader = f"the field {plan.parent.name}.{plan.name}"
        else:
            loader = getattr(bound.loader, "name", None) or PAGE
        key = declared.key if isinstance(declared, RowEdge) else None
        return _read(self._numbers[sent], path, loader, sent, self._is_made_up, key)

    def _way(self, plan: FieldPlan, path: str, own: Sequence[SentRead], above: SentRead | None) -> str:
        """Return how the values of a field are found that requests no statement."""
        if own:
            return self._shared(path, own[0])
        if plan.kind is FieldKind.JOINED and above is not None:
            return self._folded(path, above, "joined")
        if isinstance(plan.declaration, RowEdge) and plan.kind is FieldKind.EDGE:
            return self._way_of_edge(plan, plan.declaration, path, above)
        return _WAYS[plan.kind]

    def _way_of_edge(self, plan: FieldPlan, declared: RowEdge, path: str, above: SentRead | None) -> str:
        bound = self._log.bound.get(plan)
        if bound is not None and above is not None and bound.loader in self._brought(above):
            return self._folded(path, above, "nested")
        if not self._explained.is_run:
            return "read after the write" if self._explained.kind == "mutation" else "read for each event"
        return f"not read: {'its key is null' if declared.key is None else 'there are no rows above it'}"

    def _own(self, plan: FieldPlan, above: SentRead | None) -> list[SentRead]:
        """Return the statements of a field: those of its loader, if its results have not come with the rows above."""
        bound = self._log.bound.get(plan)
        if bound is None:
            return [one for one in self._log.sent if plan in one.plans]
        if above is not None and bound.loader in self._brought(above):
            return []
        return [one for one in self._log.sent if bound.loader in self._loaders(one)]

    def _loaders(self, sent: SentRead) -> list[LevelLoader]:
        """Return the loaders that requested a statement."""
        edges = [self._log.bound.get(plan) for plan in sent.plans if plan is not None]
        return [edge.loader for edge in edges if edge is not None]

    def _brought(self, sent: SentRead) -> list[LevelLoader]:
        """Return the loaders whose results a statement has brought."""
        return [brought for loader in self._loaders(sent) for brought in getattr(loader, "brings", ())]

    def _shared(self, path: str, sent: SentRead) -> str:
        read = self._reads[sent]
        read.shared_with.append(path)
        return f"read with {read.path}, by statement {read.number}"

    def _folded(self, path: str, sent: SentRead, way: str) -> str:
        self._reads[sent].folded.append((path, way))
        return f"{way} in statement {self._numbers[sent]}"

    def _render(self, explained: ExplainedField, plan: FieldPlan, level: Level) -> None:
        names = ", ".join(one.key for one in level.fields)
        if plan.kind is FieldKind.JOINED and not level.kept:
            explained.renders.append(f"{level.type_.name} {{ {names} }} within the function of the level above")
            return
        completer(level)
        form = "the columns of a table" if level.rows.by_column else "rows" if level.rows.bare else "objects"
        explained.renders.append(f"{level.type_.name} {{ {names} }} by one generated function, from {form}")
        explained.source.append(level.source)
