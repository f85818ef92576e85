"""A compiled, breadth-first executor for any Strawberry schema; README.md beside this file says how it works."""

from graph.execution.declarations import (
    DECLARATION,
    JOINS,
    Column,
    Computed,
    Derived,
    Edge,
    LevelLoader,
    Loading,
    Prefixed,
    declaration_of,
)
from graph.execution.engine import Prepared
from graph.execution.lookup import Lookup
from graph.execution.ordinary import OrdinaryExecutor
from graph.execution.plan.collecting import Unsupported
from graph.execution.strawberry_adapter import ahead_of, selected_of

__all__ = [
    "DECLARATION",
    "JOINS",
    "Column",
    "Computed",
    "Derived",
    "Edge",
    "LevelLoader",
    "Loading",
    "Lookup",
    "OrdinaryExecutor",
    "Prefixed",
    "Prepared",
    "Unsupported",
    "ahead_of",
    "declaration_of",
    "selected_of",
]
