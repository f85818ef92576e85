"""The lock files agree: tests run what the application runs, and development runs what production has."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def locked(name: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Return the version and the hashes of every package of a lock file."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = re.findall(r"^([\w.-]+)==(\S+)(.*(?:\n .*)*)", text, re.MULTILINE)
    return {package: (version, frozenset(re.findall(r"sha256:\w+", rest))) for package, version, rest in found}


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [("requirements.lock", "requirements-run.lock"), ("requirements-run.lock", "requirements-dev.lock")],
)
def test_smaller_lock_is_part_of_the_larger(smaller: str, larger: str) -> None:
    held, holding = locked(smaller), locked(larger)
    assert len(held) > 40
    assert {name: one for name, one in held.items() if holding.get(name) != one} == {}, "write the locks by `make lock`"


def test_production_lock_has_no_package_that_only_tests_need() -> None:
    assert not locked("requirements-run.lock").keys() & {"pytest", "mypy", "ruff", "hypothesis", "schemathesis"}
