"""The operation cache: each text is parsed, validated and priced once, then run by an engine (`dispatch`).

Strawberry's `Schema.execute` parses and validates at every request and runs its extension machinery around both; Folio
does not need that. The cache is bounded by the memory that it takes. It also holds invalid documents: a client that
repeats an invalid query costs one lookup.
"""

import asyncio
import sys
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson
from graphql import (
    DocumentNode,
    ExecutionResult,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    OperationType,
    StringValueNode,
    ValidationRule,
    specified_rules,
)

from db.access import Viewer
from graph.analysis.field_facts import SchemaFacts
from graph.analysis.limits import Price
from graph.analysis.pricing import Pricing
from graph.analysis.walk import analyse
from graph.errors import in_graphql, null_named, secrets_written_in, without_literal, without_values
from graph.execution import SingleRead
from graph.execution.traces import forget_trace
from graph.operations.dispatch import COMPILED_FROM, SMALL, SMALL_VALUES_MAX, Engines, Execution, Size
from graph.operations.documents import text_digest
from graph.operations.introspections import Introspections, introspection_digest
from graph.operations.segmented_cache import SegmentedCache
from graph.operations.validation import parsed, validated
from graph.runtime.context import Context, Services
from graph.runtime.worker_thread import Stopwatch, WorkerThread

OPERATIONS_CACHED_BYTES_MAX = 50_331_648
OPERATIONS_ON_PROBATION_BYTES_MAX = 8_388_608
OPERATION_CACHED_LENGTH_MAX = 50_000

# The memory of a parsed document depends on the number of its tokens, not of its characters: a node, its location and a
# token took 260 to 550 bytes. The other data of an operation took 15 to 23 KB, and all prices 7 KB more. Plans are
# counted when they are made. A kept error took up to 1.9 KB.
TOKEN_BYTES = 550
PREPARED_BYTES = 28_672
ERROR_BYTES = 2_048


class RequestRefused(Exception):  # noqa: N818 - as in db.errors
    """A request whose operation never ran."""

    def __init__(self, *errors: GraphQLError) -> None:
        super().__init__(errors)
        self.errors = list(errors)


@dataclass(slots=True)
class Operation:
    """One operation of a valid document, with the results of its analysis.

    Attributes:
        digest: the digest of the document's text; it identifies the document where the text must not occur, as in logs.
        kind: `query` or `mutation`.
        deprecated: the schema coordinates that it uses although they are deprecated.
        introspection: a digest of its selection, if the schema alone decides its data; else None. All operations with
            this digest have the same data.
    """

    definition: OperationDefinitionNode
    execution: Execution
    pricing: Pricing
    digest: str
    deprecated: tuple[str, ...]
    introspection: str | None
    name: str | None = field(init=False)
    kind: str = field(init=False)
    is_query: bool = field(init=False)
    is_introspection: bool = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.definition.name.value if self.definition.name else None
        self.kind = self.definition.operation.value
        self.is_query = self.definition.operation is OperationType.QUERY
        self.is_introspection = self.introspection is not None

    def priced(self, variables: Mapping[str, Any]) -> Price:
        """Return the price with these variables.

        Raises:
            RequestRefused: the operation is larger than a limit allows.
        """
        known = self.pricing.fitting(variables)
        if known is not None:
            return known
        price = self.pricing.price(variables)
        violations = price.violations()
        if violations:
            raise RequestRefused(*violations)
        return price


@dataclass(frozen=True, slots=True)
class _Document:
    """A valid document, with those of its operations that were requested."""

    parsed: DocumentNode
    tokens: int
    operations: dict[str | None, Operation] = field(default_factory=dict)


Checked = _Document | RequestRefused
"""The result of checking a document: the valid document, or its refusal."""


class NoNulRule(ValidationRule):
    """Refuses the character U+0000 in a string: PostgreSQL's text holds every character but this one."""

    def enter_string_value(self, node: StringValueNode, *_: object) -> None:
        """Report the string that contains it."""
        if "\x00" in node.value:
            self.report_error(
                GraphQLError("a string contains the character U+0000, which is not allowed in text", node)
            )


