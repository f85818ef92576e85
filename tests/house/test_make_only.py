"""`make test ONLY=…` passes its value to pytest: paths, the id of a test, or an expression for -k."""

import pytest

from tests.running.makefile import pytest_commands

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
    assert pytest_commands("test", f"ONLY={only}") == [arguments]
