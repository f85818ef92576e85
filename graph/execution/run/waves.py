"""The waves of a run: in which order its work begins, until all values are resolved that the response needs.

A wave is the number of dependent waits above a level. Fields that need no waiting are resolved at once, and the levels
below them belong to the same wave. Opaque resolvers are called as soon as their objects are known. Edges are not: those
of a wave are loaded together when all work of earlier waves has ended. Edges that share a loader share one call with
distinct keys. So each wave calls a loader once, for any number of objects and places.

Once an object is null because of one of its fields, no value below it is needed: what awaits it is cancelled. The call
of a loader is cancelled only with the run, since other fields may share its statement and its transaction.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from graphql import GraphQLError, is_non_null_type
from graphql.pyutils import is_awaitable

from graph.execution.declarations import BoundEdge, RowEdge
from graph.execution.plan.levels import FieldKind, FieldPlan, Level
from graph.execution.plan.scalar_output import FieldError
from graph.execution.run.answers import all_loaded, hashable, keys_of, loaded, simple_values
from graph.execution.run.frames import ABSENT, Below, Frame, Linker, Where, all_present
from graph.execution.run.running import NOT_CALLED, FollowedEdge, Run
from graph.execution.run.values import ABANDONED, any_awaitable, awaited, gathered, is_nulled, realized
from graph.execution.run.work import LevelLoad, Needed, PendingWork, Works
from graph.execution.traces import caught

TOO_DEEP = "the selections are nested too deeply below an interface or a union; select fewer levels"


@dataclass(slots=True, eq=False)
class _FieldValues:
    """The values of one field, of which `left` are still awaited."""

    frame: Frame
    plan: FieldPlan
    values: list[Any]
    left: int


class Waves:
    """Resolves a root level and all levels below it.

    Args:
        run: the run.
        needed: returns what is needed of a root frame of which some fields are not resolved yet.
    """

    def __init__(self, run: Run, needed: Callable[[Frame], Needed]) -> None:
        self._run = run
        self._needed = needed
        self._wave = 0
        self._ready: list[Frame] = []
        self._loads: dict[int, dict[int, LevelLoad]] = {}
        self._works = Works()
        self._resolved: list[tuple[Frame, FieldPlan]] = []

    async def resolve(self, level: Level, followed: FollowedEdge | None, called: Any) -> Frame:
        """Return the root frame. The arguments are as in `graph.execution.output.results.resolved`."""
        root = Frame.of(level, [self._run.root_value])
        if followed is not None:
            self._take_followed(root, followed)
        elif called is not NOT_CALLED:
            self._take(root, level.kept[0], [called])
        else:
            self._ready.append(root)
        try:
            while True:
                for frame in self._ready:  # grows during the loop: fields that need no waiting make frames ready
                    self._wave = frame.wave
                    for plan in frame.level.kept:
                        self._start(frame, plan)
                self._ready.clear()
                await self._drop_unneeded(root)
                self._start_loads()
                if not self._works:
                    return root
                for work, result in await self._works.some():
                    self._wave = work.wave + 1
                    work.take(result)
                await self._drop_unneeded(root)
        finally:
            if self._works:
                await self._works.drop(list(self._works))

    def _start_loads(self) -> None:
        """Start the loads of the first wave that has any, unless work of earlier waves may add edges to them."""
        if self._loads:
            wave = min(self._loads)
            if all(work.wave >= wave for work in self._works):
                for load in self._loads.pop(wave).values():
                    self._works.add(PendingWork(wave, load.answers(), partial(self._take_answers, load), load))

    async def _drop_unneeded(self, root: Frame) -> None:
        """Drop what nothing needs, if the values resolved since the last call have made objects null."""
        resolved, self._resolved = self._resolved, []
        if not (self._works or self._ready or self._loads) or not any(_nulls(*one) for one in resolved):
            return
        needed = self._needed(root)
        self._ready = [frame for frame in self._ready if id(frame) in needed]
        for wave, loads in list(self._loads.items()):
            self._loads[wave] = {key: load for key, load in loads.items() if load.keep(needed)}
            if not self._loads[wave]:
                del self._loads[wave]
        dropped = {work for work in self._works if not work.is_needed(needed)}
        await self._works.drop(dropped)
        for work in dropped:
            if work.index is not None and work.field in needed:
                work.take(ABANDONED)

    # ------------------------------------------------------------ fields

    def _start(self, frame: Frame, plan: FieldPlan) -> None:
        kind = plan.kind
        if kind is FieldKind.EDGE:
            self._start_edge(frame, plan)
            return
        if kind is FieldKind.JOINED:
            assert plan.place is not None
            assert plan.place.only is not None
            where = None
            if plan.place.needs_paths:
                where = Where(frame.where, plan, [(index,) for index in range(len(frame.rows))])
            self._below(frame, plan, range(len(frame.rows)), Below([Frame.of(plan.place.only, frame.rows, where)]))
            return
        run = self._run
        values = run.opaque_values(frame, plan) if kind is FieldKind.OPAQUE else simple_values(frame, plan)
        if plan.ends_in_tables:
            frame.values[plan.slot] = values
            return
        places = run.shared_outputs(plan, values) if plan.table_edges else None
        if places and all(one.is_written for one in places):
            frame.values[plan.slot] = places
            return
        self._take(frame, plan, values)
        below = frame.below[plan.slot]
        if places and below is not None:
            below.shared_outputs = places

    def _start_edge(self, frame: Frame, plan: FieldPlan) -> None:
        declared = plan.declaration
        assert isinstance(declared, RowEdge)
        if not frame.sources:
            self._below(frame, plan, [], Below([], []))
            return
        try:
            bound = self._run.bound_edge(plan)
        except Exception as error:  # noqa: BLE001 - any exception of the arguments is the field's error
            self._below(frame, plan, [FieldError(caught(error))] * len(frame.sources), Below([], []))
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
        loads = self._loads.setdefault(self._wave, {})
        one = loads.get(id(bound.loader))
        if one is None:
            one = loads[id(bound.loader)] = LevelLoad(bound.loader)
        one.keys.update(distinct)
        for key in (None, *errors):
            one.keys.pop(key, None)
        one.errors |= errors
        one.edges.append((frame, plan, bound, keys))

    def _take_followed(self, root: Frame, followed: FollowedEdge) -> None:
        plan, (bound, key, answer) = root.level.kept[0], followed
        if bound is None:
            self._below(root, plan, [answer], Below([], []))
        else:
            self._take_loaded(root, plan, bound, {key: answer}, [key])

    def _take_answers(self, load: LevelLoad, answers: dict[Any, Any]) -> None:
        for frame, plan, bound, wanted in load.edges:
            self._take_loaded(frame, plan, bound, answers, wanted)

    def _take_loaded(
        self, frame: Frame, plan: FieldPlan, bound: BoundEdge, answers: dict[Any, Any], wanted: list[Any]
    ) -> None:
        place = plan.place
        if place is None or place.needs_paths:
            self._take(frame, plan, [loaded(plan, bound, answers[key], key) for key in wanted])
            return
        # Each object is completed once; all its parents share its response data.
        distinct = list(dict.fromkeys(wanted))
        if plan.leads_to_rows and len(distinct) == len(wanted) and bound.wrap is None:
            rows = [answers[key] for key in wanted]
            if all_present(rows):  # the common case: one row for each source
                assert place.only is not None
                self._below(frame, plan, range(len(rows)), Below([Frame.of(place.only, rows)]))
                return
        values = all_loaded(plan, bound, answers, distinct)
        if plan.lists:
            values = [value if type(value) is list else realized(value, plan.lists)[0] for value in values]
        linker = Linker(frame, plan)
        links = linker.link(values)
        if len(distinct) != len(wanted):
            by_key = dict(zip(distinct, links, strict=True))
            links = [by_key[key] for key in wanted]
        self._descend(frame, plan, linker, links)

    # ------------------------------------------------------------ values

    def _take(self, frame: Frame, plan: FieldPlan, values: list[Any]) -> None:
        """Take the values of a field. Frames below it become ready now, unless a value must be awaited."""
        by_column = plan.place is not None and plan.place.rows.by_column
        if by_column or (plan.is_trusted and plan.lists == 1 and set(map(type, values)) <= {list}):
            self._link(frame, plan, values)
            return
        some_wait = any_awaitable(values)
        pending: list[int] = []
        for index, value in enumerate(values if some_wait or plan.lists else ()):
            waits = some_wait and is_awaitable(value)
            if not waits and plan.lists:
                values[index], waits = realized(value, plan.lists)
            if waits:
                pending.append(index)
        if not pending:
            self._link(frame, plan, values)
            return
        one = _FieldValues(frame, plan, values, len(pending))
        for index in pending:
            waiting, take = awaited(values[index], plan.type_), partial(self._take_value, one, index)
            self._works.add(PendingWork(self._wave, waiting, take, None, values[index], (id(frame), plan.slot), index))

    def _take_value(self, one: _FieldValues, index: int, value: Any) -> None:
        one.values[index] = value
        one.left -= 1
        if not one.left:
            self._link(one.frame, one.plan, one.values)

    def _link(self, frame: Frame, plan: FieldPlan, values: list[Any]) -> None:
        if plan.place is None:
            frame.values[plan.slot] = values
            self._resolved.append((frame, plan))
            return
        linker = Linker(frame, plan)
        self._descend(frame, plan, linker, linker.link(values))

    def _descend(self, frame: Frame, plan: FieldPlan, linker: Linker, links: Sequence[Any]) -> None:
        run = self._run
        types = linker.typed(run.schema, lambda origin: run.info(plan, frame.field_path(origin, plan)))

        def take(types: list[Any] | None) -> None:
            try:
                below = linker.below(types)
            except RecursionError:  # levels below abstract types are planned here
                below = Below([], [FieldError(GraphQLError(TOO_DEEP))] * linker.count)
            self._below(frame, plan, _as_range(links, linker.count), below)

        if types is None or not any_awaitable(types):
            take(types)
        else:
            self._works.add(PendingWork(self._wave, _all_awaited(types), take, None, types, (id(frame), plan.slot)))

    def _below(self, frame: Frame, plan: FieldPlan, links: Sequence[Any], below: Below) -> None:
        """Set the links of a field and what is below them: frames that are now ready."""
        frame.values[plan.slot], frame.below[plan.slot] = links, below
        self._resolved.append((frame, plan))
        for one in below.frames:
            one.wave = self._wave
        self._ready += below.frames


async def _all_awaited(values: list[Any]) -> list[Any]:
    return await gathered([awaited(one) for one in values])


def _nulls(frame: Frame, plan: FieldPlan) -> bool:
    """Return whether the values of a field, which are resolved, may have made objects null."""
    values, below = frame.values[plan.slot], frame.below[plan.slot]
    if type(values) is range and (below is None or below.table is None):
        return False  # the common case: one object for each source
    if not is_non_null_type(plan.type_):
        if plan.place is None or not plan.lists:
            return False
        values = [value for value in values if not isinstance(value, ABSENT)]
    if below is not None and any(isinstance(entry, FieldError) for entry in below.table or ()):
        return True
    return any(is_nulled(value, plan.type_) for value in values)


def _as_range(links: Sequence[Any], count: int) -> Sequence[Any]:
    """Return the links as a range where they are consecutive from 0: completion then needs no lookup per link."""
    if type(links) is range:
        return links
    return range(count) if len(links) == count and links == list(range(count)) else links
