"""One run of a plan, wave by wave, until all values are resolved.

A wave starts all edges and opaque resolvers of all levels that are ready. Fields that need no waiting are resolved at
once, and the levels below them become ready in the same wave. Then the wave waits for all started work together. Edges
that share a loader share one call with distinct keys. So the number of waves is the number of dependent waits in the
operation, and each wave calls a loader once, for any number of objects and places.
"""

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from graphql import FragmentDefinitionNode, GraphQLResolveInfo, GraphQLSchema, OperationDefinitionNode
from graphql.execution import VariableValues
from graphql.pyutils import Path, is_awaitable

from graph.execution.declarations import BoundEdge, LevelLoader, PrefetchableEdge, RowEdge
from graph.execution.plan.levels import FieldKind, FieldPlan, Level
from graph.execution.plan.scalar_output import FieldError
from graph.execution.run.answers import all_loaded, hashable, keys_of, loaded, simple_values
from graph.execution.run.frames import Below, Frame, Linker, Where, all_present
from graph.execution.run.shared_output import Offload, SharedOutput, Text, shared_outputs
from graph.execution.run.values import INFO_HELPERS, any_awaitable, awaited, gathered, realized
from graph.execution.strawberry_adapter import EdgeInfo, PrefetchInfo
from graph.execution.traces import caught

NOTHING_SELECTED: frozenset[str] = frozenset()

Waiting = Coroutine[Any, Any, list[Frame]]
"""Work that a wave waits for. Its result is the frames that become ready."""

NOT_CALLED = object()
"""Stands for the value of a resolver that was not called."""

FollowedEdge = tuple[BoundEdge | None, Any, Any]
"""A bound edge, its key and the loaded value; after a failure, None, None and a `FieldError`."""


@dataclass(slots=True)
class _LevelLoad:
    """One call of a loader, for all edges of a wave that share it.

    Attributes:
        errors: the errors of rows without a key, by the `FieldError` that takes the place of the key.
    """

    loader: LevelLoader
    keys: dict[Any, None] = field(default_factory=dict)
    errors: dict[Any, Exception] = field(default_factory=dict)
    edges: list[tuple[Frame, FieldPlan, BoundEdge, list[Any]]] = field(default_factory=list)


