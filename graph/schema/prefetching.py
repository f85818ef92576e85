"""Bindings of edges to rows by their ids, and the pages of lists below the rows that their statement includes."""

from collections.abc import Callable
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
    if prefetch is None:
        return NOTHING_BELOW
    found = NestedLoaders([], [], [])
    for bound, key in prefetch():
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
    """The binding of a field that leads to one row by its only argument, which `RowEdge.keys` names.

    Attributes:
        loader: the name of the loader (`Loaders.rows`).
        key: returns the key that the argument names.
    """

    loader: str
    columns: Columns
    key: Callable[[str], Any]

    def bound(self, context: Context, prefetch: Prefetch, **keys: str) -> BoundEdge:
        """Return the edge bound to the loader."""
        (given,) = keys.values()
        key, nested = self.key(given), NOTHING_BELOW if prefetch is None else nested_below(prefetch)
        return BoundEdge(context.loaders.rows(self.loader, self.columns, nested), key=key)


@dataclass(slots=True, eq=False)
class ViewerBinding:
    """The binding of a field that leads to the row of the viewer."""

    columns: Columns

    def bound(self, context: Context, prefetch: Prefetch, **_: Any) -> BoundEdge:
        """Return the edge bound to the loader of users."""
        loader = context.loaders.rows("user_by_id", self.columns, nested_below(prefetch))
        return BoundEdge(loader, key=context.viewer.user_id)
