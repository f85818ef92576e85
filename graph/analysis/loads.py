"""How much work and output a part of an operation is: a load, and the formula that computes it from variables.

The walk (`graph.analysis.walk`) adds up loads. Most are numbers. Where a variable decides the length of a list or the
cost of a filter, the load becomes a step of the operation's `Formula`. A price for other values of the variables is
then computed without the document.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias


class Load(NamedTuple):
    """The load of a part of an operation.

    Attributes:
        cost: its cost by the weights in the schema.
        values: the number of its objects and leaves in the response.
        bytes: its size in the response, as JSON.
    """

    cost: int = 0
    values: int = 0
    bytes: int = 0


class Reading(NamedTuple):
    """A number that a price reads from a variable.

    Attributes:
        of: returns the number, given the value of the variable.
        dearest: a value of the variable that makes the price as high as any other value does; empty or 0 if the
            value makes no difference.
    """

    of: Callable[[Any], int | None]
    dearest: Any


class VariableLength(NamedTuple):
    """The length of a list that variables decide: the largest given length, or the assumed one where none is given.

    Attributes:
        given: the largest length that the document itself gives, or None.
        readings: the positions of the readings in the formula.
        assumed: the length where neither the document nor a variable gives one.
    """

    given: int | None
    readings: tuple[int, ...]
    assumed: int

    def of(self, values: Sequence[int | None]) -> int:
        """Return the length, given the value of each reading of the formula."""
        lengths = [value for value in map(values.__getitem__, self.readings) if value is not None]
        if self.given is not None:
            lengths.append(self.given)
        return max(lengths, default=self.assumed)


Length: TypeAlias = int | VariableLength
# The factor by which a step of the formula counts, and the number of the step.
Term: TypeAlias = tuple[int, int]


class Amount:
    """A load that is being added up: a fixed part, and the steps of a formula that count in addition to it."""

    __slots__ = ("bytes", "cost", "terms", "values")

    def __init__(self, cost: int = 0, values: int = 0, bytes: int = 0) -> None:  # noqa: A002 - as in Load
        self.cost = cost
        self.values = values
        self.bytes = bytes
        self.terms: list[Term] = []

    def add(self, other: "Amount", times: int = 1) -> None:
        """Add `other`, `times` times."""
        self.cost += other.cost * times
        self.values += other.values * times
        self.bytes += other.bytes * times
        if other.terms:
            self.terms += [(count * times, step) for count, step in other.terms]


class _Step(NamedTuple):
    """A load that depends on variables: `length` times the sum of a fixed load and of earlier steps."""

    length: VariableLength | None
    fixed: Load
    terms: tuple[Term, ...]


class Formula:
    """The steps that compute the load of an operation from the readings of its variables.

    A step refers to earlier steps, and each step is computed once, however often it counts. So the length of a formula
    and the time to compute it are linear in the size of the document, however deep its fragments nest.
    """

    def __init__(self) -> None:
        self.readings: dict[tuple[str, str], Reading] = {}
        self._positions: dict[tuple[str, str], int] = {}
        self._steps: list[_Step] = []

    def read(self, variable: str, what: str, reading: Reading) -> int:
        """Return the position of the reading `what` of a variable among all readings of the formula."""
        self.readings[variable, what] = reading
        return self._positions.setdefault((variable, what), len(self._positions))

    def add(self, total: Amount, part: Amount, length: Length) -> None:
        """Add `part` to `total` `length` times."""
        if isinstance(length, int):
            total.add(part, length)
        else:
            total.terms.append((1, self._step(part, length)))

    def fold(self, amount: Amount) -> None:
        """Combine all steps of `amount` into one, so that an amount to which it is added grows by at most one step."""
        if len(amount.terms) > 1:
            step = self._step(amount, None)
            amount.cost = amount.values = amount.bytes = 0
            amount.terms = [(1, step)]

    def _step(self, amount: Amount, length: VariableLength | None) -> int:
        self._steps.append(_Step(length, Load(amount.cost, amount.values, amount.bytes), tuple(amount.terms)))
        return len(self._steps) - 1

    def load(self, amount: Amount, values: Sequence[int | None]) -> Load:
        """Return the load that `amount` represents, given the value of each reading, in the order of `readings`."""
        loads: list[Load] = []
        for step in self._steps:
            times = 1 if step.length is None else step.length.of(values)
            loads.append(_sum(step.fixed, step.terms, loads, times))
        return _sum(Load(amount.cost, amount.values, amount.bytes), amount.terms, loads, 1)


def _sum(fixed: Load, terms: Sequence[Term], loads: Sequence[Load], times: int) -> Load:
    cost, values, length = fixed
    for count, step in terms:
        load = loads[step]
        cost += load.cost * count
        values += load.values * count
        length += load.bytes * count
    return Load(cost * times, values * times, length * times)
