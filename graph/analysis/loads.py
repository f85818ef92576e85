"""How much work and output a part of an operation is: a load, and the formula that computes it from variables.

The walk (`graph.analysis.walk`) adds up loads. Most are numbers. Where a variable decides how long a list gets, or what
a filter costs, the load becomes a step of the operation's `Formula`; a price for other values of the variables is then
computed without the document.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias


class Load(NamedTuple):
    """The load of a part of an operation.

    Attributes:
        cost: what it costs by the weights in the schema.
        values: how many objects and leaves it has in the answer.
        bytes: how long it is in the answer, as JSON.
    """

    cost: int = 0
    values: int = 0
    bytes: int = 0


class Reading(NamedTuple):
    """What a price reads of a variable.

    Attributes:
        of: returns it, given the value of the variable.
        dearest: a value of the variable that makes the price as high as any other value does; empty or 0 where the
            value makes no difference.
    """

    of: Callable[[Any], int | None]
    dearest: Any


class VariableLength(NamedTuple):
    """The length of a list that variables decide: the largest length given, or what is assumed where none is given.

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
# How often a step of the formula counts, and which one.
Term: TypeAlias = tuple[int, int]


class Amount:
    """A load that is being added up: a fixed part, and the steps of a formula that count beside it."""

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
    """The steps that compute the load of an operation from what is read of its variables.

    A step refers to steps before it, and each is computed once, however often it counts. So a formula is no longer than
    its document, and takes no longer to compute, however the fragments of the document nest.
    """

    def __init__(self) -> None:
        self.readings: dict[tuple[str, str], Reading] = {}
        self._positions: dict[tuple[str, str], int] = {}
        self._steps: list[_Step] = []

    def read(self, variable: str, what: str, reading: Reading) -> int:
        """Return the position of what is read of a variable, among all that the formula reads."""
        self.readings[variable, what] = reading
        return self._positions.setdefault((variable, what), len(self._positions))

    def add(self, total: Amount, part: Amount, length: Length) -> None:
        """Add `part` to `total` as often as `length` says."""
        if isinstance(length, int):
            total.add(part, length)
        else:
            total.terms.append((1, self._step(part, length)))

    def fold(self, amount: Amount) -> None:
        """Make one step of all steps of `amount`, so that whatever it is added to grows by one at most."""
        if len(amount.terms) > 1:
            step = self._step(amount, None)
            amount.cost = amount.values = amount.bytes = 0
            amount.terms = [(1, step)]

    def _step(self, amount: Amount, length: VariableLength | None) -> int:
        self._steps.append(_Step(length, Load(amount.cost, amount.values, amount.bytes), tuple(amount.terms)))
        return len(self._steps) - 1

    def load(self, amount: Amount, values: Sequence[int | None]) -> Load:
        """Return the load that `amount` stands for, given the value of each reading, in the order of `readings`."""
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
