"""The README is correct: its tour is run, and its tables are compared with the code."""

import asyncio
import os
import re
import shlex
from pathlib import Path

import httpx
import orjson
import pytest
from typer.main import get_group

from db.embedded.server import EmbeddedServer
from db.seed.seeding import seed
from db.settings import PREFIX, Settings
from graph.app import create_app
from graph.cli.app import app as command_line
from graph.cli.support.demo_data import DEMO_PASSWORD, DEMO_PLAN, DEMO_USERNAME
from tests.conftest import superuser_execute
from tests.graph.cli.test_serving import FOLIO, ROOT, free_port, started
from tests.graph.support.callers import PASSWORD, Client, Person, http_client, serving

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
STEP = re.compile(r"```graphql\n(.*?)```\s+```json\n(.*?)```", re.DOTALL)


async def test_tour_answers_as_printed(settings: Settings) -> None:
    app = create_app(settings)
    async with serving(app) as address, http_client(address) as http:
        client = Client(http, app.state.services)
        hashed = await client.services.passwords.hash(DEMO_PASSWORD)
        await seed(client.database, DEMO_PLAN, hashed, lambda *_: None)
        signed_in = await client.data(
            'mutation { signIn(input: {login: "ada", password: "folio demo"}) { accessToken } }'
        )
        ada = Person(2, DEMO_USERNAME, signed_in["signIn"]["accessToken"])
        steps = [(query, orjson.loads(answer)) for query, answer in STEP.findall(README)]
        # Before the sign-in, requests are anonymous.
        callers = [None, None, ada, ada, ada]
        answers = [await client.run(query, by=by) for (query, _), by in zip(steps, callers, strict=True)]
        assert answers == [answer for _, answer in steps]
        again = await client.data(steps[-1][0], by=ada)
        assert again["transfer"]["replayed"] is True


@pytest.mark.long("five starts of the command")
async def test_role_database_and_commands_for_a_server_of_ones_own_work_as_printed(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    section = README.partition("## Your own PostgreSQL")[2]
    blocks = re.findall(r"```(sql|sh)\n(.*?)```", section, re.DOTALL)
    assert [kind for kind, _ in blocks[:2]] == ["sql", "sh"]
    # This server already has a role and a database of this name, and listens only at a socket that trusts its account.
    name = "own_folio"
    statements = [one.strip().replace("folio", name) for one in blocks[0][1].split(";") if one.strip()]
    port = free_port()
    variables = {"FOLIO_DATABASE_URL": server.url(name, name), "NEW_USER_PASSWORD": PASSWORD}
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables}
    try:
        await superuser_execute(server, *statements)
        lines = [shlex.split(line, comments=True) for line in blocks[1][1].splitlines()]
        commands = [words[1:] for words in lines if words and words[0].endswith("folio")]
        assert [words[0] for words in commands] == ["migrate", "user", "doctor", "serve"]
        for words in commands[:-1]:
            process = await asyncio.create_subprocess_exec(*FOLIO, *words, cwd=tmp_path, env=environment)
            assert (words, await process.wait()) == (words, 0)
        serve = commands[-1]
        at = serve.index("--port")
        del serve[at : at + 2]
        async with started(*serve, cwd=tmp_path, port=port, **variables), httpx.AsyncClient() as http:
            operation = (
                f'mutation {{ signIn(input: {{login: "ada", password: "{PASSWORD}"}}) {{ viewer {{ username }} }} }}'
            )
            answer = await http.post(f"http://127.0.0.1:{port}/graphql", json={"query": operation}, timeout=30)
            assert answer.json() == {"data": {"signIn": {"viewer": {"username": "ada"}}}}
    finally:
        await superuser_execute(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"DROP ROLE IF EXISTS {name}")


def settings_table() -> str:
    rows = []
    for name, field in Settings.model_fields.items():
        default = str(field.default).lower() if isinstance(field.default, bool) else field.default
        shown = "" if default in {None, ""} else f"`{default}`"
        rows.append(f"| `{PREFIX}{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def test_settings_table_has_all_settings() -> None:
    assert settings_table() in README


def test_every_command_is_mentioned() -> None:
    assert [name for name in get_group(command_line).commands if f"folio {name}" not in README] == []
