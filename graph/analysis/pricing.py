"""The price of one operation, for any values of its variables.

The walk (`graph.analysis.walk`) measures the operation once. Few variables decide the length of a list or the cost of a
filter. For each combination of their readings the formula is computed once, without the document.

All parts of a price are upper bounds. Fields with @skip and @include count, the alternatives of an interface are added
up, the same field twice counts twice, and a page has its maximum length. So the price is never below the actual cost.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cachetools import LRUCache
from graphql import OperationDefinitionNode, value_from_ast_untyped

from graph.analysis.limits import Price
from graph.analysis.loads import Amount, Formula, Reading

PRICES_KEPT_MAX = 16


@dataclass(frozen=True, slots=True)
class Measured:
    """The counts of the walk over an operation. A fragment counts at each place where it is spread."""

    depth: int
    aliases: int
    root_fields: int
    directives: int
    sensitive_root_fields: int
    load: Amount


class Pricing:
    """The price of one operation.

    Attributes:
        fixed: the price with any variables, once it is known to be within the limits; None if they decide the price.
    """

    def __init__(self, operation: OperationDefinitionNode, measured: Measured, formula: Formula) -> None:
        self._defaults = {
            definition.variable.name.value: value_from_ast_untyped(definition.default_value)
            for definition in operation.variable_definitions or ()
            if definition.default_value is not None
        }
        self._measured = measured
        self._formula = formula
        self._readings: tuple[tuple[str, Reading], ...] = tuple(
            (variable, reading) for (variable, _), reading in formula.readings.items()
        )
        self._known: LRUCache[tuple[int | None, ...], Price] = LRUCache(PRICES_KEPT_MAX)
        self._fitting: dict[tuple[int | None, ...], Price] = {}
        self.fixed: Price | None = None

    def fitting(self, variables: Mapping[str, Any]) -> Price | None:
        """Return the price if it is already known to be within the limits; else None."""
        return self.fixed or (self._fitting.get(self._key(variables)) if self._fitting else None)

    def price(self, variables: Mapping[str, Any]) -> Price:
        """Return the price with these values of the variables."""
        key = self._key(variables)
        known: Price | None = self._known.get(key)
        if known is not None:
            return known
        measured = self._measured
        load = self._formula.load(measured.load, key)
        price = Price(
            depth=measured.depth,
            aliases=measured.aliases,
            root_fields=measured.root_fields,
            directives=measured.directives,
            sensitive_root_fields=measured.sensitive_root_fields,
            cost=load.cost,
            values=load.values,
            answer_bytes=load.bytes,
        )
        self._known[key] = price
        if not price.violations():
            if not self._readings:
                self.fixed = price
            if len(self._fitting) >= PRICES_KEPT_MAX:
                self._fitting.clear()
            self._fitting[key] = price
        return price

    def dearest(self) -> tuple[Price, tuple[str, ...]]:
        """Return the highest price of the operation for any variables, without overriding defaults.

        The second value has the names of the variables that decide the price: where they set the length of a list, the
        list has the maximum length.
        """
        deciding: dict[str, Any] = {}
        for (name, _), reading in sorted(self._formula.readings.items(), key=lambda one: one[0]):
            if self._defaults.get(name) is None:
                known = deciding.get(name)
                deciding[name] = {**known, **reading.dearest} if isinstance(known, dict) else reading.dearest
        return self.price(deciding), tuple(deciding)

    def _key(self, variables: Mapping[str, Any]) -> tuple[int | None, ...]:
        defaults = self._defaults
        return tuple(
            [
                reading.of(variables[name] if name in variables else defaults.get(name))
                for name, reading in self._readings
            ]
        )
