"""Operations: parsed and validated once for each text, then executed by graphql-core over Strawberry's resolvers.

Strawberry's own `Schema.execute` parses and validates at every request and runs its extension machinery around both;
nothing here needs that, so the parsed document goes to graphql-core directly. The cache is bounded, and holds
documents that failed too: a client that repeats a broken query costs a look-up.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cachetools import LRUCache
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
    execute,
    parse,
    specified_rules,
    validate,
)

from db.viewer import Viewer
from graph.context import Context, Services
from graph.limits import Price, Pricing, check_written
from graph.observing.deprecations import deprecated_coordinates
from graph.selection import Selection

OPERATIONS_CACHED_MAX = 1000
OPERATION_CACHED_LENGTH_MAX = 50_000
TOKENS_MAX = 10_000
VALIDATION_ERRORS_MAX = 20


class RequestRefused(Exception):  # noqa: N818 - as in db.errors
    """A request whose operation never ran.

    Attributes:
        errors: what is wrong with it.
    """

    def __init__(self, *errors: GraphQLError) -> None:
        super().__init__(errors)
        self.errors = list(errors)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a valid document, with what is known of it before it runs.

    Attributes:
        digest: of the document's text, to know it by where the text itself must not stand.
        deprecated: the schema coordinates that it uses although they are deprecated.
    """

    document: DocumentNode
    definition: OperationDefinitionNode
    selection: Selection
    pricing: Pricing
    digest: str
    deprecated: tuple[str, ...]

    @property
    def name(self) -> str | None:
        """The operation's name, or None where it has none."""
        return self.definition.name.value if self.definition.name else None

    def priced(self, variables: Mapping[str, Any]) -> Price:
        """Return the price with these variables.

        Raises:
            RequestRefused: the operation is larger than a limit allows.
        """
        price = self.pricing.price(variables)
        violations = price.violations()
        if violations:
            raise RequestRefused(*violations)
        return price

    @property
    def is_query(self) -> bool:
        """Whether the operation only reads."""
        return self.definition.operation is OperationType.QUERY


class NoNulRule(ValidationRule):
    """Refuses the character U+0000 in a string: PostgreSQL's text holds every character but this one."""

    def enter_string_value(self, node: StringValueNode, *_: object) -> None:
        """Report the string that holds it."""
        if "\x00" in node.value:
            self.report_error(GraphQLError("a string holds the character U+0000, which no text may have", node))


class Operations:
    """The bounded cache of operations, and the one way to run them.

    Attributes:
        hits: how often the operation was there, prepared.
        misses: how often it was not.
    """

    def __init__(self, schema: GraphQLSchema, *, introspection: bool, suggestions: bool) -> None:
        self._schema = schema
        self._hide_suggestions = not suggestions
        self._rules = [*specified_rules, NoNulRule, *([] if introspection else [NoSchemaIntrospectionCustomRule])]
        self._documents: LRUCache[str, DocumentNode | RequestRefused] = LRUCache(OPERATIONS_CACHED_MAX)
        self._operations: LRUCache[tuple[str, str | None], Operation] = LRUCache(OPERATIONS_CACHED_MAX)
        self.hits = 0
        self.misses = 0

    @property
    def size(self) -> int:
        """How many operations are kept, prepared."""
        return len(self._operations)

    def find(self, text: str, operation_name: str | None) -> Operation:
        """Return the operation of a document that is to run.

        Raises:
            RequestRefused: the document is no valid one of this schema, or does not say which operation is meant.
        """
        key = (text, operation_name)
        operation = self._operations.get(key)
        if operation is not None:
            self.hits += 1
            return operation
        self.misses += 1
        operation = self._chosen(text, self._valid(text), operation_name)
        if len(text) <= OPERATION_CACHED_LENGTH_MAX:
            self._operations[key] = operation
        return operation

    def _valid(self, text: str) -> DocumentNode:
        known = self._documents.get(text)
        if known is None:
            known = self._checked(text)
            if len(text) <= OPERATION_CACHED_LENGTH_MAX:
                self._documents[text] = known
        if isinstance(known, RequestRefused):
            raise RequestRefused(*known.errors)
        return known

    def _checked(self, text: str) -> DocumentNode | RequestRefused:
        try:
            document = parse(text, max_tokens=TOKENS_MAX)
        except GraphQLError as error:
            return RequestRefused(_kept(error, "GRAPHQL_PARSE_FAILED"))
        try:
            check_written(document)
        except GraphQLError as error:
            return RequestRefused(_kept(error, "GRAPHQL_VALIDATION_FAILED"))
        errors = validate(
            self._schema,
            document,
            self._rules,
            max_errors=VALIDATION_ERRORS_MAX,
            hide_suggestions=self._hide_suggestions,
        )
        if errors:
            return RequestRefused(*(_kept(error, "GRAPHQL_VALIDATION_FAILED") for error in errors))
        return document

    def _chosen(self, text: str, document: DocumentNode, operation_name: str | None) -> Operation:
        definitions = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
        named = {one.name.value: one for one in definitions if one.name}
        if operation_name is not None:
            definition = named.get(operation_name)
            if definition is None:
                known = f"it has {', '.join(named)}" if named else "its operation has no name"
                raise _which(f"operationName is {operation_name!r}, which the document does not have; {known}")
        elif len(definitions) == 1:
            definition = definitions[0]
        elif definitions:
            raise _which(f"the document has several operations; say in operationName which: {', '.join(named)}")
        else:
            raise _which("the document has no operation, only fragments")
        fragments = {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}
        return Operation(
            document,
            definition,
            Selection(self._schema, definition, fragments),
            Pricing(self._schema, definition, fragments),
            text_digest(text),
            deprecated_coordinates(self._schema, document, definition.name.value if definition.name else None),
        )

    async def run(
        self, operation: Operation, variables: Mapping[str, Any], services: Services, viewer: Viewer
    ) -> ExecutionResult:
        """Execute `operation` as `viewer`.

        Raises:
            RequestRefused: the variables do not fit the operation, so that it never ran.
        """
        context = Context(services, viewer, operation.selection)
        outcome = execute(
            self._schema,
            operation.document,
            context_value=context,
            variable_values=dict(variables),
            operation_name=operation.name,
            hide_suggestions=self._hide_suggestions,
        )
        try:
            result: ExecutionResult = await outcome if not isinstance(outcome, ExecutionResult) else outcome
        except asyncio.CancelledError:
            context.loaders.cancel()
            raise
        # Errors of fields have a path; what was wrong before the first field ran has none.
        if result.data is None and result.errors and all(error.path is None for error in result.errors):
            raise RequestRefused(*(_coded(error, "BAD_USER_INPUT") for error in result.errors))
        return result


def text_digest(text: str) -> str:
    """Return the first half of the SHA-256 of a document's text, in hexadecimal."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def _coded(error: GraphQLError, code: str) -> GraphQLError:
    if not error.extensions:
        error.extensions = {"code": code}
    return error


def _kept(error: GraphQLError, code: str) -> GraphQLError:
    """Return `error` as it may be kept: its nodes and its traceback would keep the whole parsed document alive."""
    extensions = error.extensions or {"code": code}
    return GraphQLError(error.message, source=error.source, positions=error.positions, extensions=extensions)


def _which(message: str) -> RequestRefused:
    return RequestRefused(GraphQLError(message, extensions={"code": "OPERATION_RESOLUTION_FAILURE"}))
