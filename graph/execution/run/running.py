"""One run of a plan: wave by wave, until every value is there.

A wave starts everything that can be started: all edges of all levels that are ready, all opaque resolvers, and, at
once, what needs no waiting, with the levels below it. Then it waits for all of it together. Edges that share a loader
are one call with distinct keys. So the number of waves is the number of times that something below has to wait for
something above, and a loader is asked once a wave however wide the levels are and however many places lead to it.
"""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter, itemgetter
from typing import Any

from graphql import FragmentDefinitionNode, GraphQLResolveInfo, GraphQLSchema, OperationDefinitionNode
from graphql.execution.values import VariableValues
from graphql.pyutils import Path, is_awaitable

from graph.execution.declarations import BoundEdge, Column, Computed, Derived, LevelLoader, PrefetchableEdge, RowEdge
from graph.execution.plan.plan import FieldKind, FieldPlan, Level
from graph.execution.plan.scalar_output import FieldError
from graph.execution.run.answers import all_loaded, hashable, keys_of, loaded
from graph.execution.run.frames import Below, Frame, Linker, Where, all_present
from graph.execution.run.shared_output import Offload, Written, places_of
from graph.execution.run.values import INFO_HELPERS, any_awaitable, awaited, gathered, realized
from graph.execution.strawberry_adapter import PrefetchInfo
from graph.execution.traces import caught

Waiting = Coroutine[Any, Any, list[Frame]]
"""What a wave waits for; it comes to the frames that are ready then."""

Reached = tuple[BoundEdge | None, Any, Any]
"""A bound edge, its key and its value; where it failed, no edge and a `FieldError`."""


@dataclass(slots=True)
class _Asked:
    """What the edges of a wave ask of one loader.

    Attributes:
        errors: of the rows that have no key, by the `FieldError` that stands in its place.
    """

    loader: LevelLoader
    keys: dict[Any, None] = field(default_factory=dict)
    errors: dict[Any, Exception] = field(default_factory=dict)
    edges: list[tuple[Frame, FieldPlan, BoundEdge, list[Any]]] = field(default_factory=list)


