"""The length of a list, from the values of its slicing arguments in the document or in variables."""

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

from graphql import (
    ArgumentNode,
    GraphQLInt,
    IntValueNode,
    ListValueNode,
    ObjectValueNode,
    ValueNode,
    VariableNode,
)

from graph.analysis.field_facts import LENGTH_MAX, Slicing
from graph.analysis.loads import Formula, Length, Reading, VariableLength


def length_of(slicing: Slicing, arguments: Sequence[ArgumentNode], formula: Formula) -> Length:
    """Return the length of a list: the largest length that its arguments set, or else the assumed length.

    A length that depends on variables is added to the readings of `formula`.
    """
    given: list[int] = []
    readings: list[int] = []
    for path in slicing.paths:
        value = next((one.value for one in arguments if one.name.value == path[0]), None)
        if value is None:
            continue
        value, within = _value_at(path[1:], value)
        if isinstance(value, VariableNode):
            reading = INTEGER if len(path) == 1 else _items_at(within, slicing.assumed)
            what = "length" if len(path) == 1 else f"items of {'.'.join(within)}"
            if reading.dearest:
                readings.append(formula.read(value.name.value, what, reading))
            else:
                given.append(0)
        else:
            length = _length_written(value, is_list=len(path) > 1)
            if length is not None:
                given.append(length)
    written = max(given, default=None)
    if readings:
        return VariableLength(written, tuple(readings), slicing.assumed)
    return slicing.assumed if written is None else written


def _value_at(path: tuple[str, ...], value: ValueNode | None) -> tuple[ValueNode | None, tuple[str, ...]]:
    """Return the value at a path within an input object, and the part of the path that lies within a variable."""
    while path and isinstance(value, ObjectValueNode):
        value = next((one.value for one in value.fields if one.name.value == path[0]), None)
        path = path[1:]
    return value, path


def _length_written(value: ValueNode | None, *, is_list: bool) -> int | None:
    if is_list:
        if isinstance(value, ListValueNode):
            return len(value.values)
        return None if value is None else 1
    return integer_of(int(value.value)) if isinstance(value, IntValueNode) else None


def integer_of(value: object) -> int | None:
    """Return the length that the value of a slicing argument sets, or None if the value is null.

    The value is coerced as the executor coerces it: GraphQL accepts 100.0 and 1e2 as the Int 100. The field itself
    refuses a value that is not an Int or is out of range, with a better message; here such a value counts as the
    maximum length.
    """
    if value is None:
        return None
    try:
        length = value if type(value) is int else GraphQLInt.coerce_input_value(value)
    except Exception:  # noqa: BLE001 - a value of any other kind is not a length
        return LENGTH_MAX
    return min(max(length, 0), LENGTH_MAX)


INTEGER = Reading(integer_of, LENGTH_MAX)


@cache
def _items_at(path: tuple[str, ...], most: int) -> Reading:
    """Return the reading of the number of items, at most `most`, of the list at a path within a variable."""
    dearest: Any = [None] * most
    for name in reversed(path):
        dearest = {name: dearest}
    return Reading(partial(_items, path), dearest)


def _items(path: Sequence[str], value: Any) -> int | None:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if value is None:
        return None
    return len(value) if isinstance(value, list) else 1
