"""Runs one operation on both engines: the compiled one, and graphql-core, which defines the correct result."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from graphql import (
    DirectiveNode,
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    NameNode,
    OperationDefinitionNode,
    build_schema,
    default_field_resolver,
    execute,
    parse,
    validate,
)
from graphql.execution.executor import CollectedErrors
from graphql.execution.executor_throwing_on_incremental import ExecutorThrowingOnIncremental
from graphql.pyutils import Path

from graph.execution import Prepared

Where: TypeAlias = tuple[str | int, ...]
ErrorKey: TypeAlias = tuple[Where, str, tuple[tuple[int, int], ...], str]
Resolver: TypeAlias = Callable[..., Any]
SETTLING_ROUNDS = 50
"""How often the event loop goes round before what one engine has left running counts as done."""


class Context(Protocol):
    """The context in which resolvers record their calls."""

    @property
    def paths(self) -> Counter[Where]:
        """How often the resolver at each place in the response was called, in the order of the first calls."""
        ...


@dataclass(slots=True)
class Calls:
    """The context of a run: which resolvers were called.

    Attributes:
        seed: the seed from which random resolvers make their values.
    """

    seed: int = 0
    paths: Counter[Where] = field(default_factory=Counter)


def counted_schema(
    sdl: str, resolvers: Mapping[str, Resolver] | None = None, otherwise: Resolver = default_field_resolver
) -> GraphQLSchema:
    """Build a schema with a resolver for each `Type.field` named; all fields record every call in the context."""
    schema = build_schema(sdl)
    for type_ in schema.type_map.values():
        if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("__"):
            for name, definition in type_.fields.items():
                _count(definition, (resolvers or {}).get(f"{type_.name}.{name}", otherwise))
    return schema


def _count(definition: GraphQLField, resolve: Resolver) -> None:
    def counting(source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
        info.context.paths[tuple(info.path.as_list())] += 1
        return resolve(source, info, **arguments)

    definition.resolve = counting


async def both(
    schema: GraphQLSchema,
    text: str,
    variables: dict[str, Any] | None = None,
    root: Callable[[], Any] = lambda: None,
    *,
    context: Callable[[], Context] = Calls,
) -> dict[str, Any]:
    """Run an operation on both engines, check that they agree, and return the compiled engine's response.

    `root` and `context` make the root value and the context, new for each engine.

    The data must be equal, including the order of its keys. The errors must be equal as a multiset of path, message,
    locations and extensions, with one exception. Where a null has propagated upwards from a non-null position, several
    errors may compete for the position that became null, and the specification ("Errors and Non-Null Fields") leaves
    open which of them are found: "any sibling fields which have not yet executed or have not yet yielded a value may be
    cancelled to avoid unnecessary work". graphql-core reports the error that occurs first. In this case each engine
    must report at least one error at or below the position, and every error that it reports must be one that the
    operation has: one of those that graphql-core finds when errors do not propagate at all.

    No resolver may be called twice for one place in the response.
    """
    document = parse(text)
    assert validate(schema, document) == []
    given = variables or {}
    expected = await _ordinary(schema, document, given, root(), context())
    ours = context()
    actual = await Prepared(schema, document, _operation_of(document)).run(given, ours, root())
    assert [path for path, count in ours.paths.items() if count > 1] == []
    assert repr(actual.data) == repr(expected.data)
    wanted, found = _by_position(expected), _by_position(actual)
    assert found.keys() == wanted.keys()
    open_positions = [where for where in wanted if _is_contested(where, wanted[where] + found[where])]
    for where in wanted.keys() - set(open_positions):
        assert found[where] == wanted[where]
    if open_positions:
        all_errors = await _all_errors(schema, document, given, root(), context())
        for where in open_positions:
            assert found[where] - all_errors == Counter()
    return dict(actual.formatted)


async def _ordinary(
    schema: GraphQLSchema, document: DocumentNode, variables: dict[str, Any], root: Any, context: Any, **options: Any
) -> ExecutionResult:
    result = execute(schema, document, root, context, variables, **options)
    if not isinstance(result, ExecutionResult):
        result = await result
    # Fields that lost the race for a position may still be running.
    for _ in range(SETTLING_ROUNDS):
        await asyncio.sleep(0)
    return result


def _operation_of(document: DocumentNode) -> OperationDefinitionNode:
    return next(one for one in document.definitions if isinstance(one, OperationDefinitionNode))


# ---------------------------------------------------------------- errors


def _key(error: GraphQLError) -> ErrorKey:
    locations = tuple((one.line, one.column) for one in error.locations or ())
    return tuple(error.path or ()), error.message, locations, repr(error.extensions)


def _by_position(result: ExecutionResult) -> dict[Where | None, Counter[ErrorKey]]:
    """Return the errors by the position in the data that is null because of them; None stands for all of the data."""
    found: dict[Where | None, Counter[ErrorKey]] = {}
    for error in result.errors or ():
        found.setdefault(_nulled(result.data, error), Counter())[_key(error)] += 1
    return found


def _nulled(data: Any, error: GraphQLError) -> Where | None:
    if data is None:
        return None
    assert error.path is not None
    for index, step in enumerate(error.path):
        data = data[step]
        if data is None:
            return tuple(error.path[: index + 1])
    raise AssertionError(f"there is an error at {error.path}, and data")


def _is_contested(where: Where | None, errors: Counter[ErrorKey]) -> bool:
    """Return whether a null has propagated to this position from below, or an error elsewhere in it came first."""
    return any(path not in {where, ()} for path, *_ in errors)


class _EveryError(CollectedErrors):
    """Keeps the errors below positions that are null already, too."""

    def has_nulled_position(self, start_path: Path | None) -> bool:
        return False


class _Thorough(ExecutorThrowingOnIncremental):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.collected_errors = _EveryError()


async def _all_errors(
    schema: GraphQLSchema, document: DocumentNode, variables: dict[str, Any], root: Any, context: Any
) -> Counter[ErrorKey]:
    """Return all errors: none propagates, so none prevents another from being found."""
    operation = _operation_of(document)
    no_travel = OperationDefinitionNode(
        operation=operation.operation,
        name=operation.name,
        variable_definitions=operation.variable_definitions,
        directives=(DirectiveNode(name=NameNode(value="experimental_disableErrorPropagation"), arguments=()),),
        selection_set=operation.selection_set,
        loc=operation.loc,
    )
    definitions = tuple(no_travel if one is operation else one for one in document.definitions)
    result = await _ordinary(
        schema, DocumentNode(definitions=definitions), variables, root, context, executor_class=_Thorough
    )
    return Counter(map(_key, result.errors or ()))
