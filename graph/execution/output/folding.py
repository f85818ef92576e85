"""Folding: makes response data straight from loaded rows, where no field below them waits.

A general run keeps the values of all levels until the response is complete, because some of them may have to be awaited
and any of them may be an error. Where a plan shows that nothing below some rows waits, one function for each level is
enough: it computes the values of the level's kept fields, and passes them to the level's generated function. What
remains is decided in the run: an edge folds if the statement of the rows has brought its results
(`HoldingLoader.held`), a derived field if its value is ready (`Derived.ready`).

Folding knows no errors and no nulls of objects. At the first exception the caller leaves the operation to a general
run, which finds everything loaded, and reports the errors.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any

from graph.execution.declarations import BoundEdge, Derived, RowEdge, row_of
from graph.execution.output.completion import table_output
from graph.execution.output.generation import completer
from graph.execution.plan.levels import FieldKind, FieldPlan, Level, Rows
from graph.execution.plan.scalar_output import NeedsErrorPath
from graph.execution.run.frames import ABSENT
from graph.execution.run.running import Run
from graph.execution.run.tables import Table

Folder = Callable[[Run, Any], list[Any]]
"""Takes the run and the sources of a level, or of the level of a field, and returns the response data of each."""


def folder(level: Level) -> Folder | None:
    """Return the function that folds a level, or None if the level needs a general run. It is made once."""
    if level.is_folded is None:
        # The function does not refer to its level, which would be a reference cycle.
        level.folder = _folder(level)
        level.is_folded = level.folder is not None
    return level.folder


def folds(root: Level) -> bool:
    """Return whether one read may load all of a root level. It is decided once for each level.

    The level's only kept field must be an edge. The levels below it must fold, and the statement of the edge must be
    able to bring the results of all edges there.
    """
    if root.is_folded is None:
        edge = root.single_root_edge
        below = edge.place.only if edge is not None and edge.place is not None and not edge.lists else None
        root.is_folded = (
            edge is not None
            and below is not None
            and folder(below) is not None
            and {id(one) for one in _edges(below)} <= {id(one) for one, _ in edge.prefetchable}
        )
    return root.is_folded


def _edges(level: Level) -> Iterator[FieldPlan]:
    for plan in level.kept:
        if plan.kind is FieldKind.EDGE:
            yield plan
        if plan.place is not None and plan.place.only is not None:
            yield from _edges(plan.place.only)


def folded(run: Run, level: Level, plan: FieldPlan, bound: BoundEdge, value: Any) -> dict[str, Any] | None:
    """Return the response data of a root level whose only kept field is an edge.

    Args:
        run: the run.
        level: the root level.
        plan: its only kept field; the level folds.
        bound: the edge, bound.
        value: what its loader returned.

    Returns:
        None if there is no row, where a field has an error, or where the level needs a general run.
    """
    assert plan.place is not None
    assert plan.place.only is not None
    below = plan.place.only.folder
    if below is None or isinstance(value, ABSENT):
        return None
    try:
        source = value if bound.wrap is None else bound.wrap(value, bound.key)
        data: dict[str, Any] = (level.complete or completer(level))([run.root_value], below(run, [source]))[0]
    except Exception:  # noqa: BLE001 - the general run meets the same error, and reports it with its path
        return None
    return data


def _folder(level: Level) -> Folder | None:
    if level.needs_paths:
        return None
    kept = []
    for plan in level.kept:
        one = _field_folder(level.rows, plan)
        if one is None:
            return None
        kept.append(one)
    complete = level.complete or completer(level)
    if level.uses_rows and not level.rows.bare:
        return _of_objects(complete, kept)
    if not kept:
        return _of_leaves(complete)
    if len(kept) == 1:
        return _of_one(complete, kept[0])

    def fold(run: Run, sources: Any) -> list[Any]:
        return complete(sources, *[one(run, sources) for one in kept])

    return fold


def _of_leaves(complete: Callable[..., list[Any]]) -> Folder:
    def fold(_: Run, sources: Any) -> list[Any]:
        return complete(sources)

    return fold


def _of_objects(complete: Callable[..., list[Any]], kept: Sequence[Folder]) -> Folder:
    def fold(run: Run, sources: Any) -> list[Any]:
        return complete(list(map(row_of, sources)), *[one(run, sources) for one in kept])

    return fold


def _of_one(complete: Callable[..., list[Any]], kept: Folder) -> Folder:
    def fold(run: Run, sources: Any) -> list[Any]:
        return complete(sources, kept(run, sources))

    return fold


def _field_folder(rows: Rows, plan: FieldPlan) -> Folder | None:
    """Return the function that makes the values of a kept field, or None if it may have to wait."""
    declared = plan.declaration
    if plan.kind is FieldKind.ATTRIBUTE:
        return _leaf(attrgetter(plan.attribute)) if plan.place is None else None
    if plan.place is None:
        return _leaf(declared.ready) if isinstance(declared, Derived) and declared.ready is not None else None
    below = plan.place.only
    if below is None or plan.place.needs_paths or not (below.rows.bare or below.type_.is_type_of is None):
        return None
    inner = folder(below)
    if inner is None or plan.kind is FieldKind.JOINED:
        return inner if rows.bare else None
    if isinstance(declared, RowEdge):
        return _edge(rows, plan, declared, inner)
    return _derived(plan, declared, below, inner) if isinstance(declared, Derived) else None


def _derived(plan: FieldPlan, declared: Derived, below: Level, inner: Folder) -> Folder | None:
    if declared.table:
        return _ending_table(declared.of, below) if plan.ends_in_tables else _table(plan, declared.of, inner)
    if declared.ready is None or plan.lists > 1:
        return None
    return _list(declared.ready, inner) if plan.lists else _object(declared.ready, inner)


def _leaf(of: Callable[[Any], Any]) -> Folder:
    def fold(_: Run, sources: Any) -> list[Any]:
        return list(map(of, sources))

    return fold


def _object(of: Callable[[Any], Any], inner: Folder) -> Folder:
    def fold(run: Run, sources: Any) -> list[Any]:
        return inner(run, list(map(of, sources)))

    return fold


def _list(of: Callable[[Any], Any], inner: Folder) -> Folder:
    def fold(run: Run, sources: Any) -> list[Any]:
        lists = list(map(of, sources))
        return _parted(inner(run, list(chain.from_iterable(lists))), list(map(len, lists)))

    return fold


def _edge(rows: Rows, plan: FieldPlan, declared: RowEdge, inner: Folder) -> Folder | None:
    if plan.lists or declared.key is None or not rows.bare:
        return None
    name, by_column = rows.prefix + declared.key, rows.by_column
    key_of = itemgetter(name)

    def fold(run: Run, sources: Any) -> list[Any]:
        bound = run.bound_edges[id(plan)]  # bound together with the edge at the root
        keys = sources.columns[name] if by_column else list(map(key_of, sources))
        distinct = keys if len(keys) == 1 else list(dict.fromkeys(keys))
        if None in distinct:
            raise NeedsErrorPath
        held: Callable[[Sequence[Any]], list[Any]] = getattr(bound.loader, "held")  # noqa: B009 - a `HoldingLoader` has it
        values = held(distinct)
        done = inner(run, values if bound.wrap is None else list(map(bound.wrap, values, distinct)))
        if len(distinct) == len(keys):
            return done
        by_key = dict(zip(distinct, done, strict=True))  # each object is completed once; all its parents share it
        return [by_key[key] for key in keys]

    return fold


def _ending_table(of: Callable[[Any], Any], level: Level) -> Folder:
    def fold(run: Run, sources: Any) -> list[Any]:
        if len(sources) == 1:
            return [table_output(level, of(sources[0]), run.text)]
        return [table_output(level, of(one), run.text) for one in sources]

    return fold


def _table(plan: FieldPlan, of: Callable[[Any], Any], inner: Folder) -> Folder:
    def fold(run: Run, sources: Any) -> list[Any]:
        tables = list(map(of, sources))
        shared = run.shared_outputs(plan, tables) if plan.table_edges else None
        if shared and all(one.is_written for one in shared):
            return [one.answers(run.text) for one in shared]
        sizes = [table.size for table in tables]
        done = _parted(inner(run, Table.joined(tables, sum(sizes))), sizes)
        for place, one in zip(shared or (), done, strict=False):
            place.keep(one)
        return done

    return fold


def _parted(done: list[Any], sizes: Sequence[int]) -> list[list[Any]]:
    """Return the response data of the items of several lists, which have these sizes, as one list for each."""
    if len(sizes) == 1:
        return [done]
    lists, start = [], 0
    for size in sizes:
        lists.append(done[start : start + size])
        start += size
    return lists
