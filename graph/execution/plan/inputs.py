"""Input objects and lists with variables in them, or that are variables, prepared when the plan is made.

`posts(filter: {views: {gte: $views}})` says everything about its argument but one number. graphql-core nevertheless
coerces the whole literal at each run, and Strawberry then goes through the coerced value and makes its input objects.
Prepared is a tree of makers instead: the constants in it were coerced once, a variable is looked up, and each run gets
objects and lists of its own, for a resolver may change them.

Where a variable holds a whole input object, as clients mostly send them, graphql-core has coerced it, and what is
prepared makes Strawberry's objects of it: `convert_argument` finds out at each run by which names and types.

A maker knows the plain case alone. Where a variable is not given, or is null where it may not be, it raises `NotPlain`,
and the argument goes the long way: defaults and errors are graphql-core's and Strawberry's.
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
from strawberry.relay import GlobalID
from strawberry.types.base import StrawberryList, StrawberryMaybe, StrawberryObjectDefinition, StrawberryOptional
from strawberry.types.lazy_type import LazyType
from strawberry.types.maybe import Some

from graph.execution.declarations import STRAWBERRY

Maker = Callable[[Mapping[str, Any]], Any]
"""Make a value from the coerced variables; raises NotPlain."""

Conversion = Callable[[Any], Any]
"""Make of a coerced value what a resolver takes; raises NotPlain."""

Literal = Callable[[Any, ValueNode], Maker | None]
"""Prepare a leaf's literal of a type, or say by None that it is none of the type's, or not one for every run."""


# Defaults of the class, which are those of the schema too and nobody's to change: they may stand as they are.
_KEPT_DEFAULTS = (type(None), bool, int, float, str, Enum)


class NotPlain(Exception):  # noqa: N818 - no error
    """What graphql-core and Strawberry should see to."""


def prepared(node: ValueNode, type_: Any, python_type: Any, literal: Literal) -> Maker | None:
    """Return what makes the value that `node` writes, as Strawberry's resolvers take it; None where nothing can.

    `type_` is the GraphQL type at its place, `python_type` the same as Strawberry has it.
    """
    if is_non_null_type(type_):
        inner = prepared(node, type_.of_type, python_type, literal)
        return None if inner is None or isinstance(node, NullValueNode) else _required(inner)
    python_type = _unwrapped(python_type)
    maker: Maker | None = None
    if isinstance(node, VariableNode):
        conversion = converted(type_, python_type)
        maker = None if conversion is None else _variable(node.name.value, conversion)
    elif is_wrapped(python_type):
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
    """Say whether Strawberry makes another object of a leaf of this type."""
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


def _variable(name: str, conversion: Conversion) -> Maker:
    def variable(variables: Mapping[str, Any]) -> Any:
        try:
            value = variables[name]
        except KeyError:
            raise NotPlain from None
        return None if value is None else conversion(value)

    return variable


def constant(value: Any) -> Maker:
    """Return what gives `value`, which nobody can change, at each run."""

    def always(variables: Mapping[str, Any]) -> Any:
        return value

    return always


def _empty_list(variables: Mapping[str, Any]) -> list[Any]:
    return []


def _required(maker: Maker) -> Maker:
    def required(variables: Mapping[str, Any]) -> Any:
        value = maker(variables)
        if value is None:
            raise NotPlain
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
    """Return what makes of a coerced value of a type, which is not null, what resolvers take; None where nothing can.

    `known` has the input objects that this one is part of: they may hold each other.
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
        return list  # a list of its own
    return lambda values: [None if value is None else conversion(value) for value in values]


def _instances(type_: GraphQLInputObjectType, known: dict[str, list[Conversion]]) -> Conversion | None:
    if type_.name in known:
        return _recursive(known[type_.name])
    definition = _plain_definition(type_)
    if definition is None:
        return None
    own = known[type_.name] = []
    absent: dict[str, Any] = {}
    parts: list[tuple[str, str, Conversion]] = []
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
        given = {python_name: part(value[name]) for name, python_name, part in parts if name in value}
        return made(**{**absent, **given})

    own.append(instance)
    return instance


def _recursive(conversions: list[Conversion]) -> Conversion:
    def convert(value: Any) -> Any:
        return conversions[0](value)  # it is there by now

    return convert


def _part(conversion: Conversion, *, maybe: bool, may_be_null: bool) -> Conversion:
    """Return the conversion of one field, which may be null, and may be told apart from one that is not given."""
    if conversion is _as_it_is and not maybe:
        return conversion

    def part(value: Any) -> Any:
        if value is None and not may_be_null:
            raise NotPlain  # Strawberry says so in its own words
        inner = None if value is None else conversion(value)
        return Some(inner) if maybe else inner

    return part


def _plain_definition(type_: GraphQLInputObjectType) -> StrawberryObjectDefinition | None:
    """Return Strawberry's definition of an input object that is made by its constructor of all that is given."""
    definition = type_.extensions.get(STRAWBERRY)
    if not isinstance(definition, StrawberryObjectDefinition) or definition.from_input is not None:
        return None
    return definition if definition.is_input and not definition.is_one_of else None


def _has_no_default(field: Any) -> bool:
    """Say whether the constructor needs a value, for which Strawberry takes None where none is given."""
    return field.default_value is MISSING and field.default_factory is MISSING
