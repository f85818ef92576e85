"""Input objects and lists that contain variables, or that are variables, prepared when the plan is made.

In `posts(filter: {views: {gte: $views}})` only one number changes between runs. Yet graphql-core coerces the whole
literal at each run, and Strawberry then walks the coerced value to make its input objects. This module prepares a tree
of makers instead: constants are coerced once, variables are read from the coerced variables, and each run makes new
objects and lists, because a resolver may mutate them.

Most clients send a whole input object as one variable. graphql-core has then coerced it, and a prepared conversion
makes Strawberry's objects from it. Strawberry's own `convert_argument` determines names and types again at each run.

A maker covers only the common case. Where a variable is absent, or null at a non-null position, it raises
`NeedsFullConversion`, and the argument takes the generic path: graphql-core and Strawberry supply defaults and errors.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING
from enum import Enum
from typing import Any

from graphql import (
    GraphQLInputObjectType,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    Undefined,
    ValueNode,
    VariableNode,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)
from strawberry import LazyType, Some
from strawberry.relay import GlobalID

from graph.execution.declarations import STRAWBERRY
from graph.execution.strawberry_adapter import (
    StrawberryList,
    StrawberryMaybe,
    StrawberryObjectDefinition,
    StrawberryOptional,
)

Maker = Callable[[Mapping[str, Any]], Any]
"""Makes a value from the coerced variables. Raises NeedsFullConversion."""

Conversion = Callable[[Any], Any]
"""Converts a coerced, non-null value to what a resolver receives. Raises NeedsFullConversion."""

Literal = Callable[[Any, ValueNode], Maker | None]
"""Prepares a literal of a leaf type. Returns None if the literal is invalid, or its value is not constant."""


# Types of defaults that the constructor may apply: immutable, and equal to the default in the GraphQL schema.
_KEPT_DEFAULTS = (type(None), bool, int, float, str, Enum)


class NeedsFullConversion(Exception):  # noqa: N818 - no error
    """The value is not the common case: graphql-core and Strawberry must coerce and convert it."""


def prepared(node: ValueNode, type_: Any, python_type: Any, literal: Literal) -> Maker | None:
    """Return the function that makes the value of `node` for a Strawberry resolver.

    Args:
        node: the value in the document.
        type_: the GraphQL type at its position.
        python_type: the corresponding Strawberry type.
        literal: prepares leaf values.

    Returns:
        None if the value needs the generic path.
    """
    if isinstance(node, VariableNode):
        conversion = converted(type_, python_type)
        may_be_null = not is_non_null_type(type_)
        return None if conversion is None else _variable(node.name.value, conversion, may_be_null=may_be_null)
    if is_non_null_type(type_):
        inner = prepared(node, type_.of_type, python_type, literal)
        return None if inner is None or isinstance(node, NullValueNode) else _required(inner)
    python_type = _unwrapped(python_type)
    maker: Maker | None = None
    if is_wrapped(python_type):
        pass
    elif isinstance(node, NullValueNode):
        maker = constant(None)
    elif is_leaf_type(type_):
        maker = literal(type_, node)
    elif isinstance(node, ListValueNode) and isinstance(python_type, StrawberryList):
        maker = _list(node, type_.of_type, python_type, literal)
    elif isinstance(node, ObjectValueNode) and isinstance(type_, GraphQLInputObjectType):
        maker = _object(node, type_, literal)
    return maker


def is_wrapped(python_type: Any) -> bool:
    """Return whether Strawberry wraps a leaf value of this type in another object."""
    python_type = _unwrapped(python_type)
    return isinstance(python_type, StrawberryMaybe) or python_type is GlobalID


def _unwrapped(python_type: Any) -> Any:
    while True:
        if isinstance(python_type, LazyType):
            python_type = python_type.resolve_type()
        elif isinstance(python_type, StrawberryOptional) and not isinstance(python_type, StrawberryMaybe):
            python_type = python_type.of_type
        else:
            return python_type


def _variable(name: str, conversion: Conversion, *, may_be_null: bool) -> Maker:
    def variable(variables: Mapping[str, Any]) -> Any:
        value = variables.get(name, Undefined)
        if value is Undefined or (value is None and not may_be_null):
            raise NeedsFullConversion
        return None if value is None else conversion(value)

    return variable


def constant(value: Any) -> Maker:
    """Return a maker that returns `value` at each run; `value` must be immutable."""

    def always(variables: Mapping[str, Any]) -> Any:
        return value

    return always


def _empty_list(variables: Mapping[str, Any]) -> list[Any]:
    return []


def _required(maker: Maker) -> Maker:
    def required(variables: Mapping[str, Any]) -> Any:
        value = maker(variables)
        if value is None:
            raise NeedsFullConversion
        return value

    return required


def _list(node: ListValueNode, item_type: Any, python_type: StrawberryList, literal: Literal) -> Maker | None:
    found = [prepared(one, item_type, python_type.of_type, literal) for one in node.values]
    makers = [maker for maker in found if maker is not None]
    if len(makers) < len(found):
        return None
    return lambda variables: [maker(variables) for maker in makers]


def _object(node: ObjectValueNode, type_: GraphQLInputObjectType, literal: Literal) -> Maker | None:
    definition = _plain_definition(type_)
    if definition is None:
        return None
    given = {one.name.value: one.value for one in node.fields}
    makers: list[tuple[str, Maker]] = []
    absent: dict[str, Any] = {}
    for name, field in type_.fields.items():
        own = field.extensions[STRAWBERRY]
        if name in given:
            maker = prepared(given[name], field.type, own.resolve_type(type_definition=definition), literal)
            if maker is None:
                return None
            makers.append((own.python_name, maker))
        elif field.default_value == []:
            makers.append((own.python_name, _empty_list))
        elif field.default_value is not Undefined and not isinstance(own.default_value, _KEPT_DEFAULTS):
            return None
        elif _has_no_default(own):
            absent[own.python_name] = None
    made = definition.origin

    def instance(variables: Mapping[str, Any]) -> Any:
        return made(**absent, **{name: maker(variables) for name, maker in makers})

    return instance


# ---------------------------------------------------------------- values that graphql-core has coerced


def converted(type_: Any, python_type: Any, known: dict[str, list[Conversion]] | None = None) -> Conversion | None:
    """Return the conversion of coerced, non-null values to what resolvers receive.

    Args:
        type_: the GraphQL type.
        python_type: the corresponding Strawberry type.
        known: the conversions of the enclosing input objects, by type name: input objects can be recursive.

    Returns:
        None if values of the type need the generic path.
    """
    if is_non_null_type(type_):
        type_ = type_.of_type
    known = {} if known is None else known
    python_type = _unwrapped(python_type)
    conversion: Conversion | None = None
    if is_wrapped(python_type):
        pass
    elif is_leaf_type(type_):
        conversion = _as_it_is
    elif is_list_type(type_) and isinstance(python_type, StrawberryList):
        inner = converted(type_.of_type, python_type.of_type, known)
        conversion = None if inner is None else _each(inner)
    elif isinstance(type_, GraphQLInputObjectType):
        conversion = _instances(type_, known)
    return conversion


def _as_it_is(value: Any) -> Any:
    return value


def _each(conversion: Conversion) -> Conversion:
    if conversion is _as_it_is:
        return list  # each run needs a new list
    return lambda values: [None if value is None else conversion(value) for value in values]


def _instances(type_: GraphQLInputObjectType, known: dict[str, list[Conversion]]) -> Conversion | None:
    if type_.name in known:
        return _recursive(known[type_.name])
    definition = _plain_definition(type_)
    if definition is None:
        return None
    own = known[type_.name] = []
    absent: dict[str, Any] = {}
    parts: list[tuple[str, str, Conversion | None]] = []
    for name, field in type_.fields.items():
        python_field = field.extensions[STRAWBERRY]
        python_type = python_field.resolve_type(type_definition=definition)
        maybe = isinstance(python_type, StrawberryMaybe)
        inner = converted(field.type, python_type.of_type if maybe else python_type, known)
        if inner is None:
            return None
        may_be_null = not maybe or isinstance(python_type.of_type, StrawberryOptional)
        parts.append((name, python_field.python_name, _part(inner, maybe=maybe, may_be_null=may_be_null)))
        if _has_no_default(python_field):
            absent[python_field.python_name] = None
    made = definition.origin

    def instance(value: Any) -> Any:
        given = dict(absent)
        for name, python_name, part in parts:
            if name in value:
                one = value[name]
                given[python_name] = one if part is None else part(one)
        return made(**given)

    own.append(instance)
    return instance


def _recursive(conversions: list[Conversion]) -> Conversion:
    def convert(value: Any) -> Any:
        return conversions[0](value)  # the enclosing object has been prepared before the first run

    return convert


def _part(conversion: Conversion, *, maybe: bool, may_be_null: bool) -> Conversion | None:
    """Return the conversion of one input field, or None if its values need none.

    With `maybe`, the resolver distinguishes null from an absent field (`strawberry.Maybe`).
    """
    if conversion is _as_it_is and not maybe:
        return None

    def part(value: Any) -> Any:
        if value is None and not may_be_null:
            raise NeedsFullConversion  # Strawberry words this error
        inner = None if value is None else conversion(value)
        return Some(inner) if maybe else inner

    return part


def _plain_definition(type_: GraphQLInputObjectType) -> StrawberryObjectDefinition | None:
    """Return the definition of an input object that its constructor makes from the fields present, else None."""
    definition = type_.extensions.get(STRAWBERRY)
    if not isinstance(definition, StrawberryObjectDefinition) or definition.from_input is not None:
        return None
    return definition if definition.is_input and not definition.is_one_of else None


def _has_no_default(field: Any) -> bool:
    """Return whether the constructor requires a value. Strawberry passes None if the client sends none."""
    return field.default_value is MISSING and field.default_factory is MISSING
