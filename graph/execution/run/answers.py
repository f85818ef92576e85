"""The values of a level's fields: the keys of its edges, what the loaded values become, and what needs no loader."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import attrgetter, itemgetter
from typing import Any

from graph.execution.declarations import BoundEdge, Column, Computed, Derived, RowEdge
from graph.execution.plan.levels import FieldPlan
from graph.execution.plan.scalar_output import FieldError
from graph.execution.run.frames import Frame, all_present
from graph.execution.run.tables import Table
from graph.execution.traces import caught


def keys_of(rows: Sequence[Any], name: str, errors: dict[Any, Exception]) -> list[Any]:
    """Return the key of each row; a row without one gets a `FieldError`, which `errors` maps to the error."""
    try:
        return rows.columns[name] if isinstance(rows, Table) else [row[name] for row in rows]
    except Exception:  # noqa: BLE001 - the loop below finds the errors row by row
        return [_key(row, name, errors) for row in rows]


def _key(row: Any, name: str, errors: dict[Any, Exception]) -> Any:
    try:
        return row[name]
    except Exception as error:  # noqa: BLE001 - any exception of a row is the field's error
        raised = FieldError(caught(error))
        errors[raised] = error
        return raised


def hashable(keys: Sequence[Any], errors: dict[Any, Exception]) -> list[Any]:
    """Return the keys; in place of an unhashable key, a `FieldError`, which `errors` maps to the error."""
    usable = []
    for key in keys:
        try:
            hash(key)
        except TypeError as error:
            raised = FieldError(caught(error))
            errors[raised] = error
            usable.append(raised)
        else:
            usable.append(key)
    return usable


def all_loaded(plan: FieldPlan, bound: BoundEdge, answers: dict[Any, Any], keys: list[Any]) -> list[Any]:
    """Return the value of a field for each of `keys`, as `loaded` does for one."""
    values = [answers[key] for key in keys]
    if bound.wrap is not None and all_present(values):
        with suppress(Exception):  # the loop below finds the values that raise, and their errors
            return list(map(bound.wrap, values, keys))
    return [loaded(plan, bound, value, key) for value, key in zip(values, keys, strict=True)]


def loaded(plan: FieldPlan, bound: BoundEdge, value: Any, key: Any) -> Any:
    """Return the value of a field, or a `FieldError`, given the `value` that its loader returned for `key`."""
    if isinstance(value, Exception):
        return FieldError(value)
    try:
        if value is None:
            missing = plan.declaration.missing if isinstance(plan.declaration, RowEdge) else None
            return None if missing is None else FieldError(missing())
        return value if bound.wrap is None else bound.wrap(value, key)
    except Exception as error:  # noqa: BLE001 - any exception of `wrap` or `missing` is the field's error
        return FieldError(caught(error))


def simple_values(frame: Frame, plan: FieldPlan) -> list[Any]:
    """Return the values of a field that is a function of each object or row, an attribute, or a column."""
    declared = plan.declaration
    of: Callable[[Any], Any]
    sources: Sequence[Any]
    if isinstance(declared, Computed):
        of, sources = declared.of, frame.rows
    elif isinstance(declared, Derived):
        of, sources = declared.of, frame.objects
    elif isinstance(declared, Column):  # a column that holds an object, for example JSON
        of, sources = itemgetter(frame.level.rows.prefix + declared.name), frame.rows
    else:
        of, sources = attrgetter(plan.attribute), frame.objects
    values: list[Any] = []
    pending = iter(sources)
    while True:
        try:
            values.extend(map(of, pending))  # values before an error stay
        except Exception as error:  # noqa: BLE001 - any exception of the function is the field's error
            values.append(FieldError(caught(error)))
        else:
            return values
