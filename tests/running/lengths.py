"""Leaves out long tests and most of the generated examples, unless a run has the option `--long`.

`make test` should take minutes. `make test-long` runs every test with all its examples. A long test that is named by
its id also runs without the option.
"""

import pytest

from tests.running import amounts

NAMED = "::"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--long`."""
    parser.addoption("--long", action="store_true", help="run long tests, too, and every test with all its examples")


def pytest_configure(config: pytest.Config) -> None:
    """Set the number of examples before any test is imported."""
    amounts.everything = config.option.long
    config.addinivalue_line("markers", "long(reason): takes long, and runs with --long (`make test-long`) alone")


def pytest_report_header(config: pytest.Config) -> str:
    """Return the line that reports the length of the run."""
    return "length: every test, all examples" if config.option.long else "length: short (--long: everything)"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out long tests."""
    if config.option.long:
        return
    named = [argument for argument in config.args if NAMED in argument]
    left_out = [
        item
        for item in items
        if item.get_closest_marker("long") and not any(_is_named(item.nodeid, argument) for argument in named)
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def _is_named(node_id: str, argument: str) -> bool:
    """Return whether an argument of the command line names a test, with or without its parameters."""
    path, _, name = argument.partition(NAMED)
    own_path, _, own_name = node_id.partition(NAMED)
    return own_path.endswith(path.removeprefix("./")) and name in {own_name, own_name.partition("[")[0]}
