"""What the README shows is what happens: its tour is run, and its tables are compared with the code."""

import re
from pathlib import Path

import orjson
from typer.main import get_group

from db.seeding import seed
from db.settings import PREFIX, Settings
from graph.app import create_app
from graph.cli.app import app as command_line
from graph.cli.demo import DEMO_PASSWORD, DEMO_PLAN, DEMO_USERNAME
from tests.graph.callers import Client, Person, http_client, serving

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
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
        # Up to the sign-in nobody is signed in.
        callers = [None, None, ada, ada]
        answers = [await client.run(query, by=by) for (query, _), by in zip(steps, callers, strict=True)]
        assert answers == [answer for _, answer in steps]
        again = await client.data(steps[-1][0], by=ada)
        assert again["transfer"]["replayed"] is True


def settings_table() -> str:
    rows = []
    for name, field in Settings.model_fields.items():
        default = str(field.default).lower() if isinstance(field.default, bool) else field.default
        shown = "" if default in {None, ""} else f"`{default}`"
        rows.append(f"| `{PREFIX}{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def test_settings_table_is_the_settings() -> None:
    assert settings_table() in README


def test_every_command_is_mentioned() -> None:
    assert [name for name in get_group(command_line).commands if f"folio {name}" not in README] == []
