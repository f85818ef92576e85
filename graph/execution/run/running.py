"""One run of a plan: what its fields read from, and the calls of its resolvers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from graphql import FragmentDefinitionNode, GraphQLResolveInfo, GraphQLSchema, OperationDefinitionNode
from graphql.execution import VariableValues
from graphql.pyutils import Path, is_awaitable

from graph.execution.declarations import BoundEdge, PrefetchableEdge, RowEdge
from graph.execution.plan.levels import FieldPlan
from graph.execution.plan.scalar_output import FieldError
from graph.execution.run.frames import Frame
from graph.execution.run.shared_output import Offload, SharedOutput, Text, shared_outputs
from graph.execution.run.values import INFO_HELPERS
from graph.execution.strawberry_adapter import EdgeInfo, PrefetchInfo, ResolveInfo
from graph.execution.traces import caught

NOTHING_SELECTED: frozenset[str] = frozenset()

NOT_CALLED = object()
"""Stands for the value of a resolver that was not called."""

FollowedEdge = tuple[BoundEdge | None, Any, Any]
"""A bound edge, its key and the loaded value; after a failure, None, None and a `FieldError`."""


@dataclass(slots=True)
class Run:
    """The run of one operation.

    Attributes:
        variables: coerced, in graphql-core's form.
        offload: runs a function in another thread; None if the response is always small.
        text: encodes a list of completed objects; its return value may stand in place of the list.
        bound_edges: the edges that are bound already, by the id of their plan.
        extensions: the `extensions` of the request.
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
    extensions: dict[str, Any] | None = None

    def shared_outputs(self, plan: FieldPlan, tables: Sequence[Any]) -> list[SharedOutput] | None:
        """Return where the response data of a field's tables is shared, or None if it cannot be shared."""
        assert plan.place is not None
        try:
            identities = [self.bound_edge(edge).identity for edge in plan.table_edges]
        except Exception:  # noqa: BLE001 - invalid arguments: that field reports its error when it is started
            return None
        return shared_outputs(tables, plan.place.only, identities)

    # ------------------------------------------------------------ edges

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

    # ------------------------------------------------------------ values

    def opaque_values(self, frame: Frame, plan: FieldPlan) -> list[Any]:
        """Call the resolver of a field for each object, and return what it returned, or a `FieldError`."""
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
                whole = self.info(plan, path)
                info = resolver.info(
                    whole if plan.selected is None else self._prefetch_info(plan, whole, plan.selected)
                )
            return resolver.call(source, info, arguments(self.variables, info))
        except Exception as error:  # noqa: BLE001 - any exception of a resolver is the field's error
            return FieldError(caught(error))

    # ------------------------------------------------------------ info

    def _edge_info(self, plan: FieldPlan) -> Any:
        """Return the info of a field for its whole level. Its path is only the field's place, without list indexes."""
        whole = partial(self.info, plan, plan.path)
        info = EdgeInfo(self.context, plan.name, plan.path, plan.selected or NOTHING_SELECTED, whole)
        return info if plan.info is None else plan.info(info)

    def _prefetch_info(self, plan: FieldPlan, info: GraphQLResolveInfo[Any], selected: frozenset[str]) -> PrefetchInfo:
        """Return the info, with the edges below the field's rows, whose results its statement may load."""
        prefetch_info = PrefetchInfo(*info)
        prefetch_info.operation_extensions = self.extensions
        prefetch_info.bind_prefetchable, prefetch_info.selected = partial(self._bind_prefetchable, plan), selected
        return prefetch_info

    def info(self, plan: FieldPlan, path: Path) -> GraphQLResolveInfo[Any]:
        """Return graphql-core's info of a field."""
        info = ResolveInfo(
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
        info.operation_extensions = self.extensions
        return info
