"""`make test ONLY=…` hands on to pytest what is named: paths, the id of a test, or an expression for -k."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKE = shutil.which("make") or "make"
SET_BY_AN_OUTER_MAKE = {"MAKEFLAGS", "MAKEOVERRIDES", "SEED", "ONLY", "WORKERS"}
PARALLEL = ["-n", "3", "--dist", "worksteal"]


@pytest.mark.parametrize(
    ("only", "arguments"),
    [
        ("tests", ["tests"]),
        ("tests/db/test_fields.py", ["tests/db/test_fields.py"]),
        ("tests/house tests/db/models", [*PARALLEL, "tests/house", "tests/db/models"]),
        ("tests/house\n  tests/db", [*PARALLEL, "tests/house", "tests/db"]),
        ("tests/db/test_fields.py::test_x[1]", ["tests/db/test_fields.py::test_x[1]"]),
        ("tests/db/test_fields.py::test_x[a b]", [*PARALLEL, "tests/db/test_fields.py::test_x[a b]"]),
        ("cursor", ["-k", "cursor"]),
        ("cursor and not draft", [*PARALLEL, "-k", "cursor and not draft"]),
    ],
)
def test_what_is_named_reaches_pytest(only: str, arguments: list[str]) -> None:
    written = subprocess.run(  # noqa: S603 - our own
        [MAKE, "--dry-run", "test", f"ONLY={only}"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in SET_BY_AN_OUTER_MAKE},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shlex.split(written.partition(" -m pytest ")[2]) == arguments
