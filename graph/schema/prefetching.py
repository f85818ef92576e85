"""Bindings of edges to rows by their ids, and the pages of lists below the rows that their statement includes."""

from dataclasses import dataclass
from typing import Any

from db.query.pages import Columns
from graph.execution import BoundEdge, Prefetch
from graph.runtime.context import Context
from graph.runtime.edge_loaders import NOTHING_BELOW, NestedLoaders, PageLoader

# The maximum number of lists that one statement reads with each row of another list. Separate statements read the rest.
NESTED_MAX = 3


def nested_below(prefetch: Prefetch) -> NestedLoaders:
    """Return the lists below the rows of an edge whose pages its statement includes, each with its loader."""
    edges = prefetch()
    if not edges:
        return NOTHING_BELOW
    found = NestedLoaders([], [], [])
    for bound, key in edges:
        loader = bound.loader
        if isinstance(loader, PageLoader) and len(found.lists) < NESTED_MAX:
            nested = loader.page.nested(key)
            if nested is not None:
                found.lists.append(nested)
                found.brings.append(loader)
                found.keys.append((key, loader.page.key))
    return found


@dataclass(slots=True, eq=False)
class RowBinding:
    """The binding of a field that leads to one row by a key from its arguments.

    Attributes:
        loader: the name of the loader, a method of `Loaders`.
    """

    loader: str
    columns: Columns
    key: Any

    def bound(self, context: Context, prefetch: Prefetch) -> BoundEdge:
        """Return the edge bound to the loader."""
        return BoundEdge(getattr(context.loaders, self.loader)(self.columns, nested_below(prefetch)), key=self.key)


@dataclass(slots=True, eq=False)
class ViewerBinding:
    """The binding of a field that leads to the row of the viewer."""

    columns: Columns

    def bound(self, context: Context, prefetch: Prefetch) -> BoundEdge:
        """Return the edge bound to the loader of users."""
        loader = context.loaders.user_by_id(self.columns, nested_below(prefetch))
        return BoundEdge(loader, key=context.viewer.user_id)
