"""Input objects and lists that are written in a document with variables in them, prepared when the plan is made.

`posts(filter: {views: {gte: $views}})` says everything about its argument but one number. graphql-core nevertheless
coerces the whole literal at each run, and Strawberry then goes through the coerced value and makes its input objects.
Prepared is a tree of makers instead: the constants in it were coerced once, a variable is looked up, and each run gets
objects and lists of its own, for a resolver may change them.

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
    is_non_null_type,
)
from strawberry.relay import GlobalID
from strawberry.types.base import StrawberryList, StrawberryMaybe, StrawberryObjectDefinition, StrawberryOptional
from strawberry.types.lazy_type import LazyType

from graph.execution.declarations import STRAWBERRY

Maker = Callable[[Mapping[str, Any]], Any]
"""Make a value from the coerced variables; raises NotPlain."""

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
    if isinstance(python_type, StrawberryMaybe) or python_type is GlobalID:
        pass  # Strawberry makes another object of it
    elif isinstance(node, NullValueNode):
        maker = constant(None)
    elif is_leaf_type(type_):
        maker = _variable(node.name.value) if isinstance(node, VariableNode) else literal(type_, node)
    elif isinstance(node, ListValueNode) and isinstance(python_type, StrawberryList):
        maker = _list(node, type_.of_type, python_type, literal)
    elif isinstance(node, ObjectValueNode) and isinstance(type_, GraphQLInputObjectType):
        maker = _object(node, type_, literal)
    return maker


def _unwrapped(python_type: Any) -> Any:
    while True:
        if isinstance(python_type, LazyType):
            python_type = python_type.resolve_type()
        elif isinstance(python_type, StrawberryOptional) and not isinstance(python_type, StrawberryMaybe):
            python_type = python_type.of_type
        else:
            return python_type


def _variable(name: str) -> Maker:
    def variable(variables: Mapping[str, Any]) -> Any:
        try:
            return variables[name]
        except KeyError:
            raise NotPlain from None

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
    definition = type_.extensions.get(STRAWBERRY)
    if not isinstance(definition, StrawberryObjectDefinition) or definition.from_input is not None:
        return None
    if not definition.is_input or definition.is_one_of:
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
        elif own.default_value is MISSING and own.default_factory is MISSING:
            absent[own.python_name] = None  # as Strawberry has it
    made = definition.origin

    def instance(variables: Mapping[str, Any]) -> Any:
        return made(**absent, **{name: maker(variables) for name, maker in makers})

    return instance
