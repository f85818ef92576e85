"""What make would run, whether or not make itself runs the tests."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAKE = shutil.which("make") or "make"
# An outer make passes its variables on, so that `make test ONLY=…` would change what an inner make prints.
OF_AN_OUTER_MAKE = {"MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "MAKELEVEL", "ONLY", "SEED", "WORKERS"}


def pytest_commands(*arguments: str) -> list[list[str]]:
    """Return the command lines with which make would run pytest for these arguments, from its options on."""
    printed = subprocess.run(  # noqa: S603 - our own
        # With an interpreter, for which make would search at each of its uses, by starting it.
        [MAKE, "--dry-run", "--always-make", f"PYTHON={sys.executable}", *arguments],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in OF_AN_OUTER_MAKE},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [shlex.split(after) for after in re.findall(r" -m pytest ((?:'[^']*'|[^\n'])*)", printed)]
