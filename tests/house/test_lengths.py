"""No test is lost: each runs in `make test` or in `make test-long`, and what is long is listed in tests/README.md."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running.makefile import pytest_commands

ROOT = Path(__file__).parents[2]
LISTED = re.compile(r"`(tests/[\w/]+\.py)`")


def collected(options: list[str]) -> set[str]:
    """Return the ids of what pytest runs with these options, without parameters."""
    ran = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-m", "pytest", *options, "-n0", "--collect-only", "-q"],
        cwd=ROOT,
        # Without what makes it a part of this run.
        env={name: value for name, value in os.environ.items() if not name.startswith(("TESTS_", "PYTEST_"))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return {line.partition("[")[0] for line in ran.stdout.splitlines() if "::" in line}


def texts() -> dict[str, str]:
    """Return the text of every Python file below tests/, by its path."""
    return {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py")}


def all_tests() -> set[str]:
    """Return the id of every test that is written anywhere below tests/."""
    return {
        f"{name}::{node.name}"
        for name, text in texts().items()
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_commands_that_must_pass_run_all_tests() -> None:
    ci = (ROOT / ".ci/run").read_text("utf-8").splitlines()
    assert {"make test", "make test-long"} <= set(ci)
    short, long = pytest_commands("test"), pytest_commands("test-long")
    # All of it: no path, no expression. What `make test` leaves out it leaves out for being marked.
    assert (short[0], long[0]) == (["-n", "3", "--dist", "worksteal"], ["-n", "3", "--dist", "worksteal", "--long"])


@pytest.mark.long("all tests are collected")
def test_every_test_is_collected_by_the_command_for_long_tests() -> None:
    assert collected(pytest_commands("test-long")[0]) == all_tests()


def test_readme_of_the_tests_lists_the_long_tests() -> None:
    own = "tests/running/", "tests/house/test_repeating.py"
    needle = re.compile(r"\bmark\.long\(|(?<![.\w])sample\(")
    long = {name for name, text in texts().items() if needle.search(text) and not name.startswith(own)}
    assert set(LISTED.findall((ROOT / "tests/README.md").read_text("utf-8"))) - {"tests/running/amounts.py"} == long


def test_the_tests_of_every_noun_run_on_the_ordinary_engine_too() -> None:
    nouns = {path.relative_to(ROOT).parent.as_posix() for path in (ROOT / "tests/graph/schema").glob("*/test_*.py")}
    _, ordinary = pytest_commands("test")
    assert ordinary[:6] == ["-n", "3", "--dist", "worksteal", "--engine", "ordinary"]
    missing = sorted(noun for noun in nouns if not any(f"{path}/".startswith(f"{noun}/") for path in ordinary[6:]))
    assert missing == [], "add these folders to MUTATING of the Makefile"


def test_every_path_that_make_passes_to_pytest_exists() -> None:
    commands = [*pytest_commands("test"), *pytest_commands("test-long")]
    missing = {one for command in commands for one in command if one.startswith("tests/") and not (ROOT / one).exists()}
    assert missing == set(), "correct MUTATING and READING of the Makefile"
