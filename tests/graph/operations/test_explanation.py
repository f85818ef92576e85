"""The statements of an explanation are those that the served operation sends: with a database and without one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from db.access import ANONYMOUS, Viewer
from db.settings import Settings
from graph.app import create_app
from graph.operations.cache import Operation, Operations
from graph.operations.explanation import Explanation, explain
from graph.schema.root import graphql_schema
from tests.graph.schema.test_edges import CHAINS, EDGES, WITHIN
from tests.graph.support.callers import Client, Person, SignUp
from tests.graph.support.population import Population, populate

EXPLAINED = Path(__file__).parents[1] / "cli" / "explained"
SIZE = 10

# How many statements each operation takes, and the field of the id that it takes.
OPERATIONS: Mapping[str, tuple[int, str]] = {
    "user_with_posts": (1, "users"),
    "post_with_author_and_posts": (1, "posts"),
    "feed": (1, ""),
    "three_levels": (3, ""),
    "money": (4, "users"),
}


@pytest.fixture
async def app(settings: Settings) -> FastAPI:
    """The application with the compiled engine, whose plans are explained."""
    return create_app(settings.model_copy(update={"engine": "compiled"}))


@pytest.fixture
async def admin(sign_up: SignUp) -> Person:
    """An administrator, who sees every row."""
    return await sign_up("root", admin=True)


@pytest.fixture
async def made(client: Client, admin: Person) -> Population:
    """Fifty rows of every kind."""
    return await populate(client.database, 50)


def operation_of(text: str) -> Operation:
    return Operations(graphql_schema, introspection=True, suggestions=True).find(text, None)


async def explained(text: str, variables: Mapping[str, Any], viewer: Viewer = ANONYMOUS) -> Explanation:
    """Return the explanation of a query without a database."""
    return (await explain(graphql_schema, operation_of(text), variables, viewer))[0]


async def sent_when_served(client: Client, text: str, by: Person, variables: Mapping[str, Any]) -> int:
    """Return how many statements an operation sends, without that of the session, once it is compiled."""
    for _ in range(2):
        await client.data(text, by=by, **variables)
    return await client.statements(text, by=by, **variables) - 1


@pytest.mark.parametrize("name", OPERATIONS)
async def test_as_many_statements_are_explained_as_are_sent(
    client: Client, admin: Person, made: Population, name: str
) -> None:
    count, kind = OPERATIONS[name]
    text = (EXPLAINED / f"{name}.graphql").read_text()
    variables = {"id": getattr(made, kind)[0]} if kind else {}
    viewer = Viewer(admin.number, is_admin=True)
    made_up = await explained(text, variables, viewer)
    real, *_ = await explain(graphql_schema, operation_of(text), variables, viewer, client.database)
    served = await sent_when_served(client, text, admin, variables)
    assert [len(made_up.reads), len(real.reads), served] == [count] * 3
    assert [read.sql for read in made_up.reads] == [read.sql for read in real.reads]


async def test_equal_reads_are_one_statement_outside_of_a_snapshot(
    client: Client, admin: Person, made: Population
) -> None:
    viewer = Viewer(admin.number, is_admin=True)
    both = "a: posts(first: 2) { nodes { id } } b: posts(first: 2) { nodes { id } }"
    money = f'account(id: "{made.accounts[0]}") {{ transactions(first: 1) {{ nodes {{ id }} }} }}'
    for text, count, shared in ((f"{{ {both} }}", 1, ["b"]), (f"{{ {both} {money} }}", 4, [])):
        real, *_ = await explain(graphql_schema, operation_of(text), {}, viewer, client.database)
        made_up = await explained(text, {}, viewer)
        served = await sent_when_served(client, text, admin, {})
        assert [len(real.reads), len(made_up.reads), served] == [count] * 3
        first = made_up.reads[0]
        assert (first.path, first.shared_with) == ("a", shared)


@pytest.mark.parametrize("viewer", [ANONYMOUS, Viewer(1), Viewer(1, is_admin=True)], ids=["public", "member", "admin"])
async def test_every_edge_is_explained_at_every_access_level(viewer: Viewer) -> None:
    """An error would hide the reads below its field."""
    for edge, selections in EDGES.items():
        kind = edge.partition(".")[0]
        for selection in selections if kind not in WITHIN else ():
            if "$" in selection:
                continue  # a cursor, which only a real list returns
            noun = kind.lower()
            by_node = f'node(id: "{noun}_1") {{ ... on {kind} {{ {selection} }} }}'
            for text in (f"{{ {by_node} }}", f'{{ {noun}(id: "{noun}_1") {{ {selection} }} }}'):
                one = await explained(text, {}, viewer)
                assert (one.errors, one.reason) == ([], ""), text
                assert all(read.path for read in one.reads), text


@pytest.mark.parametrize("chain", CHAINS)
async def test_statements_of_chains_are_those_that_are_sent(
    client: Client, admin: Person, made: Population, chain: str
) -> None:
    text = f"query ($size: Int!) {{ {chain} }}"
    variables = {"size": SIZE}
    viewer = Viewer(admin.number, is_admin=True)
    real, sent, _ = await explain(graphql_schema, operation_of(text), variables, viewer, client.database)
    assert len(real.reads) == len(sent) == await sent_when_served(client, text, admin, variables)
    assert real.errors == []
    # Rows that are made up reach every read. A real list may be shorter than its page, which then knows its length.
    made_up = await explained(text, variables, viewer)
    assert made_up.errors == []
    assert [read.number for one in (real, made_up) for read in one.reads if not read.path] == []
    assert {read.sql for read in real.reads} <= {read.sql for read in made_up.reads}
