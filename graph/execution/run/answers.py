"""Edges of a whole level: the keys of its rows, and the field values that result from the loaded values."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from graph.execution.declarations import BoundEdge, RowEdge
from graph.execution.plan.plan import FieldPlan
from graph.execution.plan.scalar_output import FieldError
from graph.execution.run.frames import all_present
from graph.execution.run.tables import Table
from graph.execution.traces import caught


def keys_of(rows: Sequence[Any], name: str, errors: dict[Any, Exception]) -> list[Any]:
    """Return the key of each row. A row without a key gets a `FieldError` as its key, which `errors` maps to the error.

    Args:
        rows: the rows of a level.
        name: the key's column.
        errors: receives the errors.
    """
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