class Operations:
    """The bounded cache of operations, and the only entry point to run them."""

    def __init__(
        self, schema: GraphQLSchema, *, introspection: bool, suggestions: bool, compiled_from: int = COMPILED_FROM
    ) -> None:
        self.schema = schema
        self._facts = SchemaFacts(schema)
        self.engines = Engines(schema, compiled_from=compiled_from, hide_suggestions=not suggestions)
        self._hide_suggestions = not suggestions
        self._rules = [*specified_rules, NoNulRule, *([] if introspection else [NoSchemaIntrospectionCustomRule])]
        self._documents: SegmentedCache[str, Checked] = SegmentedCache(
            protected_bytes_max=OPERATIONS_CACHED_BYTES_MAX, probation_bytes_max=OPERATIONS_ON_PROBATION_BYTES_MAX
        )
        self._introspections = Introspections()
        self._checking = asyncio.Lock()
        self.hits = 0
        self.misses = 0

    @property
    def size(self) -> int:
        """How many documents are kept, prepared or refused."""
        return len(self._documents)

    @property
    def runs_by_engine(self) -> Mapping[tuple[str, str], int]:
        """The number of runs by engine and, for the ordinary engine, by the reason why it was not the compiled one."""
        ordinary = {("ordinary", reason): count for reason, count in self.engines.ordinary_runs.items()}
        return {("compiled", "none"): self.engines.compiled, **ordinary}

    @property
    def size_bytes(self) -> int:
        """The approximate number of bytes of the kept documents."""
        return self._documents.size_bytes

    def kept(self, text: str, operation_name: str | None) -> Operation | None:
        """Return the operation and count a hit if it is prepared; else return None."""
        document = self._documents.get(text)
        operation = document.operations.get(operation_name) if isinstance(document, _Document) else None
        if operation is not None:
            self.hits += 1
        return operation

    async def checked(self, text: str, worker: WorkerThread, watch: Stopwatch) -> Checked:
        """Return the check result of a document, for `find`. A new document is checked in another thread.

        Documents are checked one at a time, so that a document in several simultaneous requests is checked once.
        """
        known = self._documents.get(text)
        if known is None:
            async with self._checking:
                known = self._documents.get(text) or self._keep(text, await worker.run(watch.timed, self._check, text))
        return known

    def find(self, text: str, operation_name: str | None, checked: Checked | None = None) -> Operation:
        """Return the requested operation of a document. `checked` is the check result of the document, if there is one.

        Raises:
            RequestRefused: the document is not valid for this schema, or it is not clear which operation is meant.
        """
        operation = self.kept(text, operation_name)
        if operation is None:
            self.misses += 1
            document = self._valid(text, checked)
            definition = _chosen(document.parsed, operation_name)
            prepared = [one for one in document.operations.values() if one.definition is definition]
            operation = prepared[0] if prepared else self._prepared(text, document.parsed, definition)
            # The key is the name from the document: the client's name is another object, of any length.
            document.operations[None if operation_name is None else operation.name] = operation
        return operation

    def _valid(self, text: str, checked: Checked | None) -> _Document:
        known = checked or self._documents.get(text) or self._keep(text, self._check(text))
        if isinstance(known, RequestRefused):
            raise RequestRefused(*known.errors)
        return known

    def _keep(self, text: str, checked: Checked) -> Checked:
        if len(text) <= OPERATION_CACHED_LENGTH_MAX:
            self._documents.put(text, checked, _size_bytes(text, checked))
        return checked

    def _check(self, text: str) -> Checked:
        try:
            document, tokens = parsed(text)
        except GraphQLError as error:
            return RequestRefused(_kept(error, "GRAPHQL_PARSE_FAILED"))
        errors = validated(self.schema, document, self._rules, hide_suggestions=self._hide_suggestions)
        if errors:
            written = secrets_written_in(document)
            told = (without_literal(error, written) for error in errors)
            return RequestRefused(*(_kept(error, "GRAPHQL_VALIDATION_FAILED") for error in told))
        return _Document(document, tokens)

    def _prepared(self, text: str, document: DocumentNode, definition: OperationDefinitionNode) -> Operation:
        fragments = {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}
        analysis = analyse(self._facts, definition, fragments)
        execution = self.engines.execution(document, definition, analysis)
        execution.grown = partial(self._documents.grow, text)
        return Operation(
            definition,
            execution,
            analysis.pricing,
            text_digest(text),
            analysis.deprecated,
            introspection_digest(definition, fragments) if analysis.reads_schema_alone else None,
        )

    def introspected(self, operation: Operation) -> bytes | None:
        """Return the data, as JSON, of an equal introspection that ran before; its comments may differ."""
        return None if operation.introspection is None else self._introspections.get(operation.introspection)

    def keep_introspected(self, operation: Operation, data: bytes) -> None:
        """Keep the data, as JSON, of an introspection that has run."""
        if operation.introspection is not None:
            self._introspections.keep(operation.introspection, data)

    def run(
        self,
        operation: Operation,
        variables: dict[str, Any],
        services: Services,
        viewer: Viewer,
        size: Size = SMALL,
    ) -> Coroutine[Any, Any, ExecutionResult]:
        """Execute `operation` as `viewer`. `ensure_ran` raises if the operation did not run at all."""
        return self.engines.run(operation.execution, variables, services, viewer, size)

    def single_read(
        self, operation: Operation, variables: dict[str, Any], services: Services, viewer: Viewer, values: int
    ) -> SingleRead | None:
        """Begin a query that needs one read; return None if `run` must run the operation.

        `values` is the maximum number of values of its response (`Price.values`).
        """
        execution, prepared = operation.execution, operation.execution.prepared
        if prepared is None or prepared.lookup_level is None or execution.in_snapshot or values > SMALL_VALUES_MAX:
            return None
        single = prepared.lookup(variables, Context(services, viewer, execution.joined))
        if single is not None:
            self.engines.compiled += 1
        return single


