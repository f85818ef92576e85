"""`folio explain` from the user's point of view: what it prints, and that it never writes."""

import asyncio
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest
from typer.testing import CliRunner, Result

from graph.cli.app import app
from graph.schema.root import graphql_schema

Folio = Callable[..., Result]
EXPLAINED = Path(__file__).parent / "explained"
NOWHERE = "postgresql://folio@127.0.0.1:1/folio"
DELETE = 'mutation Gone { deletePost(input: {id: "post_1"}) { deletedPostId userErrors { code } } }'
CREATE = 'mutation New { createPost(input: {title: "T", content: "C"}) { post { title author { username } } } }'


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Folio:
    """Run `folio explain …` in an empty directory, with a database that cannot be reached."""
    return folio(monkeypatch, tmp_path, NOWHERE)


@pytest.fixture
def online(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Folio:
    """Run `folio explain …` in an empty directory, with a database that has demo data."""
    run = folio(monkeypatch, tmp_path, database_url)
    seeded = CliRunner().invoke(app, ["seed", "--users", "20", "--posts", "50", "--accounts", "10"])
    assert seeded.exit_code == 0
    return run


def folio(monkeypatch: pytest.MonkeyPatch, directory: Path, url: str) -> Folio:
    monkeypatch.chdir(directory)
    monkeypatch.setenv("FOLIO_DATABASE_URL", url)
    monkeypatch.setenv("FOLIO_PASSWORD_HASH_MEMORY_KIB", "8")
    monkeypatch.setenv("NEW_USER_PASSWORD", "correct horse battery")
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str, text: str | None = None) -> Result:
        """Run it with `arguments`; `text` is standard input."""
        return CliRunner().invoke(app, ["explain", *arguments], input=text)

    return run


def printed(run: Folio, text: str, *arguments: str) -> str:
    """Return what it prints about an operation, without an error."""
    result = run("-", *arguments, text=text)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def described(run: Folio, text: str, *arguments: str) -> Any:
    """Return the JSON object of the only operation of a text."""
    (one,) = orjson.loads(printed(run, text, "--json", *arguments))
    return one


# ---------------------------------------------------------------- plans


@pytest.mark.parametrize("name", sorted(path.stem for path in EXPLAINED.glob("*.graphql")))
def test_plan_is_printed_without_a_database(offline: Folio, name: str) -> None:
    result = offline(str(EXPLAINED / f"{name}.graphql"), "--as", "member")
    expected = EXPLAINED / f"{name}.txt"
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == expected.read_text(), (
        f"if this is right: folio explain --as member {EXPLAINED.name}/{name}.graphql > {EXPLAINED.name}/{name}.txt"
    )


def test_readme_shows_what_is_printed(offline: Folio) -> None:
    section = (Path(__file__).parents[3] / "README.md").read_text().partition("## What an operation reads")[2]
    text, shown = re.findall(r"`(query .*?)`:\n\n```text\n(.*?)```", section, re.DOTALL)[0]
    assert printed(offline, text) == shown, "if this is right, write it into README.md"


def test_feed_is_one_statement_with_authors_and_number(offline: Folio) -> None:
    one = described(offline, (EXPLAINED / "feed.graphql").read_text())
    (read,) = one["reads"]
    assert one["is_single_read"] is True
    assert read["folded"] == [["posts.totalCount", "counted"], ["posts.nodes.author", "joined"]]
    assert (read["rows"], read["us"], read["analyzed"]) == (None, None, [])


def test_level_is_read_at_once_by_its_key(offline: Folio) -> None:
    one = described(offline, (EXPLAINED / "three_levels.graphql").read_text())
    reads = [(read["path"], read["loader"], read["key"]) for read in one["reads"]]
    assert reads == [
        ("users", "a page of the list", None),
        ("users.nodes.posts.nodes.comments", "comments_by_post", "id"),
        ("users.nodes.posts.nodes.comments.nodes.author", "user_by_id", "author_id"),
    ]


