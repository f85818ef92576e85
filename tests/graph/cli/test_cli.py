"""The folio command from the user's point of view: what it prints, its exit codes, and what it leaves behind."""

import asyncio
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from db.bulk.line_fields import TABLES
from db.setup.schema_version import expected_revision
from graph.cli.app import app
from graph.schema.root import schema_text
from tests.db.support.backends import connected_superuser

Folio = Callable[..., Result]
PASSWORD = "correct horse battery"


@pytest.fixture
def folio(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Folio:
    """Run `folio …` on this test's database, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOLIO_DATABASE_URL", database_url)
    monkeypatch.setenv("FOLIO_PASSWORD_HASH_MEMORY_KIB", "8")
    monkeypatch.setenv("NEW_USER_PASSWORD", PASSWORD)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    return run


def test_schema_print_is_the_committed_schema(folio: Folio) -> None:
    result = folio("schema", "print")
    assert (result.exit_code, result.stdout) == (0, schema_text())


def test_schema_check_distinguishes_safe_dangerous_and_breaking(folio: Folio, tmp_path: Path) -> None:
    old = tmp_path / "old.graphql"
    old.write_text(schema_text())
    assert folio("schema", "check", str(old)).stdout == "safe\n"
    old.write_text(
        re.sub(r"enum OrderDirection \{.*?\}", "enum OrderDirection { ASC }", schema_text(), flags=re.DOTALL)
    )
    assert folio("schema", "check", str(old)).stdout == "dangerous\n"
    old.write_text(schema_text().replace("type Query {", "type Query {\n  gone: Int\n"))
    result = folio("schema", "check", str(old))
    assert (result.exit_code, result.stdout, result.stderr) == (
        1,
        "breaking\n",
        "breaking: Field Query.gone was removed.\n",
    )


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"\xff", "is not UTF-8 text"),
        (b"nonsense", "is not a GraphQL schema"),
    ],
)
def test_schema_check_refuses_an_invalid_schema(
    folio: Folio, tmp_path: Path, content: bytes | None, refusal: str
) -> None:
    old = tmp_path / "old.graphql"
    if content is not None:
        old.write_bytes(content)
    result = folio("schema", "check", str(old))
    assert result.exit_code == 1
    assert refusal in result.stderr


def test_first_administrator_is_created_once(folio: Folio) -> None:
    result = folio("user", "create", "ada", "ada@example.com", "--admin")
    assert (result.exit_code, result.stdout) == (0, "admin ada is created, with the id user_2\n")
    again = folio("user", "create", "ADA", "other@example.com")
    assert (again.exit_code, again.stderr) == (1, "folio: username: another user has this username\n")


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (("9ada", "ada@example.com"), "username: a username has 3 to 32 characters"),
        (("ada", "ada"), "email: "),
    ],
)
def test_user_is_refused_with_the_field(folio: Folio, arguments: tuple[str, str], refusal: str) -> None:
    result = folio("user", "create", *arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"folio: {refusal}")


def test_password_that_is_too_short_is_refused(folio: Folio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEW_USER_PASSWORD", "short")
    result = folio("user", "create", "ada", "ada@example.com")
    assert (result.exit_code, result.stderr) == (1, "folio: password: a password has 8 to 128 characters\n")


def test_audit_is_clean_after_a_seed_and_a_second_seed_is_refused(folio: Folio) -> None:
    seeded = folio("seed", "--users", "20", "--posts", "50", "--accounts", "10")
    assert seeded.exit_code == 0
    assert re.sub(r"\d+", "N", seeded.stderr) == (
        "seeded N users, N profiles, N posts, N comments, N accounts and N transactions in N.N s\n"
    )
    assert "50 posts, 100 comments" in seeded.stderr  # two a post
    audited = folio("audit")
    assert audited.exit_code == 0
    assert audited.stdout.endswith("every balance is right\n")
    assert folio("seed", "--users", "1", "--posts", "0", "--accounts", "0").exit_code == 1


def test_export_is_imported_into_an_empty_database_and_never_overwrites(folio: Folio, tmp_path: Path) -> None:
    assert folio("seed", "--users", "5", "--posts", "9", "--comments", "4", "--accounts", "0").exit_code == 0
    target = tmp_path / "out.jsonl"
    exported = folio("export", str(target))
    assert (exported.exit_code, exported.stderr[:45]) == (0, "exported 5 users, 9 posts and 4 comments in 0")
    assert len(target.read_bytes().splitlines()) == 18
    refused = folio("export", str(target))
    assert refused.exit_code == 1
    assert "--force" in refused.stderr
    taken = folio("import", str(target))
    assert taken.exit_code == 1
    assert "line 1" in taken.stderr


@pytest.mark.parametrize("command", ["export", "import"])
def test_help_names_every_table_that_has_lines(folio: Folio, command: str) -> None:
    text = folio(command, "--help").stdout
    assert [table for table in TABLES if table not in text] == [], f"name it in the docstring of the command {command}"


def test_migrate_prints_the_revision_of_the_database(folio: Folio) -> None:
    assert folio("migrate", "check").exit_code == 0
    assert folio("migrate", "downgrade", "-1").exit_code == 0
    refused = folio("audit")
    assert refused.exit_code == 1
    assert "run `folio migrate upgrade`" in refused.stderr
    assert folio("migrate", "upgrade").exit_code == 0
    assert folio("audit").exit_code == 0


def test_unknown_revision_is_refused(folio: Folio) -> None:
    result = folio("migrate", "upgrade", "nonsense")
    assert result.exit_code == 1
    assert "nonsense" in result.stderr


def test_doctor_finds_nothing_but_the_development_environment(folio: Folio) -> None:
    result = folio("doctor")
    assert result.exit_code == 0
    assert "failure" not in result.stdout
    assert expected_revision() in result.stdout


def test_doctor_fails_if_the_pools_need_more_connections_than_the_server_has(folio: Folio) -> None:
    result = folio("doctor", "--workers", "100")
    assert result.exit_code == 1
    assert "FOLIO_POOL_SIZE" in result.stdout


def test_doctor_reports_a_disabled_trigger_of_the_events(folio: Folio, database_url: str) -> None:
    async def disable() -> None:
        async with connected_superuser(database_url) as superuser:
            await superuser.execute("ALTER TABLE comments DISABLE TRIGGER note_inserted")

    asyncio.run(disable())
    result = folio("doctor")
    assert result.exit_code == 1
    assert "ALTER TABLE comments ENABLE TRIGGER note_inserted" in result.stderr


def test_doctor_reports_a_missing_database(folio: Folio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLIO_DATABASE_URL", "postgresql://folio@127.0.0.1:1/folio")
    result = folio("doctor")
    assert result.exit_code == 1
    assert "start PostgreSQL, or correct FOLIO_DATABASE_URL" in result.stdout


@pytest.mark.parametrize("command", ["doctor", "audit", "serve", "dev", "settings"])
def test_bad_setting_stops_every_command_with_its_name(
    folio: Folio, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("FOLIO_POOL_SIZE", "many")
    result = folio(command)
    assert result.exit_code == 1
    assert result.stderr.startswith("folio: FOLIO_POOL_SIZE is 'many'; it should be")


def test_settings_never_show_secrets(folio: Folio, database_url: str) -> None:
    result = folio("settings")
    assert result.exit_code == 0
    assert "(secret)" in result.stdout
    assert database_url not in result.stdout


def test_port_in_use_is_refused(folio: Folio) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = folio("serve", "--port", str(port))
    assert result.exit_code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in result.stderr


def test_production_is_not_filled_with_demo_data(folio: Folio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLIO_ENV", "production")
    monkeypatch.setenv("FOLIO_SECRET_KEY", "0123456789abcdefghijklmnopqrstuvwxyz")
    result = folio("dev")
    assert result.exit_code == 1
    assert "in production use `folio serve`" in result.stderr


def test_cost_prints_each_operation_and_fails_above_the_limit(folio: Folio, tmp_path: Path) -> None:
    file = tmp_path / "operations.graphql"
    file.write_text("query A { posts(first: 10) { nodes { title author { username } } } } query B { viewer { id } }")
    result = folio("cost", str(file))
    assert (result.exit_code, result.stdout) == (0, f"{file}: A: 21\n{file}: B: 1\n")
    file.write_text(
        "query A($first: Int, $last: Int! = 3, $after: String) { posts(first: $first, after: $after) { nodes { id } } "
        "users(last: $last) { totalCount } } query B($n: Int!) { posts(first: $n) { nodes { id } } }"
    )
    result = folio("cost", str(file))
    costs = (f"{file}: A: 112 with $first = 100", f"{file}: B: 101 with $n = 100")
    assert (result.exit_code, result.stdout.splitlines()) == (0, list(costs))
    file.write_text(
        "{ posts(first: 100) { nodes { author { posts(first: 100) { nodes { author { id profile { bio } } } } } } } }"
    )
    assert folio("cost", str(file)).exit_code == 1
