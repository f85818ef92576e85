"""A test run prints its seed, repeats with the same seed, and prints how to run each failed test again, alone."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running.amounts import sample

ROOT = Path(__file__).parents[2]
MADE_UP = """
import os
import pytest
from hypothesis import given, settings, strategies as st

def keep(text):
    with open(os.environ["KEPT"], "a") as kept:
        kept.write(f"{text}\\n")

@settings(max_examples=30)
@given(number=st.integers(0, 10**9))
def test_of_made_up_numbers(number):
    keep(f"hypothesis {number}")
    assert number < 10**8 or "FAILS" not in os.environ

def test_of_a_generator_of_our_own(cases):
    for number, chance in cases.numbered(30):
        drawn = chance.randrange(100)
        keep(f"own {number} {drawn}")
        assert drawn < 80 or "FAILS" not in os.environ

@pytest.mark.long("it is an example")
def test_of_the_long_kind():
    keep("long")

@pytest.mark.parametrize("of", ["one's own [id]", pytest.param("another", marks=pytest.mark.long("of it"))])
def test_with_a_parameter(of):
    keep(of)
    assert "FAILS" not in os.environ
"""


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A file of tests that are not ours, which run as ours do."""
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = '-p no:cacheprovider'\n")
    (tmp_path / "conftest.py").write_text(
        'pytest_plugins = ["tests.running.repeating", "tests.running.lengths"]\n'
        "def pytest_addoption(parser):\n    parser.addoption('--engine', default='compiled')\n"
    )
    (tmp_path / "test_example.py").write_text(MADE_UP)
    return tmp_path


def run(example: Path, *arguments: str, **environment: str) -> tuple[str, list[str]]:
    """Run the example with some arguments of pytest; return what it says, and what its tests kept, in any order."""
    kept = example / "kept"
    kept.write_text("")
    ran = subprocess.run(  # noqa: S603 - this interpreter, our own words
        [sys.executable, "-m", "pytest", *arguments],
        cwd=example,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "KEPT": str(kept), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode in {0, 1}, ran.stdout + ran.stderr
    return ran.stdout, sorted(kept.read_text().splitlines())


def test_same_seed_makes_up_the_same_however_many_workers_run_and_another_seed_something_else(example: Path) -> None:
    _, first = run(example, "--seed=5")
    output, other = run(example, "-n2")
    seed = output.partition("\nseed: ")[2].partition("\n")[0]
    assert other != first
    assert run(example, f"--seed={seed}")[1] == other


def test_failure_prints_how_to_run_it_again_and_a_generated_case_alone(example: Path) -> None:
    output, kept = run(example, "--seed=5", "-n2", FAILS="1")
    commands = output.partition("run the failed tests again")[2].partition("short test summary")[0].splitlines()[1:]
    own, made_up, parameter = sorted(
        (shlex.split(line) for line in commands if "-m pytest" in line), key=lambda w: w[-1]
    )
    assert [one[-1].partition("::")[2] for one in (own, made_up, parameter)] == [
        "test_of_a_generator_of_our_own",
        "test_of_made_up_numbers",
        "test_with_a_parameter[one's own [id]]",
    ]
    assert all(one[:3] == [sys.executable, "-m", "pytest"] for one in (own, made_up, parameter))
    last = max((one for one in kept if one.startswith("own")), key=lambda one: int(one.split()[1]))
    assert run(example, *own[3:], FAILS="1")[1] == [last]
    # Hypothesis runs what fails a second time, to see whether it does so always.
    assert set(run(example, *made_up[3:], FAILS="1")[1]) <= {"hypothesis 100000000"} != set()
    assert run(example, *parameter[3:], FAILS="1")[1] == ["one's own [id]"]


LONG = [
    (["-k", "kind or parameter", "-n2"], ["one's own [id]"]),
    (["-k", "kind or parameter"], ["one's own [id]"]),
    (["test_example.py::test_with_a_parameter[another]"], ["another"]),
    (["-k", "kind or parameter", "--long"], ["another", "long", "one's own [id]"]),
    (["test_example.py::test_of_the_long_kind"], ["long"]),
    (["test_example.py::test_with_a_parameter"], ["another", "one's own [id]"]),
]


@pytest.mark.parametrize("case", sample(LONG, every=6))
def test_long_test_runs_if_it_is_requested(example: Path, case: tuple[list[str], list[str]]) -> None:
    arguments, kept = case
    assert run(example, *arguments)[1] == kept
