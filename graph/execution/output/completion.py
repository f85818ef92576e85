"""Completion: makes response data from frames, on a fast path by level, or on a slow path that tracks error paths.

Both paths complete the same resolved values. The fast path has no response paths and raises `NeedsErrorPath` at the
first error or invalid null. The slow path then completes the response position by position, as CompleteValue in the
GraphQL specification defines it: it collects every error with its path, and propagates nulls.
"""

from collections.abc import Sequence
from typing import Any

from graphql import GraphQLError, Undefined, is_list_type, is_non_null_type, located_error
from graphql.pyutils import Path, is_iterable

from graph.execution.declarations import Column, Computed, Prefixed
from graph.execution.output.generation import completer
from graph.execution.plan.levels import FieldKind, FieldPlan, Level
from graph.execution.plan.scalar_output import Broken, FieldError, NeedsErrorPath, coerced
from graph.execution.run.frames import Below, Frame
from graph.execution.run.shared_output import SharedOutput, Text
from graph.execution.run.tables import Columns, Table
from graph.execution.run.values import ABANDONED
from graph.execution.run.work import Needed

# ---------------------------------------------------------------- fast path


def completed(frame: Frame, text: Text | None = None) -> list[Any]:
    """Return the response data of all objects of a frame.

    Args:
        frame: the resolved frame.
        text: encodes a list of completed objects; its return value may stand in place of the list.

    Raises:
        NeedsErrorPath: some value is an error.
    """
    level = frame.level
    complete = level.complete or completer(level)
    sources = frame.rows or frame.sources
    kept = level.kept
    if not kept:
        return complete(sources)
    if len(kept) == 1:
        return complete(sources, _kept(frame, kept[0], text))
    return complete(sources, *[_kept(frame, plan, text) for plan in kept])


def _kept(frame: Frame, plan: FieldPlan, text: Text | None) -> Sequence[Any]:
    values: Sequence[Any] = frame.values[plan.slot]
    if plan.place is None:
        return values
    if plan.ends_in_tables:
        assert plan.place.only is not None
        return [table_output(plan.place.only, one, text) for one in values]
    below = frame.below[plan.slot]
    if below is None:
        return [one.answers(text) for one in values]
    answers = _answers(below, text)
    if type(values) is range:  # each object has exactly one child, in the same order
        return answers
    type_ = plan.type_
    done = [
        answers[link.start : link.stop] if type(link) is range else _assembled(link, type_, answers) for link in values
    ]
    for place, one in zip(below.shared_outputs, done, strict=False):
        place.keep(one)
    return done


def table_output(level: Level, table: Columns | FieldError, text: Text | None) -> Any:
    """Return the response data of a table's rows. Operations that share the table complete its rows only once.

    The first operation stores the completed rows. The second one encodes them, and later ones reuse the encoded text.
    No field below these rows loads anything, so their data is the same for all these operations.
    """
    if isinstance(table, FieldError):
        raise NeedsErrorPath
    written = table.shared_output
    if written is None:
        written = table.shared_output = {}
    known = written.get(level)
    if known is None:
        complete = level.complete or completer(level)
        known = written[level] = complete(Table(table.columns, table.size))
    elif text is not None and type(known) is list:
        known = written[level] = text(known)
    return known


def _answers(below: Below, text: Text | None) -> list[Any]:
    if below.table is None:
        return completed(below.frames[0], text)
    done = [completed(frame, text) for frame in below.frames]
    if any(isinstance(entry, FieldError) for entry in below.table):
        raise NeedsErrorPath
    return [done[entry[0]][entry[1]] for entry in below.table if not isinstance(entry, FieldError)]


def _assembled(link: Any, type_: Any, answers: list[Any]) -> Any:
    if type(link) is int:
        return answers[link]
    never_null = is_non_null_type(type_)
    if link is None:
        if never_null:
            raise NeedsErrorPath
        return None
    if type(link) is range:
        return answers[link.start : link.stop]
    if type(link) is not list:
        raise NeedsErrorPath  # an error, or a list whose iterator raised
    item_type = (type_.of_type if never_null else type_).of_type
    return [_assembled(item, item_type, answers) for item in link]


# ---------------------------------------------------------------- slow path, with error paths


