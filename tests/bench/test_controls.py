"""The planted bugs: each patch applies, each names an existing check, and each promise of docs/MONEY.md has a bug."""

import re
import subprocess
from pathlib import Path

import pytest

from bench.chaos.controls import PLANTED, Bug, bugs
from bench.chaos.promises import BROKEN_BY, TITLES
from bench.soak.faults import ALL

ROOT = Path(__file__).parents[2]
PAGE_PATH = ROOT / "docs" / "MONEY.md"
PAGE = PAGE_PATH.read_text(encoding="utf-8")
LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")

each_bug = pytest.mark.parametrize("bug", bugs(), ids=lambda bug: bug.name)


def defines(path: str, test: str) -> bool:
    """Return whether a test file defines a test of this name."""
    return f"def {test}(" in (ROOT / path).read_text(encoding="utf-8")


@each_bug
def test_planted_bug_applies_to_the_current_code(bug: Bug) -> None:
    git = ["git", "apply", "--check", str(PLANTED / f"{bug.name}.patch")]
    applied = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    assert applied.returncode == 0, f"plant the bug again in the current code: {applied.stderr}"


@each_bug
def test_planted_bug_names_an_existing_check(bug: Bug) -> None:
    if bug.is_test:
        path, _, test = bug.check[1].partition("::")
        assert defines(path, test.partition("[")[0])
        return
    assert [kind for kind in bug.caught_by if bug.promise not in BROKEN_BY[kind]] == []
    faults = bug.check[bug.check.index("--faults") + 1]
    assert faults == "none" or set(faults.split(",")) <= ALL.keys()


def test_every_promise_has_a_planted_bug() -> None:
    assert {bug.promise for bug in bugs()} == set(TITLES)


# ---------------------------------------------------------------- the page


def test_page_has_every_promise_in_the_words_of_the_reports() -> None:
    found = dict(re.findall(r"^\*\*(\d+)\. ([^.*]+)\.\*\*", PAGE, re.MULTILINE))
    assert {int(number): title for number, title in found.items()} == dict(TITLES)


def test_page_links_existing_files_and_every_planted_bug_under_its_promise() -> None:
    parts = dict(enumerate(re.split(r"^\*\*\d+\. ", PAGE, flags=re.MULTILINE)))
    for bug in bugs():
        assert f"bench/chaos/planted/{bug.name}.patch" in parts[bug.promise]
    for text, path in LINK.findall(PAGE):
        target = (PAGE_PATH.parent / path).resolve()
        assert (path, target.is_file()) == (path, True)
        if text.startswith("`test_"):
            assert (path, text, defines(target.relative_to(ROOT).as_posix(), text.strip("`"))) == (path, text, True)


def test_page_names_a_test_or_chaos_and_a_planted_bug_for_each_promise() -> None:
    for part in re.split(r"^\*\*\d+\. ", PAGE, flags=re.MULTILINE)[1:]:
        shown, _, planted = part.partition("Planted: ")
        assert "tests/" in shown
        assert LINK.search(planted)


def test_commands_of_the_page_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = set(re.findall(r"^make ([a-z-]+)", PAGE, re.MULTILINE))
    assert commands == {"chaos", "chaos-controls", "test"}
    assert [name for name in commands if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []
