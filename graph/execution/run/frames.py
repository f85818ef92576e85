"""The state of a running plan: one frame for all objects of one type at one place, with the values of their fields.

Values are kept as *links*. A link is the number of an object among all objects of its place, None for null, or a
`FieldError`; lists of objects become lists of links. The objects themselves are the sources of the frames below. All
resolved values are kept, so that a response can be completed twice without calling a resolver twice: first on the fast
path, and after an error once more on the slow path, with error paths.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import attrgetter, sub
from typing import Any

from graphql import GraphQLError, GraphQLObjectType, GraphQLSchema, Undefined, default_type_resolver, is_object_type
from graphql.pyutils import Path, inspect, is_awaitable

from graph.execution.declarations import class_of, row_of
from graph.execution.plan.levels import FieldPlan, Level
from graph.execution.plan.scalar_output import Broken, FieldError
from graph.execution.run.shared_output import SharedOutput
from graph.execution.run.tables import Columns, Table
from graph.execution.traces import caught

ABSENT = (type(None), type(Undefined), FieldError, Exception)
_size_of = attrgetter("size")


@dataclass(slots=True, eq=False)
class Where:
    """The response positions of the objects of a frame. It holds no frame, which would be a reference cycle.

    Attributes:
        above: the positions of the parents; None at the root.
        plan: the field whose values the objects are.
        origins: for each object the number of its parent, then its indexes in lists.
    """

    above: "Where | None"
    plan: FieldPlan
    origins: list[tuple[int, ...]]

    def path(self, index: int) -> Path:
        """Return the response path of an object."""
        parent, *keys = self.origins[index]
        above = None if self.above is None else self.above.path(parent)
        path = Path(above, self.plan.key, self.plan.parent.name)
        for key in keys:
            path = path.add_key(key, None)
        return path


@dataclass(slots=True, eq=False)
class Frame:
    """All objects of one level.

    Attributes:
        sources: the objects, or their rows where the level is bare.
        rows: their rows, where the level reads rows.
        values: the values of the kept fields, by slot: links for objects, resolved values for leaves.
        below: the objects that the links of a field refer to, by slot.
        where: their response positions, kept only where a resolver below uses its path; None at the root.
        wave: the number of dependent waits above them.
    """

    level: Level
    sources: Sequence[Any]
    rows: Sequence[Any] = ()
    values: list[Any] = field(default_factory=list)
    below: "list[Below | None]" = field(default_factory=list)
    where: Where | None = None
    wave: int = 0

    @classmethod
    def of(cls, level: Level, sources: Sequence[Any], where: Where | None = None) -> "Frame":
        """Make the frame of `sources`, which have the form `level.rows`."""
        kept = len(level.kept)
        rows: Sequence[Any] = ()
        if level.rows.bare:
            rows = sources
        elif level.uses_rows:
            rows = _rows_of(sources)
        return cls(level, sources, rows, [None] * kept, [None] * kept, where)

    @property
    def objects(self) -> Sequence[Any]:
        """The objects. Where the sources are bare rows, objects are made from them."""
        if not self.level.rows.bare:
            return self.sources
        made = class_of(self.level.type_)
        assert made is not None
        return [made(row=row) for row in self.rows]

    def values_below(self) -> int:
        """Return approximately how many values the response data of these objects has, with all levels below."""
        count = len(self.sources) * len(self.level.fields)
        for plan in self.level.kept:
            below = self.below[plan.slot]
            if below is not None:
                count += sum(frame.values_below() for frame in below.frames)
            elif plan.ends_in_tables and plan.place is not None and plan.place.only is not None:
                rows = sum(table.size for table in self.values[plan.slot] or () if not isinstance(table, FieldError))
                count += rows * len(plan.place.only.fields)
        return count

    def field_path(self, index: int, plan: FieldPlan) -> Path:
        """Return the response path of a field of an object."""
        above = None if self.where is None else self.where.path(index)
        return Path(above, plan.key, self.level.type_.name)


@dataclass(slots=True, eq=False)
class Below:
    """The objects that the links of one field refer to.

    Attributes:
        frames: one for each object type among them.
        table: for each object its frame and its number there, or its error. None if there is only one frame, whose
            numbers are the numbers of the links.
        shared_outputs: where to store the response data of the field's tables for other operations; empty if it
            cannot be shared.
    """

    frames: list[Frame]
    table: list[tuple[int, int] | FieldError] | None = None
    shared_outputs: Sequence[SharedOutput] = ()


class Linker:
    """Converts the values of one field to links, and collects its objects."""

    def __init__(self, frame: Frame, plan: FieldPlan) -> None:
        self._above = frame.where
        self._plan = plan
        assert plan.place is not None
        self._place = plan.place
        self._objects: Any = []
        self._origins: list[tuple[int, ...]] = []
        self._paths = plan.place.needs_paths

    def link(self, values: Sequence[Any]) -> Sequence[Any]:
        """Return the links of the field's `values`; there is one value for each source of the frame."""
        if self._place.rows.by_column:
            return self._link_tables(values)
        lists = self._place.lists
        if not self._paths:
            # The common cases: each value is an object, or each is a list of rows; none of them is null.
            if not lists and all_present(values):
                self._objects = list(values)
                return range(len(values))
            whole = lists == 1 and self._plan.is_trusted and set(map(type, values)) <= {list}
            # A null is falsy. A row without columns is falsy too: it takes the slow loop.
            if whole and all(map(all, values)):
                return self._ranges(values)
        return [self._link(value, lists, (index,)) for index, value in enumerate(values)]

    def _ranges(self, values: Sequence[list[Any]]) -> list[range]:
        objects, links = self._objects, []
        for value in values:
            start = len(objects)
            objects += value
            links.append(range(start, len(objects)))
        return links

    def _link_tables(self, values: Sequence[Columns | FieldError]) -> list[Any]:
        tables: list[Columns] = [value for value in values if not isinstance(value, FieldError)]
        counts = list(map(_size_of, tables))
        stops = list(accumulate(counts))
        ranges = list(map(range, map(sub, stops, counts), stops))
        self._objects = Table.joined(tables, stops[-1] if stops else 0)
        if len(tables) == len(values) and not self._paths:
            return ranges
        left = iter(ranges)
        links: list[Any] = [value if isinstance(value, FieldError) else next(left) for value in values]
        if self._paths:
            self._origins = [
                (index, position)
                for index, link in enumerate(links)
                if not isinstance(link, FieldError)
                for position in range(len(link))
            ]
        return links

    def _link(self, value: Any, lists: int, origin: tuple[int, ...]) -> Any:
        if value is None or value is Undefined:
            return None
        if isinstance(value, FieldError):
            return value
        if isinstance(value, Exception):
            return FieldError(value)
        if lists:
            if not isinstance(value, list):
                message = f"Expected Iterable, but did not find one for field '{self._plan.parent}.{self._plan.name}'."
                return FieldError(GraphQLError(message))
            return self._link_list(value, lists - 1, origin)
        self._objects.append(value)
        if self._paths:
            self._origins.append(origin)
        return len(self._objects) - 1

    def _link_list(self, value: list[Any], lists: int, origin: tuple[int, ...]) -> Any:
        start = len(self._objects)
        if not lists and not self._paths and type(value) is list and all_present(value):
            # The common case: a list of objects without nulls becomes a range.
            self._objects += value
            return range(start, start + len(value))
        links = [self._link(item, lists, (*origin, index)) for index, item in enumerate(value)]
        return Broken.of(links, value.error) if isinstance(value, Broken) else links

    @property
    def count(self) -> int:
        """The number of collected objects."""
        return len(self._objects)

    def typed(self, schema: GraphQLSchema, info_of: Callable[[int], Any]) -> list[Any] | None:
        """Return the type of each object, or a `FieldError`, or an awaitable of either.

        Args:
            schema: the schema.
            info_of: makes the info of the field for the frame's source with this index.

        Returns:
            None if all objects have the only type of the place.
        """
        only = self._place.only
        if only is None:
            return [
                self._determined(schema, one, info_of(origin[0]))
                for one, origin in zip(self._objects, self._origins, strict=True)
            ]
        if only.rows.bare or only.type_.is_type_of is None or not self._objects:
            return None
        parents = [origin[0] for origin in self._origins] if self._paths else [0] * len(self._objects)
        infos = {parent: info_of(parent) for parent in dict.fromkeys(parents)}
        types = [
            self._checked(one, only.type_, infos[parent]) for one, parent in zip(self._objects, parents, strict=True)
        ]
        return None if all(type_ is only.type_ for type_ in types) else types

    def below(self, types: list[Any] | None) -> Below:
        """Return the frames of the objects, given the types that `typed` returned, awaited."""
        if types is None:
            assert self._place.only is not None
            return Below([Frame.of(self._place.only, self._objects, self._where(self._origins))])
        groups: dict[str, list[int]] = {}
        table: list[tuple[int, int] | FieldError] = []
        for number, type_ in enumerate(types):
            if isinstance(type_, FieldError):
                table.append(type_)
                continue
            group = groups.setdefault(type_.name, [])
            table.append((list(groups).index(type_.name), len(group)))
            group.append(number)
        frames = []
        for members in groups.values():
            level = self._place.level(types[members[0]])
            sources = [self._objects[number] for number in members]
            kept = [self._origins[number] for number in members] if self._paths else []
            frames.append(Frame.of(level, sources, self._where(kept)))
        return Below(frames, table)

    def _where(self, origins: list[tuple[int, ...]]) -> Where | None:
        return Where(self._above, self._plan, origins) if self._paths else None

    def _checked(self, value: Any, type_: GraphQLObjectType, info: Any) -> Any:
        assert type_.is_type_of is not None
        try:
            verdict = type_.is_type_of(value, info)
        except Exception as error:  # noqa: BLE001 - any exception of a schema's function is the field's error
            return FieldError(caught(error))
        if is_awaitable(verdict):
            return self._checked_later(value, type_, verdict)
        return type_ if verdict else self._invalid(value, type_)

    async def _checked_later(self, value: Any, type_: GraphQLObjectType, verdict: Awaitable[bool]) -> Any:
        try:
            return type_ if await verdict else self._invalid(value, type_)
        except Exception as error:  # noqa: BLE001 - the field's error, as above
            return FieldError(caught(error))

    def _invalid(self, value: Any, type_: GraphQLObjectType) -> FieldError:
        message = f"Expected value of type '{type_}' but got: {inspect(value)}."
        return FieldError(GraphQLError(message, self._plan.nodes))

    def _determined(self, schema: GraphQLSchema, value: Any, info: Any) -> Any:
        abstract: Any = self._place.named
        resolve_type = abstract.resolve_type or default_type_resolver
        try:
            name = resolve_type(value, info, abstract)
        except Exception as error:  # noqa: BLE001 - the field's error, as above
            return FieldError(caught(error))
        if is_awaitable(name):
            return self._determined_later(schema, value, info, name)
        return self._named(schema, value, info, name)

    async def _determined_later(self, schema: GraphQLSchema, value: Any, info: Any, name: Awaitable[Any]) -> Any:
        try:
            type_ = self._named(schema, value, info, await name)
        except Exception as error:  # noqa: BLE001 - the field's error, as above
            return FieldError(caught(error))
        return await type_ if is_awaitable(type_) else type_

    def _named(self, schema: GraphQLSchema, value: Any, info: Any, name: Any) -> Any:
        """Return the object type with this name, if the value can have it (ResolveAbstractType), else an error."""
        problem = _name_problem(schema, self._place.named, info, value, name)
        if problem is not None:
            return FieldError(GraphQLError(problem, self._plan.nodes))
        type_ = schema.get_type(name)
        assert isinstance(type_, GraphQLObjectType)
        return type_ if type_.is_type_of is None else self._checked(value, type_, info)


