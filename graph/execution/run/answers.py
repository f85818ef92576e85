"""Edges of a whole level: the keys that its rows have, and what a field comes to by its loader's answers."""

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
    """Return the keys in the rows; for a row that has none, what its error then stands by in `errors`."""
    try:
        return rows.columns[name] if isinstance(rows, Table) else [row[name] for row in rows]
    except Exception:  # noqa: BLE001 - told row by row
        return [_key(row, name, errors) for row in rows]


def _key(row: Any, name: str, errors: dict[Any, Exception]) -> Any:
    try:
        return row[name]
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the row is the field's error
        raised = FieldError(caught(error))
        errors[raised] = error
        return raised


def hashable(keys: Sequence[Any], errors: dict[Any, Exception]) -> list[Any]:
    """Return keys by which something can be looked up; for one that is none, what its error stands by in `errors`."""
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


def all_loaded(plan: FieldPlan, loading: BoundEdge, answers: dict[Any, Any], keys: list[Any]) -> list[Any]:
    """Return the value of a field for each of `keys`, as `loaded` does for one."""
    values = [answers[key] for key in keys]
    if loading.wrap is not None and all_present(values):
        with suppress(Exception):  # which of them it was, and why, comes out below
            return list(map(loading.wrap, values, keys))
    return [loaded(plan, loading, value, key) for value, key in zip(values, keys, strict=True)]


def loaded(plan: FieldPlan, loading: BoundEdge, value: Any, key: Any) -> Any:
    """Return what a field comes to where its loader has answered `value` for `key`, or what is wrong with it."""
    if isinstance(value, Exception):
        return FieldError(value)
    try:
        if value is None:
            missing = plan.declaration.missing if isinstance(plan.declaration, RowEdge) else None
            return None if missing is None else FieldError(missing())
        return value if loading.wrap is None else loading.wrap(value, key)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the value is the field's error
        return FieldError(caught(error))