class Completion:
    """Completes frames position by position.

    Attributes:
        errors: the field errors, in the order of the response.
        pending: the positions whose values are not resolved, and which no error has nulled: their frame, slot, index.
    """

    def __init__(self) -> None:
        self.errors: list[GraphQLError] = []
        self.pending: list[tuple[int, int, int]] = []

    def complete(self, frame: Frame, index: int, path: Path | None) -> dict[str, Any]:
        """Return the response data of one object.

        `index` is its number within the frame, and `path` its response path; None at the root.

        Raises:
            GraphQLError: a non-null field is null, so that the object itself becomes null. The error has the path of
                the field.
        """
        return {
            plan.key: self._field(frame, plan, index, Path(path, plan.key, frame.level.type_.name))
            for plan in frame.level.fields
        }

    def _field(self, frame: Frame, plan: FieldPlan, index: int, path: Path) -> Any:
        if plan.kind is FieldKind.TYPENAME:
            return frame.level.type_.name
        pending = len(self.pending)
        if plan.slot >= 0 and frame.values[plan.slot] is None:
            self.pending.append((id(frame), plan.slot, index))
            return None
        try:
            value, below = self._value(frame, plan, index)
            if isinstance(value, SharedOutput):
                return value.answers(None)  # shared output contains no error
            return self._completed(plan, plan.type_, value, below, path)
        except Exception as error:  # noqa: BLE001 - any exception of a resolver is the field's error
            self._handle(error, plan, plan.type_, path, pending)
            return None

    def _value(self, frame: Frame, plan: FieldPlan, index: int) -> tuple[Any, Below | None]:
        """Return a field's value for one object: a link and the objects below it, or a leaf value and None."""
        if plan.ends_in_tables:
            return self._table(plan, frame.values[plan.slot][index])
        if plan.slot >= 0:
            return frame.values[plan.slot][index], frame.below[plan.slot]
        row, declared, prefix = frame.rows[index], plan.declaration, frame.level.rows.prefix
        if plan.kind is FieldKind.JOINED:
            assert plan.place is not None
            assert plan.place.only is not None
            return 0, Below([Frame.of(plan.place.only, [row])])
        if isinstance(declared, Column):
            return row[prefix + declared.name], None
        if isinstance(declared, Prefixed):
            value = row[prefix + declared.name]
            return None if value is None else f"{declared.prefix}{value}", None
        assert isinstance(declared, Computed)
        return declared.of(row), None

    def _table(self, plan: FieldPlan, table: Columns | FieldError) -> tuple[Any, Below | None]:
        if isinstance(table, FieldError):
            return table, None
        assert plan.place is not None
        assert plan.place.only is not None
        return range(table.size), Below([Frame.of(plan.place.only, Table(table.columns, table.size))])

    def _completed(self, plan: FieldPlan, type_: Any, value: Any, below: Below | None, path: Path) -> Any:
        if value is ABANDONED:
            return value  # the error that has nulled a position above is reported alone
        if isinstance(value, FieldError):
            raise value.error
        if isinstance(value, Exception):
            raise value
        if is_non_null_type(type_):
            completed_value = self._completed(plan, type_.of_type, value, below, path)
            if completed_value is None:
                raise TypeError(f"Cannot return null for non-nullable field {plan.parent}.{plan.name}.")
            return completed_value
        if value is None or value is Undefined:
            return None
        if is_list_type(type_):
            return self._list(plan, type_.of_type, value, below, path)
        if below is None:
            return coerced(type_, value)
        return self._object(below, value, path)

    def _list(self, plan: FieldPlan, item_type: Any, value: Any, below: Below | None, path: Path) -> list[Any]:
        if not is_iterable(value):
            message = f"Expected Iterable, but did not find one for field '{plan.parent}.{plan.name}'."
            raise GraphQLError(message)
        items: list[Any] = []
        for index, item in enumerate(value):
            item_path, pending = path.add_key(index, None), len(self.pending)
            try:
                items.append(self._completed(plan, item_type, item, below, item_path))
            except Exception as error:  # noqa: BLE001 - any exception of an item is the item's error
                self._handle(error, plan, item_type, item_path, pending)
                items.append(None)
        if isinstance(value, Broken):
            raise value.error
        return items

    def _object(self, below: Below, number: int, path: Path) -> dict[str, Any]:
        frame, index = below.frames[0] if below.frames else None, number
        if below.table is not None:
            entry = below.table[number]
            if isinstance(entry, FieldError):
                raise entry.error
            frame, index = below.frames[entry[0]], entry[1]
        assert frame is not None
        return self.complete(frame, index, path)

    def _handle(self, error: Exception, plan: FieldPlan, type_: Any, path: Path, pending: int) -> None:
        """Add the error of a position, or raise it where that is non-null. What is pending below it is not needed."""
        located = located_error(error, plan.nodes, path.as_list())
        if is_non_null_type(type_):
            raise located
        self.errors.append(located)
        del self.pending[pending:]


class _Probe(Completion):
    """Finds out what is pending. It raises and locates no error of a field, so that these errors keep their traces."""

    def _completed(self, plan: FieldPlan, type_: Any, value: Any, below: Below | None, path: Path) -> Any:
        if value is not ABANDONED and isinstance(value, FieldError | Exception):
            raise NeedsErrorPath
        return super()._completed(plan, type_, value, below, path)

    def _handle(self, error: Exception, plan: FieldPlan, type_: Any, path: Path, pending: int) -> None:
        if is_non_null_type(type_):
            raise NeedsErrorPath from None
        del self.pending[pending:]


def needed(root: Frame) -> Needed:
    """Return what the response still needs of a root frame whose fields are not all resolved."""
    probe = _Probe()
    try:
        probe.complete(root, 0, None)
    except NeedsErrorPath:
        return frozenset()
    return {key for one in probe.pending for key in (one, one[:2], one[0])}
