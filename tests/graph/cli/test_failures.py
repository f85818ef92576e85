"""Every command with every failure: one line that describes it, an exit code, and never a traceback.

The test covers all commands of the command line: a new one fails `test_every_command_is_driven` until it is added.
"""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from db.embedded.server import EmbeddedServer
from tests.db.support.clusters import needs_root
from tests.graph.cli.conftest import IDA, execute_as_superuser
from tests.graph.cli.test_serving import ROOT, free_port
from tests.graph.support.commands import CALLS, Ended, Needs, Output, called, every_command, start
from tests.running.amounts import sample


def test_every_command_is_driven() -> None:
    assert set(CALLS) == set(every_command()), (
        "say in tests/graph/support/commands.py how it is called and what it needs"
    )


@dataclass(frozen=True)
class Access:
    """A database that cannot be used: its URL, and the message of a command.

    Attributes:
        url: {port} is a port where nothing listens, {server} the socket's directory of a running server.
        text: the beginning of the line, up to the place.
        place: how the line names the database.
        needs: the commands that need the database.
    """

    url: str
    text: str
    place: str
    needs: Needs = Needs.DATABASE


# Commands that a read-only database does not stop, and that would really run here.
UNTROUBLED = {
    "dev": "it serves what is there",
    "serve": "it serves what can be read",
    "migrate revision": "it would write a file into the project",
}
SOCKET = "{server}/.s.PGSQL.5432"
ACCESSES = {
    "refused": Access(
        "postgresql://folio:hunter2@127.0.0.1:{port}/folio",
        "no server listens there (connection refused); start PostgreSQL",
        'the database "folio" at 127.0.0.1:{port} as user "folio"',
    ),
    "unknown host": Access(
        "postgresql://folio:hunter2@nowhere.invalid/folio",
        "the name of the host is not known; correct the host in FOLIO_DATABASE_URL",
        'the database "folio" at nowhere.invalid:5432 as user "folio"',
    ),
    "no socket": Access(
        "postgresql://folio@/folio?host=/nowhere",
        "there is no such socket; start PostgreSQL",
        'the database "folio" at /nowhere/.s.PGSQL.5432 as user "folio"',
    ),
    "wrong password": Access(
        "postgresql://locked:hunter2@/whole?host={server}",
        'password authentication failed for user "locked"; correct user and password in FOLIO_DATABASE_URL',
        f'the database "whole" at {SOCKET} as user "locked"',
    ),
    "no such database": Access(
        "postgresql://folio:hunter2@/missing?host={server}",
        'database "missing" does not exist; correct the database in FOLIO_DATABASE_URL, or create it',
        f'the database "missing" at {SOCKET} as user "folio"',
    ),
    "no such role": Access(
        "postgresql://nobody:hunter2@/whole?host={server}",
        'role "nobody" does not exist; correct the user in FOLIO_DATABASE_URL, or create the role',
        f'the database "whole" at {SOCKET} as user "nobody"',
    ),
    "no rights": Access(
        "postgresql://stranger@/whole?host={server}",
        "permission denied for table alembic_version; connect as the role that owns the database",
        f'the database "whole" at {SOCKET} as user "stranger"',
    ),
    "read only": Access(
        "postgresql://reader@/whole?host={server}",
        "accepts no writes",
        f'the database "whole" at {SOCKET} as user "reader"',
        Needs.WRITES,
    ),
    "not UTF-8": Access(
        "postgresql://folio@/latin?host={server}",
        "is LATIN1; create the database with ENCODING 'UTF8'",
        f'the encoding of the database "latin" at {SOCKET} as user "folio"',
    ),
}


@pytest.mark.parametrize("failure", ACCESSES)
@pytest.mark.parametrize("command", sample(CALLS, every=3))
def test_database_that_cannot_be_used(command: str, failure: str, refusing: EmbeddedServer, files: Path) -> None:
    access, needs, port = ACCESSES[failure], CALLS[command][1], free_port()
    if access.needs is Needs.WRITES and command in UNTROUBLED:
        pytest.skip(UNTROUBLED[command])

    def filled(text: str) -> str:
        return text.format(port=port, server=refusing.socket_dir)

    ended = start(called(command, files, port), files / "work", FOLIO_DATABASE_URL=filled(access.url)).ended()
    assert_no_traceback_or_password(ended)
    if not needs & access.needs:
        assert ended.code == 0
        assert "folio:" not in ended.err
    else:
        assert ended.code == 1
        assert_one_line(ended, filled(access.text), filled(access.place))
    created = {path.name for path in (files / "work").iterdir()} - {"stdout", "stderr"}
    assert created <= ({".folio"} if needs & Needs.SERVES else set())


