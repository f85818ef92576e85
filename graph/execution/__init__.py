"""A compiled, breadth-first executor for any Strawberry schema. README.md in this folder explains how it works.

It imports nothing of Folio: no noun, no SQL, no request. It offers `Prepared`, which runs an operation, and the
declarations of fields from which it plans.
"""

from graph.execution.declarations import (
    DECLARATION,
    JOINS,
    BoundEdge,
    Column,
    Computed,
    Derived,
    EdgeBinding,
    LevelLoader,
    Prefetch,
    Prefixed,
    RowEdge,
    Waits,
    declaration_of,
)
from graph.execution.engine import Prepared
from graph.execution.ordinary import OrdinaryExecutor
from graph.execution.plan.collecting import Unsupported
from graph.execution.plan.scalar_output import InlineOutput
from graph.execution.single_read import SingleRead
from graph.execution.strawberry_adapter import prefetchable_edges, selected_of

__all__ = [
    "DECLARATION",
    "JOINS",
    "BoundEdge",
    "Column",
    "Computed",
    "Derived",
    "EdgeBinding",
    "InlineOutput",
    "LevelLoader",
    "OrdinaryExecutor",
    "Prefetch",
    "Prefixed",
    "Prepared",
    "RowEdge",
    "SingleRead",
    "Unsupported",
    "Waits",
    "declaration_of",
    "prefetchable_edges",
    "selected_of",
]
