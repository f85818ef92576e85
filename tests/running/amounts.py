"""How many examples a test makes up: all of them in a long run, a share in a short one."""

from collections.abc import Iterable
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


def sample(values: Iterable[T], every: int) -> list[ParameterSet]:
    """Return parameters of a test: the first of each `every` values runs always, the others in a long run alone."""
    long = pytest.mark.long("the others of a sample")
    return [pytest.param(value, marks=() if number % every == 0 else long) for number, value in enumerate(values)]