@dataclass(slots=True)
class Run:
    """The run of one operation.

    Attributes:
        variables: coerced, as graphql-core's resolvers get them.
        offload: runs a function in another thread, where the answer may be large; None where it is small in any case.
        applied: the edges whose arguments are applied already, by the id of their plan.
    """

    schema: GraphQLSchema
    operation: OperationDefinitionNode
    fragments: dict[str, FragmentDefinitionNode]
    variables: VariableValues
    context: Any
    root_value: Any
    offload: Offload | None = None
    applied: dict[int, BoundEdge] = field(default_factory=dict)

    async def resolve(self, level: Level, reached: Reached | None = None) -> Frame:
        """Resolve everything below the root `level`, and return its frame.

        Where the root's only edge has been followed already, `reached` is what it came to.
        """
        self.applied.clear()  # a mutation's next field may come to the same plan, after what it has written
        root = Frame.of(level, [self.root_value])
        ready = [root] if reached is None else await self._take_reached(root, reached)
        while ready:
            asked: dict[int, _Asked] = {}
            waiting: list[Waiting] = []
            # Grows while it is gone through: what needs no waiting makes further frames ready at once.
            for frame in ready:
                for plan in frame.level.kept:
                    self._start(frame, plan, asked, waiting, ready)
            waiting += [self._ask(one) for one in asked.values()]
            if not waiting:
                break
            if len(waiting) == 1:
                ready = await waiting[0]
            else:
                ready = [frame for frames in await gathered(waiting) for frame in frames]
        return root

    def _start(
        self, frame: Frame, plan: FieldPlan, asked: dict[int, _Asked], waiting: list[Waiting], ready: list[Frame]
    ) -> None:
        kind = plan.kind
        if kind is FieldKind.EDGE:
            self._start_edge(frame, plan, asked)
            return
        if kind is FieldKind.JOINED:
            assert plan.place is not None
            assert plan.place.only is not None
            where = None
            if plan.place.needs_paths:
                where = Where(frame.where, plan, [(index,) for index in range(len(frame.rows))])
            joined = Frame.of(plan.place.only, frame.rows, where)
            frame.values[plan.slot], frame.below[plan.slot] = range(len(frame.rows)), Below([joined])
            ready.append(joined)
            return
        values = self._opaque_values(frame, plan) if kind is FieldKind.OPAQUE else _simple_values(frame, plan)
        if plan.ends_in_tables:
            frame.values[plan.slot] = values
            return
        places = self._places(plan, values) if plan.within else None
        if places and all(one.is_there for one in places):
            frame.values[plan.slot] = places
            return
        later = self._take(frame, plan, values, ready)
        if later is not None:
            waiting.append(later)
        below = frame.below[plan.slot]
        if places and below is not None:
            below.places = places

    def _places(self, plan: FieldPlan, tables: Sequence[Any]) -> list[Written] | None:
        """Return where the answers of a field's tables stand, if they depend on the tables and the arguments alone."""
        assert plan.place is not None
        try:
            identities = [self._applied(edge).identity for edge in plan.within]
        except Exception:  # noqa: BLE001 - whatever is wrong with the arguments is the error of that field, in its turn
            return None
        return places_of(tables, plan.place.only, identities)

    # ------------------------------------------------------------ edges

    def _start_edge(self, frame: Frame, plan: FieldPlan, asked: dict[int, _Asked]) -> None:
        declared = plan.declaration
        assert isinstance(declared, RowEdge)
        if not frame.sources:
            frame.values[plan.slot] = []
            frame.below[plan.slot] = Below([], [])
            return
        try:
            loading = self._applied(plan)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the arguments is the field's error
            frame.values[plan.slot] = [FieldError(caught(error))] * len(frame.sources)
            frame.below[plan.slot] = Below([], [])
            return
        errors: dict[Any, Exception] = {}
        if declared.key is None:
            keys = [loading.key] * len(frame.sources)
        else:
            keys = keys_of(frame.rows, frame.level.rows.prefix + declared.key, errors)
        try:
            distinct = dict.fromkeys(keys)
        except TypeError:
            keys = hashable(keys, errors)
            distinct = dict.fromkeys(keys)
        one = asked.get(id(loading.loader))
        if one is None:
            one = asked[id(loading.loader)] = _Asked(loading.loader)
        one.keys.update(distinct)
        for key in (None, *errors):
            one.keys.pop(key, None)
        one.errors |= errors
        one.edges.append((frame, plan, loading, keys))

    def _applied(self, plan: FieldPlan) -> BoundEdge:
        """Return the edge with its arguments applied, which happens once."""
        loading = self.applied.get(id(plan))
        if loading is None:
            assert isinstance(plan.declaration, RowEdge)
            assert plan.arguments is not None
            info = self._edge_info(plan)
            loading = self.applied[id(plan)] = plan.declaration.loading(info, **plan.arguments(self.variables, info))
        return loading

    def _ahead(self, plan: FieldPlan) -> list[PrefetchableEdge]:
        found: dict[int, PrefetchableEdge] = {}
        for edge, key in plan.ahead:
            try:
                loading = self._applied(edge)
            except Exception:  # noqa: BLE001, S112 - likewise
                continue
            found[id(loading.loader)] = PrefetchableEdge(loading, key)
        return list(found.values())

    async def reach(self, plan: FieldPlan) -> Reached:
        """Follow the root's only edge, whose arguments say the key. Most operations begin with one row by its key."""
        try:
            loading = self.begun(plan)
            key = loading.key
            answer = None if key is None else (await loading.loader.load_level([key]))[0]
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the arguments is the field's error
            return None, None, FieldError(caught(error))
        return loading, key, answer

    def begun(self, plan: FieldPlan) -> BoundEdge:
        """Return the root's only edge with its arguments applied.

        Raises:
            Exception: whatever is wrong with them.
        """
        declared = plan.declaration
        assert isinstance(declared, RowEdge)
        assert plan.arguments is not None
        info = self._edge_info(plan)
        return declared.loading(info, **plan.arguments(self.variables, info))

    async def _take_reached(self, root: Frame, reached: Reached) -> list[Frame]:
        plan, (loading, key, answer), ready = root.level.kept[0], reached, list[Frame]()
        if loading is None:
            root.values[plan.slot], root.below[plan.slot] = [answer], Below([], [])
            return ready
        later = self._take_loaded(root, plan, loading, {key: answer}, [key], ready)
        if later is not None:
            ready += await later
        return ready

    async def _ask(self, asked: _Asked) -> list[Frame]:
        keys = list(asked.keys)
        answers: dict[Any, Any] = {}
        try:
            answers = dict(zip(keys, await asked.loader.load_level(keys), strict=True)) if keys else {}
        except Exception as error:  # noqa: BLE001 - whatever a loader raises is everybody's error
            answers = dict.fromkeys(keys, caught(error))
        answers |= asked.errors
        answers[None] = None
        ready: list[Frame] = []
        for frame, plan, loading, wanted in asked.edges:
            later = self._take_loaded(frame, plan, loading, answers, wanted, ready)
            if later is not None:
                ready += await later
        return ready

    def _take_loaded(
        self,
        frame: Frame,
        plan: FieldPlan,
        loading: BoundEdge,
        answers: dict[Any, Any],
        wanted: list[Any],
        ready: list[Frame],
    ) -> Waiting | None:
        place = plan.place
        if place is None or place.needs_paths:
            values = [loaded(plan, loading, answers[key], key) for key in wanted]
            return self._take(frame, plan, values, ready)
        # Each object once, however many parents lead to it: they share its answer.
        distinct = list(dict.fromkeys(wanted))
        if plan.leads_to_rows and len(distinct) == len(wanted) and loading.wrap is None:
            rows = [answers[key] for key in wanted]
            if all_present(rows):  # the common case: a row for each
                ready.append(_found(frame, plan, rows))
                return None
        values = all_loaded(plan, loading, answers, distinct)
        if plan.lists:
            values = [value if type(value) is list else realized(value, plan.lists)[0] for value in values]
        linker = Linker(frame, plan)
        links = linker.link(values)
        if len(distinct) != len(wanted):
            by_key = dict(zip(distinct, links, strict=True))
            links = [by_key[key] for key in wanted]
        frame.values[plan.slot] = _identity(links, linker.count)
        return self._descend(frame, plan, linker, ready)

    # ------------------------------------------------------------ values

    def _opaque_values(self, frame: Frame, plan: FieldPlan) -> list[Any]:
        resolver, arguments = plan.resolver, plan.arguments
        assert resolver is not None
        assert arguments is not None
        values: list[Any] = []
        for index, source in enumerate(frame.objects):
            try:
                info = resolver.info(self._resolver_info(frame, plan, index)) if resolver.wants_info else None
                values.append(resolver.call(source, info, arguments(self.variables, info)))
            except Exception as error:  # noqa: BLE001 - whatever a resolver raises is the field's error
                values.append(FieldError(caught(error)))
        return values

    def _take(self, frame: Frame, plan: FieldPlan, values: list[Any], ready: list[Frame]) -> Waiting | None:
        """Take the values of a field; what lies below them is ready at once, unless some of it has to be awaited."""
        if plan.place is not None and plan.place.rows.by_column:
            return self._link(frame, plan, values, ready)
        trusted = plan.is_trusted and plan.lists == 1 and set(map(type, values)) <= {list}
        if not trusted and any_awaitable(values):
            return self._take_later(frame, plan, values)
        if plan.lists and not trusted:
            waits = False
            for index, value in enumerate(values):
                values[index], pending = realized(value, plan.lists)
                waits |= pending
            if waits:
                return self._take_later(frame, plan, values)
        return self._link(frame, plan, values, ready)

    async def _take_later(self, frame: Frame, plan: FieldPlan, values: list[Any]) -> list[Frame]:
        ready: list[Frame] = []
        if len(values) == 1:
            values = [await awaited(values[0], plan.lists)]
        else:
            values = await gathered([awaited(value, plan.lists) for value in values])
        later = self._link(frame, plan, values, ready)
        if later is not None:
            ready += await later
        return ready

    def _link(self, frame: Frame, plan: FieldPlan, values: list[Any], ready: list[Frame]) -> Waiting | None:
        if plan.place is None:
            frame.values[plan.slot] = values
            return None
        linker = Linker(frame, plan)
        frame.values[plan.slot] = _identity(linker.link(values), linker.count)
        return self._descend(frame, plan, linker, ready)

    def _descend(self, frame: Frame, plan: FieldPlan, linker: Linker, ready: list[Frame]) -> Waiting | None:
        types = linker.typed(self.schema, lambda origin: self._info(plan, frame.field_path(origin, plan)))
        if types is not None and any_awaitable(types):
            return self._descend_later(frame, plan, linker, types)
        below = frame.below[plan.slot] = linker.below(types)
        ready += below.frames
        return None

    async def _descend_later(self, frame: Frame, plan: FieldPlan, linker: Linker, types: list[Any]) -> list[Frame]:
        below = frame.below[plan.slot] = linker.below(await gathered([awaited(one, 0) for one in types]))
        return below.frames

    # ------------------------------------------------------------ info

    def _resolver_info(self, frame: Frame, plan: FieldPlan, index: int) -> GraphQLResolveInfo[Any]:
        info = self._info(plan, frame.field_path(index, plan))
        if plan.selected is None:
            return info
        told = PrefetchInfo(*info)
        told.ahead, told.selected = partial(self._ahead, plan), plan.selected
        return told

    def _edge_info(self, plan: FieldPlan) -> Any:
        """Return the info of a whole level of a field; its path is the place, without where in the answer it lies."""
        info = self._info(plan, plan.path)
        return info if plan.info is None else plan.info(info)

    def _info(self, plan: FieldPlan, path: Path) -> GraphQLResolveInfo[Any]:
        return GraphQLResolveInfo(
            plan.name,
            plan.nodes,
            plan.type_,
            plan.parent,
            path,
            self.schema,
            self.fragments,
            self.root_value,
            self.operation,
            self.variables,
            self.context,
            is_awaitable,
            None,
            INFO_HELPERS,
        )