@dataclass(slots=True)
class Run:
    """The run of one operation.

    Attributes:
        variables: coerced, in graphql-core's form.
        offload: runs a function in another thread; None if the response is always small.
        text: encodes a list of completed objects; its return value may stand in place of the list.
        bound_edges: the edges that are bound already, by the id of their plan.
    """

    schema: GraphQLSchema
    operation: OperationDefinitionNode
    fragments: dict[str, FragmentDefinitionNode]
    variables: VariableValues
    context: Any
    root_value: Any
    offload: Offload | None = None
    text: Text | None = None
    bound_edges: dict[int, BoundEdge] = field(default_factory=dict)

    async def resolve(self, level: Level, followed: FollowedEdge | None = None, called: Any = NOT_CALLED) -> Frame:
        """Resolve all fields of the root `level` and below it, and return the root frame.

        `followed` and `called` are as in `graph.execution.output.results.resolved`.
        """
        root = Frame.of(level, [self.root_value])
        ready = [root] if followed is None else await self._take_followed(root, followed)
        if called is not NOT_CALLED:
            ready = list[Frame]()
            later = self._take(root, level.kept[0], [called], ready)
            ready += () if later is None else await later
        while ready:
            loads: dict[int, _LevelLoad] = {}
            waiting: list[Waiting] = []
            # `ready` grows during the loop: fields that need no waiting make further frames ready.
            for frame in ready:
                for plan in frame.level.kept:
                    self._start(frame, plan, loads, waiting, ready)
            waiting += [self._load(one) for one in loads.values()]
            if not waiting:
                break
            if len(waiting) == 1:
                ready = await waiting[0]
            else:
                ready = [frame for frames in await gathered(waiting) for frame in frames]
        return root

    def _start(
        self, frame: Frame, plan: FieldPlan, loads: dict[int, _LevelLoad], waiting: list[Waiting], ready: list[Frame]
    ) -> None:
        kind = plan.kind
        if kind is FieldKind.EDGE:
            self._start_edge(frame, plan, loads)
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
        values = self._opaque_values(frame, plan) if kind is FieldKind.OPAQUE else simple_values(frame, plan)
        if plan.ends_in_tables:
            frame.values[plan.slot] = values
            return
        places = self.shared_outputs(plan, values) if plan.table_edges else None
        if places and all(one.is_written for one in places):
            frame.values[plan.slot] = places
            return
        later = self._take(frame, plan, values, ready)
        if later is not None:
            waiting.append(later)
        below = frame.below[plan.slot]
        if places and below is not None:
            below.shared_outputs = places

    def shared_outputs(self, plan: FieldPlan, tables: Sequence[Any]) -> list[SharedOutput] | None:
        """Return where the response data of a field's tables is shared, or None if it cannot be shared."""
        assert plan.place is not None
        try:
            identities = [self.bound_edge(edge).identity for edge in plan.table_edges]
        except Exception:  # noqa: BLE001 - invalid arguments: that field reports its error when it is started
            return None
        return shared_outputs(tables, plan.place.only, identities)

    # ------------------------------------------------------------ edges

    def _start_edge(self, frame: Frame, plan: FieldPlan, loads: dict[int, _LevelLoad]) -> None:
        declared = plan.declaration
        assert isinstance(declared, RowEdge)
        if not frame.sources:
            frame.values[plan.slot] = []
            frame.below[plan.slot] = Below([], [])
            return
        try:
            bound = self.bound_edge(plan)
        except Exception as error:  # noqa: BLE001 - any exception of the arguments is the field's error
            frame.values[plan.slot] = [FieldError(caught(error))] * len(frame.sources)
            frame.below[plan.slot] = Below([], [])
            return
        errors: dict[Any, Exception] = {}
        if declared.key is None:
            keys = [bound.key] * len(frame.sources)
        else:
            keys = keys_of(frame.rows, frame.level.rows.prefix + declared.key, errors)
        try:
            distinct = dict.fromkeys(keys)
        except TypeError:
            keys = hashable(keys, errors)
            distinct = dict.fromkeys(keys)
        one = loads.get(id(bound.loader))
        if one is None:
            one = loads[id(bound.loader)] = _LevelLoad(bound.loader)
        one.keys.update(distinct)
        for key in (None, *errors):
            one.keys.pop(key, None)
        one.errors |= errors
        one.edges.append((frame, plan, bound, keys))

    def bound_edge(self, plan: FieldPlan) -> BoundEdge:
        """Return the edge with its arguments applied. Each edge is bound once per run."""
        bound = self.bound_edges.get(id(plan))
        if bound is not None:
            return bound
        binding = plan.binding
        if binding is None:
            assert isinstance(plan.declaration, RowEdge)
            assert plan.arguments is not None
            info = self._edge_info(plan)
            found = plan.declaration.bind(info, **plan.arguments(self.variables, info))
            if isinstance(found, BoundEdge):
                self.bound_edges[id(plan)] = found
                return found
            binding = found
            if plan.is_constant:
                plan.binding = binding
        prefetch = partial(self._bind_prefetchable, plan) if plan.prefetchable else None
        keys = {} if plan.keys is None else plan.keys(self.variables, None)
        bound = self.bound_edges[id(plan)] = binding.bound(self.context, prefetch, **keys)
        return bound

    def _bind_prefetchable(self, plan: FieldPlan) -> list[PrefetchableEdge]:
        found: dict[int, PrefetchableEdge] = {}
        for edge, key in plan.prefetchable:
            try:
                bound = self.bound_edge(edge)
            except Exception:  # noqa: BLE001, S112 - that field reports its error when it is started
                continue
            found[id(bound.loader)] = PrefetchableEdge(bound, key)
        return list(found.values())

    async def follow_root_edge(self, plan: FieldPlan) -> FollowedEdge:
        """Load the row of the root's only edge, whose arguments contain the key. Most operations begin like this."""
        try:
            bound = self.bound_edge(plan)
            key = bound.key
            answer = None if key is None else (await bound.loader.load_level([key]))[0]
        except Exception as error:  # noqa: BLE001 - any exception of arguments or loader is the field's error
            return None, None, FieldError(caught(error))
        return bound, key, answer

    async def _take_followed(self, root: Frame, followed: FollowedEdge) -> list[Frame]:
        plan, (bound, key, answer), ready = root.level.kept[0], followed, list[Frame]()
        if bound is None:
            root.values[plan.slot], root.below[plan.slot] = [answer], Below([], [])
            return ready
        later = self._take_loaded(root, plan, bound, {key: answer}, [key], ready)
        if later is not None:
            ready += await later
        return ready

    async def _load(self, load: _LevelLoad) -> list[Frame]:
        keys = list(load.keys)
        answers: dict[Any, Any] = {}
        try:
            answers = dict(zip(keys, await load.loader.load_level(keys), strict=True)) if keys else {}
        except Exception as error:  # noqa: BLE001 - any exception of a loader is the error of all its edges
            answers = dict.fromkeys(keys, caught(error))
        answers |= load.errors
        answers[None] = None
        ready: list[Frame] = []
        for frame, plan, bound, wanted in load.edges:
            later = self._take_loaded(frame, plan, bound, answers, wanted, ready)
            if later is not None:
                ready += await later
        return ready

    def _take_loaded(
        self,
        frame: Frame,
        plan: FieldPlan,
        bound: BoundEdge,
        answers: dict[Any, Any],
        wanted: list[Any],
        ready: list[Frame],
    ) -> Waiting | None:
        place = plan.place
        if place is None or place.needs_paths:
            values = [loaded(plan, bound, answers[key], key) for key in wanted]
            return self._take(frame, plan, values, ready)
        # Each object is completed once; all its parents share its response data.
        distinct = list(dict.fromkeys(wanted))
        if plan.leads_to_rows and len(distinct) == len(wanted) and bound.wrap is None:
            rows = [answers[key] for key in wanted]
            if all_present(rows):  # the common case: one row for each source
                ready.append(_frame_of_rows(frame, plan, rows))
                return None
        values = all_loaded(plan, bound, answers, distinct)
        if plan.lists:
            values = [value if type(value) is list else realized(value, plan.lists)[0] for value in values]
        linker = Linker(frame, plan)
        links = linker.link(values)
        if len(distinct) != len(wanted):
            by_key = dict(zip(distinct, links, strict=True))
            links = [by_key[key] for key in wanted]
        frame.values[plan.slot] = _as_range(links, linker.count)
        return self._descend(frame, plan, linker, ready)

    # ------------------------------------------------------------ values

    def _opaque_values(self, frame: Frame, plan: FieldPlan) -> list[Any]:
        assert plan.resolver is not None
        wants_info = plan.resolver.wants_info
        return [
            self.call(plan, source, frame.field_path(index, plan) if wants_info else plan.path)
            for index, source in enumerate(frame.objects)
        ]

    def call(self, plan: FieldPlan, source: Any, path: Path) -> Any:
        """Call the resolver of an opaque field, and return what it returns, not awaited, or a `FieldError`."""
        resolver, arguments = plan.resolver, plan.arguments
        assert resolver is not None
        assert arguments is not None
        try:
            info = None
            if resolver.wants_info:
                whole = self._info(plan, path)
                info = resolver.info(
                    whole if plan.selected is None else self._prefetch_info(plan, whole, plan.selected)
                )
            return resolver.call(source, info, arguments(self.variables, info))
        except Exception as error:  # noqa: BLE001 - any exception of a resolver is the field's error
            return FieldError(caught(error))

    def _take(self, frame: Frame, plan: FieldPlan, values: list[Any], ready: list[Frame]) -> Waiting | None:
        """Take the values of a field. Frames below it become ready now, unless a value must be awaited."""
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
        frame.values[plan.slot] = _as_range(linker.link(values), linker.count)
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

    def _edge_info(self, plan: FieldPlan) -> Any:
        """Return the info of a field for its whole level. Its path is only the field's place, without list indexes."""
        whole = partial(self._info, plan, plan.path)
        info = EdgeInfo(self.context, plan.name, plan.path, plan.selected or NOTHING_SELECTED, whole)
        return info if plan.info is None else plan.info(info)

    def _prefetch_info(self, plan: FieldPlan, info: GraphQLResolveInfo[Any], selected: frozenset[str]) -> PrefetchInfo:
        """Return the info, with the edges below the field's rows, whose results its statement may load."""
        prefetch_info = PrefetchInfo(*info)
        prefetch_info.bind_prefetchable, prefetch_info.selected = partial(self._bind_prefetchable, plan), selected
        return prefetch_info

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


def _frame_of_rows(frame: Frame, plan: FieldPlan, rows: list[Any]) -> Frame:
    """Make the frame of the rows that an edge leads to; there is one row for each source of `frame`."""
    assert plan.place is not None
    assert plan.place.only is not None
    found = Frame.of(plan.place.only, rows)
    frame.values[plan.slot], frame.below[plan.slot] = range(len(rows)), Below([found])
    return found


def _as_range(links: Sequence[Any], count: int) -> Sequence[Any]:
    """Return the links as a range where they are consecutive from 0: completion then needs no lookup per link."""
    if type(links) is range:
        return links
    return range(count) if len(links) == count and links == list(range(count)) else links