def test_fields_of_one_loader_share_its_statement(offline: Folio) -> None:
    text = '{ account(id: "account_1") { transactions { nodes { from { id } to { id } } } } }'
    one = described(offline, text, "--as", "member")
    path = "account.transactions.nodes"
    shared = [(read["path"], read["shared_with"]) for read in one["reads"] if read["shared_with"]]
    assert shared == [(f"{path}.from", [f"{path}.to"])]


def test_list_may_be_nested_at_one_place_and_read_at_another(offline: Folio) -> None:
    """Both places share a loader. The statement of the list brings its results for one of them."""
    text = """{
      user(id: "user_1") { posts(first: 2) { nodes { ...C } } }
      posts(first: 2) { nodes { ...C } }
    } fragment C on Post { comments(first: 2) { nodes { body } } }"""
    one = described(offline, text)
    assert [(read["path"], read["folded"]) for read in one["reads"]] == [
        ("user", [["user.posts", "nested"]]),
        ("posts", [["posts.nodes.comments", "nested"]]),
        ("user.posts.nodes.comments", []),
    ]
    assert [read["shared_with"] for read in one["reads"]] == [[], [], []]


def test_row_is_found_by_a_key_that_is_a_text(offline: Folio) -> None:
    text = '{ userByUsername(username: "ada") { username posts(first: 2) { nodes { title } } profile { bio } } }'
    one = described(offline, text)
    assert [(read["path"], read["keys"], read["folded"]) for read in one["reads"]] == [
        ("userByUsername", ["ada"], [["userByUsername.posts", "nested"]]),
        ("userByUsername.profile", [1001], []),
    ]


def test_typical_id_is_not_that_of_the_caller(offline: Folio) -> None:
    text = "query ($id: ID!) { viewer { username } user(id: $id) { username email } nodes(ids: [$id]) { id } }"
    reads = described(offline, text, "--as", "member")["reads"]
    assert [(read["path"], read["keys"]) for read in reads] == [("viewer", [2]), ("user", [1]), ("nodes", [1])]


def test_access_level_decides_the_statement(offline: Folio) -> None:
    text = "{ posts { nodes { title } } }"
    conditions = {
        caller: re.findall(r"WHERE (.*)$", printed(offline, text, "--as", caller), re.MULTILINE)
        for caller in ("anonymous", "member", "admin")
    }
    assert conditions == {
        "anonymous": ["posts.published"],
        "member": ["posts.published OR posts.author_id = $1::BIGINT"],
        "admin": [],
    }


def test_source_of_each_level_is_printed_on_request(offline: Folio) -> None:
    text = "{ posts { nodes { title } } }"
    assert "def complete" not in printed(offline, text)
    assert printed(offline, text, "--source").count("def complete(rows") == 2  # the connection, and the posts


@pytest.mark.parametrize(
    ("text", "reason", "statements"),
    [
        ("{ __schema { queryType { name } } posts { nodes { id } } }", "introspection", 1),
        ("{ posts { nodes { id } } __typename @skip(if: false) }", "", 1),
    ],
)
def test_ordinary_engine_is_named_with_the_reason(offline: Folio, text: str, reason: str, statements: int) -> None:
    shown = printed(offline, text)
    assert shown.count("SELECT array_agg") == statements
    if reason:
        assert f"the ordinary engine runs it: {reason}\n" in shown
    else:
        assert "the compiled engine runs it; one statement answers it" in shown


def test_typical_values_stand_for_variables_that_are_required(offline: Folio) -> None:
    text = """query Q($id: ID!, $author: ID!, $n: Int!, $since: DateTime!, $on: Boolean!, $by: [PostOrder!]!,
        $k: Int = 3, $after: String) {
      account(id: $id) { statement(from: $since, to: $since) { sent { amount } } }
      posts(first: $n, after: $after, filter: {authorId: $author}, orderBy: $by) { nodes { id @include(if: $on) } }
      users(first: $k) { nodes { id } }
    }"""
    assert described(offline, text)["variables"] == {
        "id": "account_1",
        "author": "user_1",
        "n": 10,
        "since": "2026-01-01T00:00:00Z",
        "on": True,
        "by": [{"field": "CREATED_AT", "direction": "ASC"}],
    }


