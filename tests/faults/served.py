"""The application as clients see it, for tests with faults below it, and users with data to lose."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI

from db.access import Viewer
from db.connections.leases import Driver
from db.repositories.sessions import Credentials, open_session
from db.repositories.users import NewUser, create_users
from db.settings import Settings
from graph.app import create_app
from graph.operations.dispatch import COMPILED_FROM
from tests.graph.cli.test_serving import free_port, started
from tests.graph.support.bank import Bank
from tests.graph.support.callers import PASSWORD, Client, Person, http_client, serving

NONE: Mapping[str, str] = MappingProxyType({})
SESSION_S = 86_400  # longer than the jumps of the clock, which are an hour
# A test sends more requests than the budget of one caller allows.
UNLIMITED = {"cost_per_minute_max": 0, "cost_per_minute_per_address_max": 0}

OURS = "FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'folio%'"

CREATE_POST = """mutation ($title: String!) {
  createPost(input: {title: $title, content: "Content.", published: true}) { post { id } userErrors { code } }
}"""


def url_of(settings: Settings) -> str:
    """Return the URL of the database that the settings name."""
    assert settings.database_url is not None
    return settings.database_url.get_secret_value()


@asynccontextmanager
async def served(settings: Settings, **changes: Any) -> AsyncIterator[Client]:
    """Serve the application with some settings changed; yield an anonymous client.

    Unlike the other tests, this does not compare the engines: an operation is compiled at its second execution, as in
    production.
    """
    app = create_app(settings.model_copy(update={**UNLIMITED, **changes}))
    async with serving(app) as address, http_client(address, timeout=60) as http:
        _compare_nothing(app)
        yield Client(http, app.state.services)


@dataclass(frozen=True)
class Process:
    """`folio serve` in a separate process."""

    client: Client
    process: asyncio.subprocess.Process


@asynccontextmanager
async def served_by_process(
    client: Client, variables: Mapping[str, str] = NONE, /, **changes: object
) -> AsyncIterator[Process]:
    """Serve the database of `client` from a separate process, with some settings changed.

    `variables` are further variables of its environment.
    """
    settings, port = client.services.settings, free_port()
    assert settings.database_url is not None
    assert settings.secret_key is not None
    given = {
        "database_url": settings.database_url.get_secret_value(),
        "secret_key": settings.secret_key.get_secret_value(),
        "password_hash_memory_kib": settings.password_hash_memory_kib,
        "password_hash_iterations": settings.password_hash_iterations,
        "log_level": "error",
        **UNLIMITED,
        **changes,
    }
    environment = {f"FOLIO_{name.upper()}": str(value) for name, value in given.items()}
    with tempfile.TemporaryDirectory() as directory:
        async with (
            started("serve", cwd=Path(directory), port=port, **environment, **variables) as process,
            http_client(f"http://127.0.0.1:{port}", timeout=60) as http,
        ):
            yield Process(Client(http, client.services), process)


def _compare_nothing(app: FastAPI) -> None:
    engines = app.state.operations.engines
    if engines.compiled_from:
        engines.compiled_from = COMPILED_FROM
    vars(engines).pop("run", None)
    vars(vars(app)["direct"].pipeline).pop("respond", None)
    vars(app.state.operations).pop("single_read", None)


async def sign_up(client: Client, username: str, *, admin: bool = False) -> Person:
    """Create a user with an open session; the password is PASSWORD."""
    hashed = await client.services.passwords.hash(PASSWORD)
    role = "admin" if admin else "member"
    new = NewUser(f"{username}@example.com", username, hashed, role=role)
    rows = await client.database.write(
        lambda transaction: create_users(transaction, Viewer(is_admin=True), ("id",), [new])
    )
    number: int = rows[0]["id"]
    session = await client.database.write(
        lambda transaction: open_session(transaction, Credentials(number, hashed, role), SESSION_S)
    )
    assert session is not None
    assert session.viewer.session_id is not None
    return Person(number, username, client.services.tokens.sign(number, session.viewer.session_id).text)


@dataclass(frozen=True)
class Town:
    """Two users with an account and a post each, and an administrator.

    Attributes:
        payer_account: ida's account, which holds 1000.00 EUR.
        payee_account: eve's account, empty.
        posts: the posts of ida and eve, both published.
    """

    client: Client
    bank: Bank
    ida: Person
    eve: Person
    payer_account: str
    payee_account: str
    posts: list[str]


async def settle(client: Client) -> Town:
    """Create the users of a town and what belongs to them."""
    bank = Bank(client, await sign_up(client, "anna", admin=True))
    ida, eve = await sign_up(client, "ida"), await sign_up(client, "eve")
    payer_account, payee_account = await bank.account(ida, holding="1000"), await bank.account(eve)
    posts = []
    for author in (ida, eve):
        data = await client.data(CREATE_POST, by=author, title=f"By {author.username}")
        posts.append(data["createPost"]["post"]["id"])
    return Town(client, bank, ida, eve, payer_account, payee_account, posts)


async def kill_all(superuser: Driver) -> int:
    """Terminate every backend of the application without waiting, and return how many there were."""
    count: int = await superuser.fetchval(f"SELECT count(pg_terminate_backend(pid)) {OURS}")
    return count


async def backends(superuser: Driver) -> int:
    """Return how many connections the application has to PostgreSQL."""
    count: int = await superuser.fetchval(f"SELECT count(*) {OURS}")
    return count


def codes(body: dict[str, Any]) -> list[str]:
    """Return the codes of the errors of a response."""
    return [error["extensions"]["code"] for error in body.get("errors", ())]


def error_counts(bodies: list[dict[str, Any]]) -> Counter[str]:
    """Count the errors of responses by code and message, without the log id of unexpected errors."""
    return Counter(
        f"{error['extensions']['code']}: {error['message'].partition(';')[0]}"
        for body in bodies
        for error in body.get("errors", ())
    )
