"""Visits a document with visitors of graphql-core, and breaks their reference cycles afterwards.

A visitor caches its own bound methods, so it refers to itself and to whatever it has seen of the document. Documents of
a flood, each of which comes once, would stay in memory until the cycle collector runs.
"""

from graphql import Node, Visitor, VisitorKeyMap, visit


def visit_once(root: Node, visitor: Visitor, *inner: Visitor, keys: VisitorKeyMap | None = None) -> None:
    """Visit `root` and all nodes below it with `visitor`; `inner` are the visitors that it calls."""
    try:
        visit(root, visitor, keys)
    finally:
        for one in (visitor, *inner):
            one.enter_leave_map.clear()
