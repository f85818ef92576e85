"""How many examples a test makes up: all of them in a long run, a share in a short one."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import pytest
from _pytest.mark import ParameterSet

T = TypeVar("T")

SHARE = 5
AT_LEAST = 10
everything = False  # as `tests.running.lengths` finds the command line


def examples(count: int) -> int:
    """Return how many of `count` examples this run makes up."""
    return count if everything else min(count, max(AT_LEAST, count // SHARE))


def share(values: Sequence[T], every: int) -> Sequence[T]:
    """Return all of `values` in a long run, and the first of each `every` values in a short one."""
    return values if everything else values[::every]


def sample(values: Iterable[T], every: int) -> list[ParameterSet]:
    """Return parameters of a test: the first of each `every` values runs always, the others in a long run alone."""
    long = pytest.mark.long("the others of a sample")
    return [pytest.param(value, marks=() if number % every == 0 else long) for number, value in enumerate(values)]