def _found(frame: Frame, plan: FieldPlan, rows: list[Any]) -> Frame:
    """Take the rows that an edge leads to, one for each source of the frame, and return their frame."""
    assert plan.place is not None
    assert plan.place.only is not None
    found = Frame.of(plan.place.only, rows)
    frame.values[plan.slot], frame.below[plan.slot] = range(len(rows)), Below([found])
    return found


def _simple_values(frame: Frame, plan: FieldPlan) -> list[Any]:
    """Return the values of a field that is a function or an attribute of each object or row."""
    declared = plan.declaration
    of: Callable[[Any], Any]
    sources: Sequence[Any]
    if isinstance(declared, Computed):
        of, sources = declared.of, frame.rows
    elif isinstance(declared, Derived):
        of, sources = declared.of, frame.objects
    elif isinstance(declared, Column):  # one that holds an object: JSON, say
        of, sources = itemgetter(frame.level.rows.prefix + declared.name), frame.rows
    else:
        of, sources = attrgetter(plan.attribute), frame.objects
    values: list[Any] = []
    pending = iter(sources)
    while True:
        try:
            values.extend(map(of, pending))  # what went before an error stays
        except Exception as error:  # noqa: BLE001 - whatever it raises is the field's error
            values.append(FieldError(caught(error)))
        else:
            return values


def _identity(links: Sequence[Any], count: int) -> Sequence[Any]:
    """Return a range where the links are one number after the other: then nothing has to be looked up."""
    if type(links) is range:
        return links
    return range(count) if len(links) == count and links == list(range(count)) else links
