"""The served API of a test, and its users."""

import os
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from db.access import Viewer
from db.connections.leases import Driver
from db.repositories.sessions import Credentials, open_session
from db.repositories.users import NewUser, create_users
from db.settings import Settings
from graph.app import create_app
from tests.db.support.backends import connected_superuser
from tests.graph.support.bank import Bank
from tests.graph.support.both_engines import OfEngine, T
from tests.graph.support.browser import driver, missing_programs
from tests.graph.support.callers import PASSWORD, Client, Person, SignUp, http_client, serving


@pytest.fixture
async def app(settings: Settings) -> FastAPI:
    """The application on this test's database."""
    return create_app(settings)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[Client]:
    """An anonymous caller of the served application."""
    async with serving(app) as address, http_client(address) as http:
        yield Client(http, app.state.services)


@pytest.fixture
def of_engine(settings: Settings) -> OfEngine:
    """A function that chooses the number of statements, or what else differs, of the engine under test."""

    def chosen(compiled: T, ordinary: T) -> T:
        return compiled if settings.engine == "compiled" else ordinary

    return chosen


@pytest.fixture
def sign_up(client: Client) -> SignUp:
    """A function that makes users with an open session. Their password is PASSWORD."""

    async def create(username: str, *, admin: bool = False) -> Person:
        hashed = await client.services.passwords.hash(PASSWORD)
        role = "admin" if admin else "member"
        new = NewUser(f"{username}@example.com", username, hashed, role=role)
        rows = await client.database.write(
            lambda transaction: create_users(transaction, Viewer(is_admin=True), ("id",), [new])
        )
        number: int = rows[0]["id"]
        session = await client.database.write(
            lambda transaction: open_session(transaction, Credentials(number, hashed, role), 3600)
        )
        assert session is not None
        assert session.viewer.session_id is not None
        return Person(number, username, client.services.tokens.sign(number, session.viewer.session_id).text)

    return create


@pytest.fixture
async def superuser(database_url: str) -> AsyncIterator[Driver]:
    """A superuser's connection to this test's database."""
    async with connected_superuser(database_url) as connection:
        yield connection


@pytest.fixture
async def bank(client: Client, sign_up: SignUp) -> Bank:
    """An administrator who deposits money."""
    return Bank(client, await sign_up("anna", admin=True))


@pytest.fixture
async def ida(sign_up: SignUp) -> Person:
    """A user."""
    return await sign_up("ida")


@pytest.fixture
async def eve(sign_up: SignUp) -> Person:
    """Another user."""
    return await sign_up("eve")


@pytest.fixture
async def chromedriver() -> AsyncIterator[httpx.AsyncClient]:
    """A running chromedriver."""
    missing = missing_programs()
    # `make test` needs no more than Python, make and git. Where browsers are expected, their absence is a failure.
    if missing and os.environ.get("CI") != "true":
        pytest.skip(
            f"no {' and no '.join(missing)}; `apt-get install chromium chromium-driver` lets browsers be tested"
        )
    assert missing == [], f"tests in a browser need {' and '.join(missing)}, in Debian's chromium and chromium-driver"
    async with driver() as http:
        yield http
