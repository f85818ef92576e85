"""What a test run leaves to chance is decided by its seed, and whatever fails says how to run it again, alone.

The seed is drawn anew for each run, printed, and taken again by `--seed`. Everything that is made up hangs on it alone,
and not on what ran before: Hypothesis's examples, and the cases of our own generators, which `Cases` gives their random
numbers. So one failed case can be made again without those before it, by `--case`.
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
# No deadline: an example that waits for the other core is no slower for it. A test's own database lives through all
# of its examples, which clean up after themselves.
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
    """Add what makes a run go as another went."""
    group = parser.getgroup("repeating", "running a test again")
    group.addoption("--seed", type=int, metavar="N", help="decides what is made up; the header of each run says which")
    group.addoption(
        "--case", metavar="CASE", help="run this made-up case alone; a failure says which, and of what test"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Settle the seed before Hypothesis's own plugin looks for one. Workers are told that of the run."""
    told: dict[str, int] = getattr(config, "workerinput", {})
    if config.option.seed is None:
        config.option.seed = told.get(SEED) or random.SystemRandom().getrandbits(SEED_BITS)
    config.option.hypothesis_seed = str(config.option.seed)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker the seed of the run."""
    node.workerinput[SEED] = node.config.option.seed


def pytest_report_header(config: pytest.Config) -> str:
    """Say what the seed is."""
    return f"seed: {config.option.seed}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let Hypothesis make one example alone where it is named."""
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
    """The made-up cases of one test. Each has random numbers of its own, by the run's seed and the case's number.

    Attributes:
        seed: of the run.
        is_one: whether one case alone is run, of which nothing can be said that is true of many.
    """

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self.seed: int = item.config.option.seed
        self.is_one = item.config.option.case is not None

    def random(self) -> Random:
        """Return random numbers for a test that is one case."""
        return Random(self.seed)  # noqa: S311 - to be made again, not to be secret

    def numbered(self, count: int) -> Iterator[tuple[int, Random]]:
        """Yield the number and the random numbers of each of `count` cases, or of the one that `--case` names."""
        only = self._item.config.option.case
        for number in range(count) if only is None else [int(only)]:
            self._item.stash[_case] = str(number)
            yield number, Random(f"{self.seed} {number}")  # noqa: S311 - likewise
        del self._item.stash[_case]


@pytest.fixture
def cases(request: pytest.FixtureRequest) -> Cases:
    """What is made up for this test by a generator of our own."""
    assert isinstance(request.node, pytest.Item)
    return Cases(request.node)


# ---------------------------------------------------------------- failures


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write down how to run again what has failed."""
    report = yield
    if report.failed:
        blob = _BLOB.search(report.longreprtext) if is_hypothesis_test(getattr(item, "obj", None)) else None
        case = blob[1] if blob else item.stash.get(_case, None)
        report.user_properties.append(("again", _command(item, case)))
    return report


def _command(item: pytest.Item, case: str | None) -> str:
    """Return the command line that runs a test again, as it is pasted into a shell in the project's directory."""
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
    """Print how to run again what has failed."""
    reports = [one for kind in ("failed", "error") for one in terminalreporter.getreports(kind)]
    commands = [value for one in reports for name, value in getattr(one, "user_properties", ()) if name == "again"]
    if commands:
        terminalreporter.section("run again what has failed")
        for command in dict.fromkeys(commands):
            terminalreporter.line(command)
