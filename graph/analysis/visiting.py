"""Walks over a document by graphql-core's visitors, which are taken apart afterwards.

Each of them keeps its own methods, and so itself, with all that it has seen of the document: a flood of documents that
come once would stay until the cycle collector comes.
"""

from graphql import Node, Visitor, visit
from graphql.language.visitor import VisitorKeyMap


def visit_once(root: Node, visitor: Visitor, *inner: Visitor, keys: VisitorKeyMap | None = None) -> None:
    """Let `visitor` walk over `root` and what is below it. `inner` are those that it calls."""
    try:
        visit(root, visitor, keys)
    finally:
        for one in (visitor, *inner):
            one.enter_leave_map.clear()
