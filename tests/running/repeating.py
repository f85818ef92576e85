"""The seed of a test run determines all random values, and each failure prints how to run it again, alone.

Each run draws a new seed and prints it. `--seed` sets it. All generated values depend on the seed alone, and not on
earlier tests: the examples of Hypothesis, and the cases of our own generators, whose random numbers are from `Cases`.
So `--case` can generate one failed case again without those before it.
"""

import random
import re
import shlex
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from random import Random
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, is_hypothesis_test, reproduce_failure, settings

SEED, SEED_BITS = "seed", 31
# No deadline: an example may wait for a processor. The database of a test is the same for all its examples, which
# remove their rows.
settings.register_profile(
    "folio",
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("folio")

_case = pytest.StashKey[str]()
_BLOB = re.compile(r"@reproduce_failure\('[^']+', b'([^']+)'\)")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that repeat a run."""
    group = parser.getgroup("repeating", "running a test again")
    group.addoption("--seed", type=int, metavar="N", help="the seed of all generated values; each run prints its seed")
    group.addoption(
        "--case", metavar="CASE", help="run only this generated case; a failure prints the name of its case"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Set the seed before Hypothesis's plugin reads it. Workers receive the seed of the run."""
    worker_input: dict[str, int] = getattr(config, "workerinput", {})
    if config.option.seed is None:
        config.option.seed = worker_input.get(SEED) or random.SystemRandom().getrandbits(SEED_BITS)
    config.option.hypothesis_seed = str(config.option.seed)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Pass the seed of the run to a worker."""
    node.workerinput[SEED] = node.config.option.seed


def pytest_report_header(config: pytest.Config) -> str:
    """Return the line that reports the seed."""
    return f"seed: {config.option.seed}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Restrict Hypothesis to one example if `--case` names it."""
    case = config.option.case
    if case is None:
        return
    if len(items) != 1:
        raise pytest.UsageError(f"--case names a case of one test, and {len(items)} are to run: name the test, too")
    test: Any = getattr(items[0], "obj", None)
    if is_hypothesis_test(test):
        reproduce_failure(hypothesis.__version__, case.encode())(test)


# ---------------------------------------------------------------- our own generators


class Cases:
    """The generated cases of one test. Each has separate random numbers, from the run's seed and the case's number.

    Attributes:
        seed: the seed of the run.
        is_one: whether only one case is run. Assertions about many cases do not apply then.
    """

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self.seed: int = item.config.option.seed
        self.is_one = item.config.option.case is not None

    def random(self) -> Random:
        """Return random numbers for a test that is one case."""
        return Random(self.seed)  # noqa: S311 - must be repeatable, not secret

    def numbered(self, count: int) -> Iterator[tuple[int, Random]]:
        """Yield the number and the random numbers of each of `count` cases, or of the one that `--case` names."""
        only = self._item.config.option.case
        for number in range(count) if only is None else [int(only)]:
            self._item.stash[_case] = str(number)
            yield number, Random(f"{self.seed} {number}")  # noqa: S311 - must be repeatable, not secret
        del self._item.stash[_case]


@pytest.fixture
def cases(request: pytest.FixtureRequest) -> Cases:
    """The cases that our own generators make for this test."""
    assert isinstance(request.node, pytest.Item)
    return Cases(request.node)


# ---------------------------------------------------------------- failures


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the command line that runs a failed test again to its report."""
    report = yield
    if report.failed:
        blob = _BLOB.search(report.longreprtext) if is_hypothesis_test(getattr(item, "obj", None)) else None
        case = blob[1] if blob else item.stash.get(_case, None)
        report.user_properties.append(("again", _command(item, case)))
    return report


def _command(item: pytest.Item, case: str | None) -> str:
    """Return the command line that runs a test again, for a shell in the project's directory."""
    option = item.config.option
    words = [_python(), "-m", "pytest", f"--seed={option.seed}"]
    words += [f"--case={case}"] if case is not None else []
    words += ["--long"] if option.long else []
    words += [f"--engine={option.engine}"] if option.engine != "compiled" else []
    return shlex.join([*words, item.nodeid])


def _python() -> str:
    path = Path(sys.executable)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the command lines that run the failed tests again."""
    reports = [one for kind in ("failed", "error") for one in terminalreporter.getreports(kind)]
    commands = [value for one in reports for name, value in getattr(one, "user_properties", ()) if name == "again"]
    if commands:
        terminalreporter.section("run the failed tests again")
        for command in dict.fromkeys(commands):
            terminalreporter.line(command)
