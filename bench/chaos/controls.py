"""`python -m bench.chaos.controls --help`: planted bugs, each of which a check must catch.

A check that cannot fail proves nothing. Each patch in `planted` puts one bug into a copy of the project. It names the
promise that the bug breaks, the check that must catch it, and the message of that check. The checks must pass on a copy
without a bug. A patch that no longer applies is a failure: adapt it to the current code.

A patch begins with lines of the form `Name: value`:

    Promise: the number of the promise in docs/MONEY.md
    Bug: a short description of the bug
    Check: `pytest` with the id of a test, or `chaos` with its options
    Caught by: kinds of violations, separated by ` | `, of which one must occur; or words in the failing test's output
"""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLANTED = Path(__file__).parent / "planted"
AT_ONCE = 2
LIMIT_S = 180
FAILED = 1  # a failed test or a broken promise; pytest uses other numbers for tests that it cannot run
SHOWN_CHARACTERS = 3000
CLEAN_MINUTES = "0.2"


@dataclass(frozen=True)
class Bug:
    """A planted bug, as its patch describes it."""

    name: str
    promise: int
    what: str
    check: Sequence[str]
    caught_by: Sequence[str]

    @property
    def is_test(self) -> bool:
        """Whether a test must catch it, not a chaos run."""
        return self.check[0] == "pytest"


def bugs() -> list[Bug]:
    """Return all planted bugs, in the order of their promises."""
    return [_read(path) for path in sorted(PLANTED.glob("*.patch"))]


def _read(path: Path) -> Bug:
    head = path.read_text(encoding="utf-8").partition("\ndiff --git")[0]
    headers = {name: value.strip() for name, _, value in (line.partition(":") for line in head.splitlines())}
    try:
        check = shlex.split(headers["Check"])
        bug = Bug(path.stem, int(headers["Promise"]), headers["Bug"], check, headers["Caught by"].split(" | "))
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} has an invalid header: {error!r}") from None
    if check[:1] not in (["pytest"], ["chaos"]) or not all(bug.caught_by):
        raise ValueError(f"{path} names an unknown check")
    return bug


def main() -> None:
    """Plant each bug in turn, and exit 1 if one is not caught."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos.controls", description="Planted bugs must be caught.")
    parser.add_argument(
        "--only", default="", help="bugs whose name contains this text; without the option also the run without a bug"
    )
    given = parser.parse_args()
    started_at = time.monotonic()
    chosen = [bug for bug in bugs() if given.only in bug.name]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        clean = [] if given.only else [pool.submit(_clean, chosen)]
        outcomes = [*pool.map(_planted, chosen)]
        failures = [one for one in [*(done.result() for done in clean), *outcomes] if one]
    for failure in failures:
        sys.stderr.write(f"{failure}\n")
    sys.stdout.write(
        f"chaos-controls: {len(chosen)} planted bugs, {len(failures)} failures, {time.monotonic() - started_at:.0f} s\n"
    )
    sys.exit(1 if failures or not chosen else 0)


def _planted(bug: Bug) -> str | None:
    """Plant a bug, run its check, and return why it was not caught, or None."""
    started_at = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="folio-planted-") as name:
        copy = _copied(Path(name))
        patch = str(PLANTED / f"{bug.name}.patch")
        applied = subprocess.run(["git", "apply", patch], cwd=copy, capture_output=True, text=True, check=False)  # noqa: S603, S607 - our own
        if applied.returncode:
            return f"{bug.name}: the patch no longer applies; adapt it to the current code:\n{applied.stderr}"
        status, output = _run(_command(bug.check, copy), copy)
    words = bug.caught_by if bug.is_test else [f" x {kind} (" for kind in bug.caught_by]
    is_named = not bug.is_test or f"FAILED {bug.check[1]}" in output
    if status != FAILED or not is_named or not any(one in output for one in words):
        return f"{bug.name}: not caught by `{shlex.join(bug.check)}`, status {status}:\n{output[-SHOWN_CHARACTERS:]}"
    caught = time.monotonic() - started_at
    sys.stderr.write(f"promise {bug.promise:2}: caught in {caught:3.0f} s: {bug.what}\n")
    return None


def _clean(chosen: Sequence[Bug]) -> str | None:
    """Run all checks on a copy without a bug, and return which one fails, or None."""
    tests = sorted({bug.check[1] for bug in chosen if bug.is_test})
    with tempfile.TemporaryDirectory(prefix="folio-planted-") as name:
        copy = _copied(Path(name))
        for check in (["pytest", *tests], ["chaos", "--minutes", CLEAN_MINUTES]):
            status, output = _run(_command(check, copy), copy)
            if status:
                return f"without a bug: `{shlex.join(check)}` fails, status {status}:\n{output[-SHOWN_CHARACTERS:]}"
    sys.stderr.write("without a bug: every check passes\n")
    return None


def _copied(directory: Path) -> Path:
    """Copy all files that are under version control, or are new and not ignored."""
    directory.chmod(0o755)
    git = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(git, cwd=ROOT, capture_output=True, check=True).stdout.decode()  # noqa: S603 - constant arguments
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, directory / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    return directory


def _command(check: Sequence[str], copy: Path) -> list[str]:
    if check[0] == "pytest":
        return [sys.executable, "-m", "pytest", "-q", "--long", "--no-header", "--tb=short", *check[1:]]
    return [sys.executable, "-m", "bench.chaos", *check[1:], "--log", str(copy / "server.log")]


def _run(command: Sequence[str], copy: Path) -> tuple[int | None, str]:
    """Run a command in the copy; return its exit status, or None after a timeout, and its output."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("FOLIO_", "PG", "PYTEST_"))}
    variables |= {"PYTHONPATH": str(copy), "COLUMNS": "400", "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(  # noqa: S603 - this interpreter
        command, cwd=copy, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        output, _ = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # it stops the processes that it has started
        output, _ = process.communicate()
        return None, output
    return process.returncode, output


if __name__ == "__main__":
    main()