def ensure_ran(result: ExecutionResult) -> None:
    """Raise RequestRefused if the operation did not run because its variables are invalid."""
    # Errors of fields have a path; errors before the first field ran have none.
    if result.data is None and result.errors and all(error.path is None for error in result.errors):
        raise RequestRefused(*(_coded(error, "BAD_USER_INPUT") for error in result.errors))


def _chosen(document: DocumentNode, operation_name: str | None) -> OperationDefinitionNode:
    """Return the operation of a document that `operation_name` selects."""
    definitions = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
    named = {one.name.value: one for one in definitions if one.name}
    if operation_name is not None:
        definition = named.get(operation_name)
        if definition is None:
            known = f"it has {', '.join(named)}" if named else "its operation has no name"
            given = orjson.dumps(operation_name).decode()
            raise _which(f"operationName is {given}, which the document does not have; {known}")
    elif len(definitions) == 1:
        definition = definitions[0]
    elif definitions:
        raise _which(f"the document has several operations; set operationName to one of them: {', '.join(named)}")
    else:
        raise _which("the document has no operation, only fragments")
    return definition


def _size_bytes(text: str, known: Checked) -> int:
    """Return the approximate number of bytes that a document and its check result take in memory.

    A document may have many operations, which are prepared when they are requested; all of them are counted at once.
    """
    held = sys.getsizeof(text)
    if isinstance(known, RequestRefused):
        return held + sum(ERROR_BYTES + sys.getsizeof(error.message) for error in known.errors)
    operations = sum(isinstance(one, OperationDefinitionNode) for one in known.parsed.definitions)
    # Tokens and nodes contain a second copy of the text of strings, names and comments.
    return 2 * held + TOKEN_BYTES * known.tokens + PREPARED_BYTES * operations


def _coded(error: GraphQLError, code: str) -> GraphQLError:
    if not error.extensions:
        error.extensions = {"code": code}
    error.message = in_graphql(without_values(error.message))
    forget_trace(error)
    return error


def _kept(error: GraphQLError, code: str) -> GraphQLError:
    """Return a copy of `error` to keep. Its nodes and its traceback would keep the whole parsed document alive."""
    extensions = error.extensions or {"code": code}
    message = null_named(without_values(error.message))
    return GraphQLError(message, source=error.source, positions=error.positions, extensions=extensions)


def _which(message: str) -> RequestRefused:
    return RequestRefused(GraphQLError(message, extensions={"code": "OPERATION_RESOLUTION_FAILURE"}))