@dataclass(frozen=True, slots=True)
class _NoRow:
    """Takes the place of a row that an object should have and does not: reading a column raises the error."""

    error: Exception

    def __getitem__(self, name: str) -> Any:
        raise self.error


def _rows_of(objects: Sequence[Any]) -> list[Any]:
    try:
        return list(map(row_of, objects))
    except Exception:  # noqa: BLE001 - the loop below finds the errors object by object
        return list(map(_row_of, objects))


def _row_of(value: Any) -> Any:
    try:
        return row_of(value)
    except Exception as error:  # noqa: BLE001 - any exception of the object is the error of its fields
        return _NoRow(error)


def all_present(values: Iterable[Any]) -> bool:
    """Return whether no value is null or an error."""
    return not any(issubclass(kind, ABSENT) for kind in set(map(type, values)))


def _name_problem(schema: GraphQLSchema, abstract: Any, info: Any, value: Any, name: Any) -> str | None:
    """Return the error message for the name of a runtime type, in graphql-core's words; None if it is valid."""
    where = (
        f"Abstract type '{abstract}' must resolve to an Object type at runtime "
        f"for field '{info.parent_type}.{info.field_name}'"
    )
    if name is None:
        return (
            f"{where}. Either the '{abstract}' type should provide a 'resolve_type' function "
            "or each possible type should provide an 'is_type_of' function."
        )
    if not isinstance(name, str):
        return (
            f"{where} with value {inspect(value)}, received '{inspect(name)}', which is not a valid Object type name."
        )
    type_ = schema.get_type(name)
    if type_ is None:
        return f"Abstract type '{abstract}' was resolved to a type '{name}' that does not exist inside the schema."
    if not is_object_type(type_):
        return f"Abstract type '{abstract}' was resolved to a non-object type '{name}'."
    if not schema.is_sub_type(abstract, type_):
        return f"Runtime Object type '{type_}' is not a possible type for '{abstract}'."
    return None
