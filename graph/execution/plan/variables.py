"""Coercion of variables in the common case: JSON values that match their types at every depth.

The coercion of each type is prepared once per operation; graphql-core inspects the type again for each value. All other
values, and all invalid ones, go through graphql-core's own coercion, which also words the errors.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from graphql import (
    GraphQLBoolean,
    GraphQLFloat,
    GraphQLID,
    GraphQLInputField,
    GraphQLInt,
    GraphQLSchema,
    GraphQLString,
    OperationDefinitionNode,
    Undefined,
    is_input_object_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_required_input_field,
    type_from_ast,
)
from graphql.execution import VariableValues

from graph.execution.graphql_core_adapter import (
    GraphQLVariableSignature,
    VariableValueSource,
    coerce_default_value,
    get_variable_signature,
)

_INT_MAX = 2**31 - 1
_CLASSES: dict[Any, type] = {
    GraphQLString: str,
    GraphQLID: str,
    GraphQLInt: int,
    GraphQLFloat: float,
    GraphQLBoolean: bool,
}
# The classes of which every value is what coercion to the type returns.
_UNCHANGED: dict[Any, type] = {GraphQLString: str, GraphQLID: str, GraphQLBoolean: bool}

Coercer = Callable[[Any], Any]
"""Coerces a non-null value. Raises NeedsFullCoercion."""


class NeedsFullCoercion(Exception):  # noqa: N818 - no error
    """The value is not the common case: graphql-core must coerce it."""


class Coercion:
    """Coerces the variables of one operation in the common case."""

    def __init__(self, schema: GraphQLSchema, operation: OperationDefinitionNode) -> None:
        self._simple: list[tuple[str, type | None, Coercer, bool, GraphQLVariableSignature]] | None = []
        for definition in operation.variable_definitions or ():
            type_: Any = type_from_ast(schema, definition.type)
            signature = get_variable_signature(schema, definition)
            coercer = None if type_ is None else coercer_of(type_)
            if (
                coercer is None
                or definition.default_value is not None
                or not isinstance(signature, GraphQLVariableSignature)
            ):
                self._simple = None
                return
            required = is_non_null_type(type_)
            unchanged = _UNCHANGED.get(type_.of_type if required else type_)
            self._simple.append((definition.variable.name.value, unchanged, coercer, required, signature))

    def coerced(self, inputs: dict[str, Any]) -> VariableValues | None:
        """Return the coerced variables, or None if graphql-core must coerce them."""
        if self._simple is None:
            return None
        sources: dict[str, VariableValueSource] = {}
        values: dict[str, Any] = {}
        for name, unchanged, coercer, required, signature in self._simple:
            if name not in inputs:
                if required:
                    return None
                sources[name] = VariableValueSource(signature)
                continue
            value = inputs[name]
            if value is None:
                if required:
                    return None
                values[name] = None
            elif type(value) is unchanged:
                values[name] = value
            else:
                try:
                    values[name] = coercer(value)
                except NeedsFullCoercion:
                    return None
            sources[name] = VariableValueSource(signature, value)
        return VariableValues(sources, values)


def coercer_of(type_: Any, within: frozenset[str] = frozenset()) -> Coercer | None:
    """Return the coercer for common values of an input type, or None if graphql-core must coerce all its values.

    `within` are the names of the enclosing input objects. Recursive ones are left to graphql-core, which bounds their
    depth.
    """
    if is_non_null_type(type_):
        type_ = type_.of_type
    if type_ in _CLASSES:
        return _BUILT_IN[type_]
    if is_list_type(type_):
        inner = coercer_of(type_.of_type, within)
        return None if inner is None else _items(inner, may_be_null=not is_non_null_type(type_.of_type))
    if is_input_object_type(type_):
        return None if type_.is_one_of or type_.name in within else _members(type_, within | {type_.name})
    return _leaf(type_)


def _built_in(expected: type) -> Coercer:
    def coerced(value: Any) -> Any:
        number: Any = value
        if type(value) is not expected:
            raise NeedsFullCoercion
        if expected is int and not -_INT_MAX - 1 <= number <= _INT_MAX:
            raise NeedsFullCoercion
        if expected is float and number - number != 0.0:
            raise NeedsFullCoercion
        return value

    return coerced


_BUILT_IN: dict[Any, Coercer] = {type_: _built_in(expected) for type_, expected in _CLASSES.items()}


def _leaf(type_: Any) -> Coercer:
    def coerced(value: Any) -> Any:
        try:
            found = type_.coerce_input_value(value)
        except Exception:  # noqa: BLE001 - graphql-core meets the same exception, and reports it
            raise NeedsFullCoercion from None
        if found is Undefined:
            raise NeedsFullCoercion
        return found

    return coerced


def _items(inner: Coercer, *, may_be_null: bool) -> Coercer:
    def coerced(value: Any) -> list[Any]:
        if type(value) is not list:
            raise NeedsFullCoercion
        if None not in value:
            return list(map(inner, value))
        if not may_be_null:
            raise NeedsFullCoercion
        return [None if item is None else inner(item) for item in value]

    return coerced


class _Member(NamedTuple):
    """One field of an input object.

    Attributes:
        out_name: the name of the value in Python.
        expected: the class of its common values, if they need no coercion; else None.
        default: its coerced default; Undefined without one.
    """

    name: str
    out_name: str
    expected: type | None
    coerce: Coercer
    default: Any
    may_be_null: bool


def _member(name: str, field: GraphQLInputField, within: frozenset[str]) -> _Member | None:
    type_: Any = field.type
    may_be_null = not is_non_null_type(type_)
    inner = type_ if may_be_null else type_.of_type
    is_custom = is_leaf_type(inner) and inner not in _CLASSES
    coercer = inner.coerce_input_value if is_custom else coercer_of(inner, within)
    if coercer is None:
        return None
    default = coerce_default_value(field)
    # graphql-core's `out_name` is the name of the value in Python.
    return _Member(name, field.out_name or name, _UNCHANGED.get(inner), coercer, default, may_be_null)


def _members(type_: Any, within: frozenset[str]) -> Coercer | None:
    found = [_member(name, field, within) for name, field in type_.fields.items()]
    members = [member for member in found if member is not None]
    return None if len(members) < len(found) else _of_members(type_, members)


def _of_members(type_: Any, members: Sequence[_Member]) -> Coercer:
    names = type_.fields.keys()
    required = {name for name, field in type_.fields.items() if is_required_input_field(field)}

    def coerced(value: Any) -> Any:
        if type(value) is not dict or not required <= value.keys() <= names:
            raise NeedsFullCoercion
        made: dict[str, Any] = {}
        for name, out_name, expected, coerce, default, may_be_null in members:
            if name not in value:
                if default is not Undefined:
                    made[out_name] = default
                continue
            given = value[name]
            if given is not None and expected is None:
                try:
                    given = coerce(given)
                except Exception:  # noqa: BLE001 - as in `_leaf`
                    raise NeedsFullCoercion from None
            elif type(given) is not expected and not (given is None and may_be_null):
                raise NeedsFullCoercion
            if given is Undefined:
                raise NeedsFullCoercion
            made[out_name] = given
        return type_.out_type(made)

    return coerced
