"""Commands that only read: they create no directory, start no server that does not exist, and report what exists."""

import re
from pathlib import Path

import pytest

from db.settings import Settings
from tests.graph.support.commands import CALLS, Ended, Needs, called, start

NO_DATABASE = (
    "there is no database in .folio yet; `folio dev` or `folio migrate upgrade` makes one, "
    "or set FOLIO_DATABASE_URL to the URL of a server"
)


@pytest.mark.parametrize("command", [name for name, (_, needs) in CALLS.items() if not needs & Needs.MAKES])
def test_read_only_command_creates_nothing(command: str, files: Path) -> None:
    ended = start(called(command, files), files / "work").ended()
    if CALLS[command][1] & Needs.DATABASE:
        assert ended.code == 1
        assert ended.err.endswith(f"{NO_DATABASE}\n")
    else:
        assert (ended.code, ended.err) == (0, "")
    assert sorted(path.name for path in (files / "work").iterdir()) == ["stderr", "stdout"]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["migrate", "--help"], ["migrate", "upgrade", "--sql"]]
)
def test_command_that_needs_no_database_creates_none(arguments: list[str], files: Path) -> None:
    ended = start(arguments, files / "work").ended()
    assert (ended.code, ended.out == "") == (0, False)
    assert sorted(path.name for path in (files / "work").iterdir()) == ["stderr", "stdout"]


def test_version_is_that_of_the_project(files: Path) -> None:
    project = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.*)"', project, re.MULTILINE)
    assert version is not None
    assert start(["--version"], files / "work").ended().out == f"folio {version[1]}\n"


# ---------------------------------------------------------------- settings


def rows(ended: Ended) -> dict[str, list[str]]:
    """Return value and origin of each setting that was listed."""
    lines = [line.split("│") for line in ended.out.splitlines() if "│" in line]
    # A long description continues in the next line, below an empty name.
    return {cells[1].strip(): [cell.strip() for cell in cells[2:4]] for cells in lines if cells[1].strip()}


def test_settings_show_the_origin_of_each_value(files: Path) -> None:
    (files / "work/.env").write_text("FOLIO_POOL_SIZE=3\nfolio_log_level=debug\nFOLIO_ENGINE=ordinary\n")
    ended = start(["settings"], files / "work", FOLIO_ENGINE="compiled", FOLIO_LOG_FORMAT="", FOLIO_METRICS="0").ended()
    assert ended.code == 0
    listed = rows(ended)
    assert len(listed) == len(Settings.model_fields)
    assert listed["FOLIO_POOL_SIZE"] == ["3", ".env"]
    assert listed["FOLIO_LOG_LEVEL"] == ["debug", ".env"]
    assert listed["FOLIO_ENGINE"] == ["compiled", "environment"]
    assert listed["FOLIO_METRICS"] == ["false", "environment"]
    assert listed["FOLIO_GRAPHIQL"] == ["true", "default"]
    assert listed["FOLIO_LOG_FORMAT"] == ["line", "default"]
    assert listed["FOLIO_DATABASE_URL"] == ["(the embedded server)", "default"]
    assert listed["FOLIO_SECRET_KEY"] == ["(generated at the first start)", "default"]


def test_settings_hide_secrets_and_show_that_they_are_set(files: Path) -> None:
    url, key = "postgresql://ada:hunter2@127.0.0.1:1/folio", "b0aNd8eQ1uL5xT7rW2yZ4kP6mC9hG3vJ"
    ended = start(["settings"], files / "work", FOLIO_DATABASE_URL=url, FOLIO_SECRET_KEY=key).ended()
    assert rows(ended)["FOLIO_DATABASE_URL"] == ["(secret)", "environment"]
    assert rows(ended)["FOLIO_SECRET_KEY"] == ["(secret)", "environment"]
    assert "hunter2" not in ended.out
    assert key not in ended.out


# ---------------------------------------------------------------- migrate


def test_migrate_reports_what_it_did_even_if_it_did_nothing(empty_database_url: str, files: Path) -> None:
    def migrate(*arguments: str) -> list[str]:
        ended = start(["migrate", *arguments], files / "work", FOLIO_DATABASE_URL=empty_database_url).ended()
        assert (ended.code, ended.err) == (0, "")
        return ended.out.splitlines()

    assert migrate("current") == ["no revision (it has no tables yet)"]
    *applied, summary = migrate("upgrade")
    assert applied[0] == "applied 9a1f0c3e5b01: Users and their profiles."
    newest = applied[-1].split()[1].rstrip(":")
    assert summary == f"the database was at no revision (it has no tables yet), and is now at {newest} (the newest)"
    assert migrate("upgrade") == [f"nothing to do: the database is at {newest} (the newest)"]
    back, summary = migrate("downgrade", "-1")
    assert back == applied[-1].replace("applied", "reverted")
    before = applied[-2].split()[1].rstrip(":")
    assert summary == f"the database was at {newest} (the newest), and is now at {before}"
    assert migrate("upgrade", "+1")[0] == applied[-1]
    assert migrate("current") == [f"{newest} (the newest)"]
    assert migrate("check") == ["No new upgrade operations detected."]
