"""Every place of the schema that accepts a string or an id, with an operation that puts a value there."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_composite_type,
    is_leaf_type,
    is_required_argument,
    is_required_input_field,
)

Path = tuple[str, ...]
Fill = Callable[[str, str], Any]


@dataclass(frozen=True)
class Place:
    """A place for a string: the operation type, its root field, the path into the arguments, and the scalar."""

    kind: str
    field: str
    path: Path
    scalar: str

    def __str__(self) -> str:
        return f"{self.field}({'.'.join(self.path)})"


def places(schema: GraphQLSchema, *scalars: str) -> Iterator[Place]:
    """Yield every place in the arguments of root fields that accepts one of `scalars`."""
    for kind, root in (("query", schema.query_type), ("mutation", schema.mutation_type)):
        assert root is not None
        for name, field in root.fields.items():
            for argument, definition in field.args.items():
                for path, scalar in _leaves(definition.type, (argument,)):
                    if scalar in scalars:
                        yield Place(kind, name, path, scalar)


def _leaves(type_: GraphQLInputType, path: Path) -> Iterator[tuple[Path, str]]:
    named = get_named_type(type_)
    if isinstance(named, GraphQLInputObjectType):
        for name, field in named.fields.items():
            yield from _leaves(field.type, (*path, name))
    else:
        yield path, named.name


def operation(schema: GraphQLSchema, place: Place, value: str, fill: Fill) -> tuple[str, dict[str, Any]]:
    """Return an operation with variables that has `value` at `place`; `fill` returns the other required values."""
    root = schema.query_type if place.kind == "query" else schema.mutation_type
    assert root is not None
    field = root.fields[place.field]
    given = {
        name: _value(argument.type, (name,), place, value, fill)
        for name, argument in field.args.items()
        if name == place.path[0] or is_required_argument(argument)
    }
    head = ", ".join(f"${name}: {field.args[name].type}" for name in given)
    call = ", ".join(f"{name}: ${name}" for name in given)
    return f"{place.kind}({head}) {{ {place.field}({call}) {selection(field)} }}", given


def _value(type_: GraphQLInputType, path: Path, place: Place, value: str, fill: Fill) -> Any:
    if isinstance(type_, GraphQLNonNull):
        return _value(type_.of_type, path, place, value, fill)
    if isinstance(type_, GraphQLList):
        return [_value(type_.of_type, path, place, value, fill)]
    if isinstance(type_, GraphQLInputObjectType):
        return {
            name: _value(field.type, (*path, name), place, value, fill)
            for name, field in type_.fields.items()
            if (*path, name) == place.path[: len(path) + 1] or is_required_input_field(field)
        }
    if path == place.path:
        return value
    if isinstance(type_, GraphQLEnumType):
        return next(iter(type_.values))
    return fill(path[-1], get_named_type(type_).name)


def selection(field: GraphQLField) -> str:
    """Select the leaves of a field's type, and one level below."""
    target = get_named_type(field.type)
    if not isinstance(target, GraphQLObjectType):
        return "{ __typename id }" if is_composite_type(target) else ""
    leaves = [name for name, one in target.fields.items() if is_leaf_type(get_named_type(one.type)) and not one.args]
    below = [
        f"{name} {{ {' '.join(leaf for leaf, two in inner.fields.items() if is_leaf_type(get_named_type(two.type)))} }}"
        for name, one in target.fields.items()
        if isinstance(inner := get_named_type(one.type), GraphQLObjectType)
        and not one.args
        and any(is_leaf_type(get_named_type(two.type)) for two in inner.fields.values())
    ]
    return "{ __typename " + " ".join([*leaves, *below]) + " }"


def fresh_key() -> str:
    """Return an unused idempotency key."""
    return str(uuid4())