def assert_one_line(ended: Ended, *message: str) -> None:
    """Assert that stderr is one line of the command with all these texts."""
    assert ended.err.endswith("\n")
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("folio: ")
    for text in message:
        assert text in ended.err


def assert_no_traceback_or_password(ended: Ended) -> None:
    """Assert that the output of a command contains neither a traceback nor a password."""
    for text in ("Traceback", "hunter2", "a bug in Folio", "Error", "None"):
        assert text not in ended.err
    assert "hunter2" not in ended.out


# ---------------------------------------------------------------- the data directory


@pytest.fixture
def full_disk(files: Path) -> Iterator[Path]:
    """A file system that has room for some files, but not for a cluster."""
    place = files / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0755", "none", place], check=True)  # noqa: S603, S607
    yield place
    subprocess.run(["umount", place], check=True)  # noqa: S603, S607


@pytest.mark.parametrize("command", sample(CALLS, every=3))
def test_data_directory_that_cannot_be_made(command: str, files: Path) -> None:
    refused = "there is no database in /proc/folio yet", "the data directory /proc/folio"
    check_data_directory(command, files, Path("/proc/folio"), *refused)


@pytest.mark.parametrize("command", sample(CALLS, every=3))
def test_data_directory_that_is_a_file(command: str, files: Path) -> None:
    refused = "cannot be used: a file exists where a directory is needed"
    check_data_directory(command, files, files / "lines.jsonl", refused, refused)


@needs_root
@pytest.mark.parametrize("command", sample(CALLS, every=3))
def test_data_directory_on_a_full_disk(command: str, files: Path, full_disk: Path) -> None:
    directory = full_disk / "data"
    check_data_directory(command, files, directory, f"there is no database in {directory} yet", "No space left")


def check_data_directory(command: str, files: Path, directory: Path, missing: str, unusable: str) -> None:
    """Run a command with an unusable data directory; check its message, which depends on whether it creates data."""
    needs = CALLS[command][1]
    ended = start(called(command, files, free_port()), files / "work", FOLIO_DATA_DIR=str(directory)).ended()
    assert_no_traceback_or_password(ended)
    if not needs & Needs.DATABASE:
        assert (ended.code, ended.err) == (0, "")
    else:
        assert ended.code == 1
        assert_one_line(ended, unusable if needs & Needs.MAKES else missing)


# ---------------------------------------------------------------- standard output

OUTPUTS = {
    Output.FULL: (1, "folio: standard output cannot be written: No space left on device\n"),
    Output.UNREAD: (141, ""),
    Output.CLOSED: (1, "folio: standard output cannot be written: Bad file descriptor\n"),
}


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("command", sample([name for name in CALLS if name not in UNTROUBLED], every=3))
async def test_standard_output_that_accepts_no_bytes(
    command: str, output: Output, database_url: str, server: EmbeddedServer, files: Path
) -> None:
    if command != "seed":
        await execute_as_superuser(server, database_url, IDA)
    ended = start(called(command, files), files / "work", output=output, FOLIO_DATABASE_URL=database_url).ended()
    assert_no_traceback_or_password(ended)
    code, line = OUTPUTS[output] if CALLS[command][1] & Needs.OUTPUT else (0, "")
    assert ended.code == code
    assert ended.err.endswith(line)
    assert "folio:" not in ended.err.removesuffix(line)


AT_THE_END = [
    ("> /dev/full", 1, "folio: standard output cannot be written: No space left on device\n"),
    (">&-", 1, "folio: standard output cannot be written: Bad file descriptor\n"),
    ("| true", 141, ""),
    ("> /dev/null 2> /dev/full", 0, ""),
    ("> /dev/null 2>&-", 0, ""),
    ("> /dev/full 2> /dev/full", 1, ""),
    ("> /dev/null <&-", 0, ""),
]


@pytest.mark.parametrize("case", sample(AT_THE_END, every=3))
def test_interpreter_adds_nothing_at_its_end(case: tuple[str, int, str]) -> None:
    redirection, code, message = case
    # `sleep` leaves the reader of the pipe time to exit.
    call = 'sleep 0.2; "$0" -c "from graph.cli import main; main()" --help'
    shell = ["bash", "-c", f"{{ {call}; }} {redirection}; exit ${{PIPESTATUS[0]}}", sys.executable]
    ended = subprocess.run(shell, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - constants
    assert (ended.returncode, ended.stderr) == (code, message)
