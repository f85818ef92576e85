"""Opaque fields: how the executor calls their resolvers. It skips Strawberry's wrapper where the wrapper does nothing.

Strawberry wraps every resolver in argument conversion, field extensions, permissions and exception handlers. The
executor calls the plain function of a field with the parameters that it declares. Where the field has extensions
(permissions are one), the call goes through them. Fields with exception handlers, or with extensions that change
arguments, are called through Strawberry's wrapper.

No other module uses names of Strawberry that are private or not in its documentation. If Strawberry has changed one of
them, `tests/graph/execution/test_strawberry_adapter.py` or `tests/house/test_dependencies.py` fails and names it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import isasyncgenfunction
from typing import TYPE_CHECKING, Any

import strawberry
from graphql import GraphQLField, GraphQLResolveInfo, GraphQLSchema, default_field_resolver
from graphql.pyutils import Path
from strawberry.extensions import FieldExtension, SchemaExtension
from strawberry.extensions.field_extension import build_field_extension_resolvers
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types.arguments import StrawberryArgument, convert_arguments
from strawberry.types.base import StrawberryList, StrawberryMaybe, StrawberryObjectDefinition, StrawberryOptional
from strawberry.types.field import StrawberryField

if TYPE_CHECKING:
    from graph.execution.declarations import PrefetchableEdge

__all__ = [
    "EdgeInfo",
    "PrefetchInfo",
    "Resolver",
    "StrawberryArgument",
    "StrawberryField",
    "StrawberryList",
    "StrawberryMaybe",
    "StrawberryObjectDefinition",
    "StrawberryOptional",
    "attribute_of",
    "convert_arguments",
    "converter_of",
    "core_schema",
    "info_maker",
    "prefetchable_edges",
    "resolver_of",
    "selected_of",
]

INFO = "info"  # the only name that Strawberry removes from the keyword arguments of extensions


def core_schema(schema: strawberry.Schema) -> GraphQLSchema:
    """Return the schema of graphql-core that Strawberry has made."""
    return schema._schema  # noqa: SLF001 - Strawberry offers no public way to it


def converter_of(schema: GraphQLSchema) -> Any:
    """Return Strawberry's converter of a schema of graphql-core; None of one that Strawberry has not made."""
    return getattr(getattr(schema, "_strawberry_schema", None), "schema_converter", None)


class ResolveInfo(GraphQLResolveInfo[Any]):
    """The info of a field, with the `extensions` of the request, as Strawberry's executor adds them."""

    operation_extensions: dict[str, Any] | None = None


class PrefetchInfo(ResolveInfo):
    """The info of a field whose statement may also load the results of edges below its rows.

    Attributes:
        bind_prefetchable: binds these edges, and returns them.
        selected: the names of the selected fields of the field's object.
    """

    bind_prefetchable: "Callable[[], list[PrefetchableEdge]]"
    selected: frozenset[str]


@dataclass(slots=True, eq=False)
class EdgeInfo:
    """The info of an edge for its whole level. Only for parts of it that are rarely read it makes graphql-core's info.

    Attributes:
        path: only the field's place, without list indexes.
        selected: see `PrefetchInfo`.
    """

    context: Any
    field_name: str
    path: Path
    selected: frozenset[str]
    whole: Callable[[], GraphQLResolveInfo[Any]]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole(), name)


def prefetchable_edges(info: Any) -> "list[PrefetchableEdge]":
    """Return the edges below the rows of the field of `info`, each loader once.

    The statement of the field may load their results. The list is empty if the ordinary engine runs the field.
    """
    raw = info._raw_info  # noqa: SLF001 - Strawberry has no public access to it
    return raw.bind_prefetchable() if isinstance(raw, PrefetchInfo) else []


def selected_of(info: Any) -> frozenset[str]:
    """Return the names of the selected fields of the object that the field of `info` returns.

    Fields that @skip and @include exclude are not in the set. It is empty if the ordinary engine runs the field.
    """
    raw = info._raw_info  # noqa: SLF001 - Strawberry has no public access to it
    return raw.selected if isinstance(raw, PrefetchInfo | EdgeInfo) else frozenset()


@dataclass(frozen=True, slots=True)
class Resolver:
    """How the resolver of an opaque field is called.

    Attributes:
        call: takes the source, the info, and the arguments.
        info: converts graphql-core's info to the info that `call` takes.
        wants_info: whether `call` uses the info.
        direct: whether `call` takes the arguments as Strawberry converts them, not as graphql-core coerces them.
    """

    call: Callable[[Any, Any, dict[str, Any]], Any]
    info: Callable[[Any], Any]
    wants_info: bool
    direct: bool


