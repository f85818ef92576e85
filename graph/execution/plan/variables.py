"""Variables, in the common case: JSON values that are, all through, what their types take.

How each type is coerced is prepared once for an operation; graphql-core asks each value's type anew what it is.
Whatever is not plain, and every mistake, goes through graphql-core's own coercion, which words the errors.
"""

from collections.abc import Callable
from typing import Any

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
    is_list_type,
    is_non_null_type,
    is_required_input_field,
    type_from_ast,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource
from graphql.utilities.coerce_input_value import coerce_default_value

_INT_MAX = 2**31 - 1
_CLASSES: dict[Any, type] = {
    GraphQLString: str,
    GraphQLID: str,
    GraphQLInt: int,
    GraphQLFloat: float,
    GraphQLBoolean: bool,
}


Coercer = Callable[[Any], Any]
"""Coerces a value that is not null; raises Odd."""


class Odd(Exception):  # noqa: N818 - no error
    """A value that graphql-core should see to."""


class Coercion:
    """Coerces the variables of one operation where that is simple."""

    def __init__(self, schema: GraphQLSchema, operation: OperationDefinitionNode) -> None:
        self._simple: list[tuple[str, Coercer, bool, GraphQLVariableSignature]] | None = []
        for definition in operation.variable_definitions or ():
            type_ = type_from_ast(schema, definition.type)
            signature = get_variable_signature(schema, definition)
            coercer = None if type_ is None else coercer_of(type_)
            if (
                coercer is None
                or definition.default_value is not None
                or not isinstance(signature, GraphQLVariableSignature)
            ):
                self._simple = None
                return
            self._simple.append((definition.variable.name.value, coercer, is_non_null_type(type_), signature))

    def coerced(self, inputs: dict[str, Any]) -> VariableValues | None:
        """Return the coerced variables, or None where graphql-core should see to it."""
        if self._simple is None:
            return None
        sources: dict[str, VariableValueSource] = {}
        values: dict[str, Any] = {}
        for name, coercer, required, signature in self._simple:
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
            else:
                try:
                    values[name] = coercer(value)
                except Odd:
                    return None
            sources[name] = VariableValueSource(signature, value)
        return VariableValues(sources, values)


def coercer_of(type_: Any, within: frozenset[str] = frozenset()) -> Coercer | None:
    """Return what coerces plain values of an input type, or None where nothing does: it is not always simple.

    `within` are the names of the input objects that it is part of. One that can hold itself is left to graphql-core,
    which watches the depth.
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
            raise Odd
        if expected is int and not -_INT_MAX - 1 <= number <= _INT_MAX:
            raise Odd
        if expected is float and number - number != 0.0:
            raise Odd
        return value

    return coerced


_BUILT_IN: dict[Any, Coercer] = {type_: _built_in(expected) for type_, expected in _CLASSES.items()}


def _leaf(type_: Any) -> Coercer:
    def coerced(value: Any) -> Any:
        try:
            found = type_.coerce_input_value(value)
        except Exception:  # noqa: BLE001 - whatever it is, graphql-core says it
            raise Odd from None
        if found is Undefined:
            raise Odd
        return found

    return coerced


def _items(inner: Coercer, *, may_be_null: bool) -> Coercer:
    def coerced(value: Any) -> list[Any]:
        if type(value) is not list:
            raise Odd
        if None not in value:
            return list(map(inner, value))
        if not may_be_null:
            raise Odd
        return [None if item is None else inner(item) for item in value]

    return coerced


def _members(type_: Any, within: frozenset[str]) -> Coercer | None:
    members: list[tuple[str, str, Coercer, Any]] = []
    for name, field in type_.fields.items():
        coercer = coercer_of(field.type, within)
        if coercer is None:
            return None
        # Its out name is graphql-core's extension: what the value is called in Python.
        members.append((name, field.out_name or name, coercer, field))

    def coerced(value: Any) -> Any:
        if type(value) is not dict:
            raise Odd
        made: dict[str, Any] = {}
        known = 0
        for name, out_name, coercer, field in members:
            if name in value:
                known += 1
                given = value[name]
                if given is None and is_non_null_type(field.type):
                    raise Odd
                made[out_name] = None if given is None else coercer(given)
            else:
                default = _default_of(field)
                if default is not Undefined:
                    made[out_name] = default
        if known < len(value):
            raise Odd
        return type_.out_type(made)

    return coerced


def _default_of(field: GraphQLInputField) -> Any:
    if is_required_input_field(field):
        raise Odd
    return coerce_default_value(field)
