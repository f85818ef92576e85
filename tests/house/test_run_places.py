"""The data of a test run: no other run removes it while it runs, and the next run removes it if it was killed."""

import subprocess
import sys
from pathlib import Path

from tests.running.places import PREFIX, make_run_directory

ROOT = Path(__file__).parents[2]
RUN = """
import sys
from pathlib import Path
from tests.running.places import make_run_directory

print(make_run_directory(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


def test_directory_of_a_killed_run_is_removed_and_that_of_another_stays(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    foreign = tmp_path / f"{PREFIX}foreign"
    foreign.mkdir()  # without a lock it is not the data of a test run
    with subprocess.Popen(  # noqa: S603 - this interpreter
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        (theirs / "data").touch()
        own = make_run_directory(tmp_path)
        assert {theirs, own, foreign} == set(tmp_path.iterdir())
        other.kill()
    third = make_run_directory(tmp_path)
    assert {own, foreign, third} == set(tmp_path.iterdir())
    assert third.stat().st_mode & 0o777 == 0o755  # PostgreSQL's account must enter it
