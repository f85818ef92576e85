"""The pages of lists below a field's rows that the statement of these rows includes (`db.query.nested_pages`)."""

from graph.execution import prefetchable_edges
from graph.runtime.context import Info
from graph.runtime.edge_loaders import NestedPageLoader, PageLoader

# The maximum number of lists that one statement reads with each row of another list. Separate statements read the rest.
NESTED_MAX = 3


def nested_below(info: Info) -> list[NestedPageLoader]:
    """Return the lists whose pages the statement of the field of `info` includes, each with its loader."""
    found = []
    for loading, key in prefetchable_edges(info):
        loader = loading.loader
        if isinstance(loader, PageLoader) and loader.nested is not None:
            found.append(NestedPageLoader(loader.nested(key), loader))
    return found[:NESTED_MAX]