def unsupported_by(schema: GraphQLSchema) -> str | None:
    """Return what Strawberry's schema changes about every call of a resolver; None if it changes nothing."""
    strawberry_schema = getattr(schema, "_strawberry_schema", None)
    if strawberry_schema is None:
        return None
    if strawberry_schema.execution_context_class is not StrawberryGraphQLCoreExecutionContext:
        return "executor_class"
    known = all(isinstance(one, SchemaExtension | type) for one in strawberry_schema.extensions)
    if strawberry_schema.directives or not known:
        return "middleware"
    resolving = [one for one in strawberry_schema.extensions if one._implements_resolve()]  # noqa: SLF001 - not public
    return "middleware" if resolving else None


def is_stream(field: GraphQLField, definition: StrawberryField | None) -> bool:
    """Return whether the resolver of a field is an async generator function."""
    resolver: Any = definition.base_resolver if definition is not None else None
    return isasyncgenfunction(field.resolve if resolver is None else resolver.wrapped_func)


def attribute_of(field: GraphQLField, definition: StrawberryField | None, converter: Any) -> str | None:
    """Return the attribute that the field reads from its object, or None if the field is more than an attribute."""
    if definition is None or not _is_plain(definition, converter) or definition.base_resolver is not None:
        return None
    if definition.extensions or not definition.is_basic_field or definition.default_resolver is not getattr:
        return None
    return definition.python_name if getattr(field.resolve, "_is_default", False) else None


def resolver_of(field: GraphQLField, definition: StrawberryField | None, converter: Any) -> Resolver:
    """Return how the resolver of a field is called."""
    if definition is not None and definition.base_resolver is not None and _is_plain(definition, converter):
        if not definition.extensions:
            return _direct(definition, converter)
        if definition.base_resolver.self_parameter is None:
            return _extended(definition, converter)
    resolve = field.resolve or default_field_resolver

    def call(source: Any, info: Any, arguments: dict[str, Any]) -> Any:
        return resolve(source, info, **arguments)

    return Resolver(call, lambda info: info, wants_info=True, direct=False)


def _is_plain(definition: StrawberryField, converter: Any) -> bool:
    return (
        converter is not None
        and not converter._exception_handler_specs  # noqa: SLF001 - Strawberry has no public access to it
        and type(definition).get_result is StrawberryField.get_result
        # Extensions that change arguments before their conversion are left to Strawberry.
        and all(type(one).map_arguments is FieldExtension.map_arguments for one in definition.extensions)
    )


def _direct(definition: StrawberryField, converter: Any) -> Resolver:
    function, named, info_name = _called(definition)
    positional = definition.base_resolver is not None and definition.base_resolver.self_parameter is not None

    def call(source: Any, info: Any, arguments: dict[str, Any]) -> Any:
        given = dict(arguments)
        for name in named:
            given[name] = source
        if info_name is not None:
            given[info_name] = info
        return function(source, **given) if positional else function(**given)

    wants_info = info_name is not None or bool(definition.arguments)
    return Resolver(call, info_maker(definition, converter), wants_info=wants_info, direct=True)


def _extended(definition: StrawberryField, converter: Any) -> Resolver:
    function, named, info_name = _called(definition)

    def innermost(source: Any, info: Any, **given: Any) -> Any:
        return function(**given, info=info) if info_name == INFO else function(**given)

    # Each extension receives the next call in the chain. The list is in reverse order: its last extension runs first.
    extended: Callable[..., Any] = innermost
    for extension in build_field_extension_resolvers(definition):
        extended = partial(extension, extended)

    def call(source: Any, info: Any, arguments: dict[str, Any]) -> Any:
        given = dict(arguments)
        for name in named:
            given[name] = source
        if info_name is not None and info_name != INFO:
            given[info_name] = info
        return extended(source, info, **given)

    return Resolver(call, info_maker(definition, converter), wants_info=True, direct=True)


def _called(definition: StrawberryField) -> tuple[Callable[..., Any], list[str], str | None]:
    """Return a field's function, the names of its source parameters, and the name of its info parameter or None."""
    resolver: Any = definition.base_resolver
    function = resolver.wrapped_func if callable(resolver.wrapped_func) else resolver
    named = [one.name for one in (resolver.parent_parameter, resolver.root_parameter) if one is not None]
    return function, named, resolver.info_parameter.name if resolver.info_parameter is not None else None


def info_maker(definition: StrawberryField | None, converter: Any) -> Callable[[Any], Any]:
    """Return the function that converts graphql-core's info of a field to Strawberry's info."""
    return partial(converter.config.info_class, _field=definition)