def test_given_variables_and_those_of_a_file_are_used(offline: Folio, tmp_path: Path) -> None:
    text = "query Q($n: Int!) { posts(first: $n) { nodes { id } } }"
    assert "LIMIT 2)" in printed(offline, text, "--variables", '{"n": 2}')
    (tmp_path / "variables.json").write_text('{"n": 5}')
    assert "LIMIT 5)" in printed(offline, text, "--variables", "@variables.json")


def test_every_query_of_the_schema_is_explained(offline: Folio) -> None:
    assert graphql_schema.query_type is not None
    for name, field in graphql_schema.query_type.fields.items():
        required = [(argument, one.type) for argument, one in field.args.items() if str(one.type).endswith("!")]
        variables = ", ".join(f"${argument}: {type_}" for argument, type_ in required)
        arguments = ", ".join(f"{argument}: ${argument}" for argument, _ in required)
        text = f"query Q({variables}) {{ {name}({arguments}) {{ __typename }} }}".replace("()", "")
        assert described(offline, text, "--as", "member")["errors"] == [], name


def test_operations_of_a_file_are_explained_one_by_one(offline: Folio) -> None:
    text = "query A { viewer { id } } query B { users { nodes { id } } }"
    assert [one["name"] for one in orjson.loads(printed(offline, text, "--json"))] == ["A", "B"]
    assert [one["name"] for one in orjson.loads(printed(offline, text, "--json", "--operation", "B"))] == ["B"]


# ---------------------------------------------------------------- mutations


def rows(url: str) -> list[Any]:
    async def read() -> list[Any]:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        try:
            return await connection.fetch("SELECT id, xmin::text FROM posts ORDER BY id")
        finally:
            await connection.close()

    return asyncio.run(read())


def test_subscription_is_explained_but_not_run(offline: Folio) -> None:
    shown = printed(offline, "subscription S { postPublished { post { title author { username } } } }")
    assert shown.startswith("subscription S, access level public\na subscription is not run; ")
    assert "author: User!" in shown
    assert "read for each event" in shown
    assert "write" not in shown


def test_mutation_is_explained_but_not_run(offline: Folio) -> None:
    shown = printed(offline, CREATE, "--as", "admin", "--source")
    assert shown.startswith("mutation New, access level admin\na mutation is not run; ")
    assert "post: Post" in shown
    assert "author: User!" in shown
    assert "SELECT" not in shown


@pytest.mark.parametrize("caller", ["anonymous", "admin"])
def test_no_mutation_is_run_on_a_database(online: Folio, database_url: str, caller: str) -> None:
    before = rows(database_url)
    for text in (DELETE, CREATE, f"query A {{ viewer {{ id }} }} {CREATE}"):
        refused = online("-", "--analyze", "--as", caller, text=text)
        assert refused.exit_code == 2
        assert "only queries are run" in refused.stderr
        printed(online, text, "--as", caller)
    assert len(before) == 50
    assert rows(database_url) == before


# ---------------------------------------------------------------- on a database


def test_analysis_adds_rows_times_batches_and_the_plan_of_postgresql(online: Folio) -> None:
    text = "{ posts(first: 5) { nodes { title author { username profile { bio } } } } }"
    first, second = described(online, text, "--analyze")["reads"]
    assert [first["rows"], second["key"]] == [5, "id"]
    assert 1 <= second["rows"] <= len(second["keys"]) <= 5
    for read in (first, second):
        assert read["us"] > 0
        assert any("actual time" in line for line in read["analyzed"])
        assert any("Buffers" in line for line in read["analyzed"])
    shown = printed(online, text, "--analyze")
    assert re.search(r"5 rows, \d+ us\n", shown)
    assert re.search(rf"{second['rows']} rows?, \d+ us, a batch of {len(second['keys'])} keys?\n", shown)


def test_analysis_runs_as_a_user_or_as_the_first_of_a_kind(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run, text = folio(monkeypatch, tmp_path, database_url), "{ viewer { username } }"
    assert "not read: its key is null" in printed(run, text, "--analyze")
    for caller in ("member", "admin"):
        refused = run("-", "--analyze", "--as", caller, text=text)
        message = f"folio: the database has no {caller}; make one with `folio user create`, or name one by --user\n"
        assert (refused.exit_code, refused.stderr) == (1, message)
    for command in (("--admin", "boss", "boss@example.com"), ("ida", "ida@example.com")):
        assert CliRunner().invoke(app, ["user", "create", *command]).exit_code == 0
    for arguments, access_level in (
        (("--as", "admin"), "admin"),
        (("--user", "BOSS"), "admin"),
        (("--as", "member"), "member"),
        (("--user", "ida"), "member"),
    ):
        one = described(run, text, "--analyze", *arguments)
        assert (one["access_level"], one["reads"][0]["rows"]) == (access_level, 1)
    unknown = run("-", "--analyze", "--user", "nobody", text=text)
    assert (unknown.exit_code, unknown.stderr) == (1, "folio: there is no user nobody\n")


def test_analysis_needs_the_database(offline: Folio) -> None:
    result = offline("-", "--analyze", text="{ viewer { id } }")
    assert result.exit_code == 1
    assert "FOLIO_DATABASE_URL" in result.stderr


# ---------------------------------------------------------------- bad input

REFUSALS: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "a syntax error": ("{ posts {", (), "folio: standard input: Syntax Error: Expected Name, found <EOF>."),
    "an unknown field": (
        "{ post }",
        (),
        "folio: standard input: Field 'post' of type 'Post' must have a selection of subfields.",
    ),
    "no operation": ("fragment F on Post { id }", (), "folio: standard input: "),
    "no JSON": ("{ viewer { id } }", ("--variables", "{"), "folio: --variables is not JSON: "),
    "no object": (
        "{ viewer { id } }",
        ("--variables", "[1]"),
        'folio: --variables is not a JSON object; write the variables as {"name": value}\n',
    ),
    "no file": (
        "{ viewer { id } }",
        ("--variables", "@gone.json"),
        "folio: gone.json cannot be read: No such file or directory\n",
    ),
    "a variable of another type": (
        "query Q($n: Int!) { posts(first: $n) { nodes { id } } }",
        ("--variables", '{"n": null}'),
        "folio: standard input: Variable '$n' has invalid value: Expected value of",
    ),
    "no such operation": (
        "query A { viewer { id } }",
        ("--operation", "B"),
        "folio: standard input has no operation B; it has A\n",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_bad_input_is_refused_in_a_line(offline: Folio, name: str) -> None:
    text, arguments, message = REFUSALS[name]
    result = offline("-", *arguments, text=text)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(message)


def test_missing_file_is_refused_as_by_folio_cost(offline: Folio) -> None:
    missing = offline("gone.graphql")
    assert (missing.exit_code, missing.stderr) == (1, "folio: gone.graphql cannot be read: No such file or directory\n")
    assert CliRunner().invoke(app, ["cost", "gone.graphql"]).stderr == missing.stderr


def test_unknown_field_is_refused_as_by_folio_cost(offline: Folio, tmp_path: Path) -> None:
    (tmp_path / "bad.graphql").write_text("{ posts { nodes { titel } } }")
    refused = offline("bad.graphql")
    assert refused.exit_code == 1
    assert "bad.graphql: Cannot query field 'titel' on type 'Post'. Did you mean 'title'?" in refused.stderr
    assert CliRunner().invoke(app, ["cost", "bad.graphql"]).stderr == refused.stderr


def test_argument_out_of_range_is_an_error_at_its_field(offline: Folio) -> None:
    result = offline("-", text="{ posts(first: 1000) { nodes { id } } viewer { id } }")
    assert result.exit_code == 1
    assert "error: posts: first should be from 1 to 100, not 1000\n" in result.stdout


def test_user_without_a_database_is_refused(offline: Folio) -> None:
    result = offline("-", "--user", "ada", text="{ viewer { id } }")
    assert result.exit_code == 2
    assert "it needs --analyze" in result.stderr
