"""No operation leaves anything to the cycle collector, however it ends: its memory is freed when it is answered.

Cyclic garbage stays until the collector runs, which can be the rows of hundreds of operations. The tests look for
garbage of any type, except what asyncio and asyncpg leave of a connection that they close.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from db.access import ANONYMOUS, Viewer
from db.connections import retries
from db.connections.leases import Driver
from db.settings import Settings
from graph.app import services_for
from graph.errors import presented
from graph.operations.cache import Operation, Operations, RequestRefused, ensure_ran
from graph.runtime.context import Services
from graph.schema.root import graphql_schema
from tests.graph.support.garbage import collected_types
from tests.graph.support.operation_maker import OperationMaker
from tests.graph.support.population import Population, populate
from tests.running.amounts import examples
from tests.running.repeating import Cases

QUERIES = examples(150)
CONNECTION = {"_SelectorSocketTransport", "TransportSocket", "socket"}
BESIDE_CONNECTION = {"cell", "dict", "function", "getset_descriptor", "method", "tuple", "type"}

ENDS: Mapping[str, str] = {
    "well": "{ posts(first: 5) { totalCount nodes { id author { username posts(first: 2) { nodes { title } } } } } }",
    "argument": "{ good: posts(first: 5) { nodes { id content } } bad: posts(first: 101) { nodes { id } } }",
    "nullable": '{ userByUsername(username: "reader1") { username } node(id: "nothing") { id } }',
    "below": "{ users(first: 5) { nodes { username posts(first: 101) { nodes { id } } } } }",
    "below a nullable": '{ node(id: "%(user)s") { id ... on User { posts(first: 101) { nodes { id } } } } }',
    "nodes": '{ nodes(ids: ["%(user)s", "%(post)s", "%(account)s"]) { id ... on Post { title author { id } } } }',
    "unknown ids": '{ nodes(ids: ["user_999999", "nothing"]) { id } post(id: "post_999999") { id } }',
    "fragments": '{ node(id: "%(post)s") { ...F } } fragment F on Node { id ... on Post { title author { id } } }',
    "variables": "query ($first: Int!) { posts(first: $first) { nodes { id } } }",
    "money": "{ viewer { accounts(first: 2) { nodes { id transactions(first: 200) { nodes { id } } } } } }",
    "statement": '{ node(id: "%(account)s") { ... on Account { statement(from: "2000-01-01T00:00:00Z", to: '
    '"2100-01-01T00:00:00Z") { sent { amount } entries { nodes { amount { amount } transaction { id } } } } } } }',
    "backward statement": '{ node(id: "%(account)s") { ... on Account { statement(from: "2100-01-01T00:00:00Z", to: '
    '"2000-01-01T00:00:00Z") { sent { amount } } } } }',
    "introspection": "{ __schema { types { name fields { name } } } posts(first: 101) { nodes { id } } }",
    "mutation": 'mutation { createPost(input: { title: "A", content: "" }) { post { id author { id } } } }',
    "user errors": 'mutation { createPost(input: { title: " ", content: "" }) { post { id } userErrors { code } } }',
    "bad mutation": 'mutation { deletePost(input: { id: "nothing" }) { userErrors { code } } }',
}

# The error of the first field makes all data null, so that the second error is not reported.
UNTOLD = "{ bad: posts(first: 101) { nodes { id } } users(first: 2) { nodes { profile { bio } } } }"
WELL = {"well", "nodes", "statement", "fragments", "mutation", "user errors"}


@pytest.fixture
async def services(settings: Settings) -> AsyncIterator[Services]:
    """The dependencies of resolvers, for this test's database."""
    async with services_for(settings) as population:
        yield population


@pytest.fixture
async def population(services: Services) -> Population:
    """Six users with every kind of data."""
    return await populate(services.database, 6)


@pytest.fixture(params=["compiled", "ordinary"])
def operations(request: pytest.FixtureRequest) -> Operations:
    """The cache of operations, whose operations all run on one of the engines."""
    return Operations(
        graphql_schema, introspection=True, suggestions=True, compiled_from=1 if request.param == "compiled" else 0
    )


async def answered(operations: Operations, operation: Operation, services: Services, viewer: Viewer) -> list[Any]:
    """Run an operation like the endpoint, and return the errors as the client receives them."""
    result = await operations.run(operation, {}, services, viewer)
    await asyncio.sleep(0)  # until then the event loop refers to the result that resumed this task
    try:
        ensure_ran(result)
    except RequestRefused as refused:
        return [error.formatted for error in refused.errors]
    return [presented(error, "a request").formatted for error in result.errors or ()]


def owner(population: Population) -> Viewer:
    return Viewer(int(population.users[0].partition("_")[2]))


def unexpected(left: set[str]) -> set[str]:
    """Return the garbage except that of a closed connection, which asyncpg opens to cancel a statement on another."""
    return left - CONNECTION - BESIDE_CONNECTION if left >= CONNECTION else left


@pytest.mark.parametrize("end", ENDS)
async def test_an_operation_leaves_nothing(
    operations: Operations, services: Services, population: Population, end: str
) -> None:
    text = ENDS[end] % {"user": population.users[0], "post": population.posts[0], "account": population.accounts[0]}
    operation = operations.find(text, None)
    await answered(operations, operation, services, owner(population))
    errors = await answered(operations, operation, services, owner(population))
    assert bool(errors) is (end not in WELL)
    with collected_types() as left:
        await answered(operations, operation, services, owner(population))
    assert not unexpected(left), " ".join(sorted(left))


async def test_generated_operations_leave_nothing(
    operations: Operations, services: Services, population: Population, cases: Cases
) -> None:
    ids = [*population.users, *population.posts, *population.accounts, *population.transactions, "user_999999"]
    maker = OperationMaker(cases.random(), graphql_schema, ids)
    viewers = [ANONYMOUS, owner(population), Viewer(owner(population).user_id, is_admin=True)]
    chosen: list[Operation] = []
    while len(chosen) < QUERIES:
        with contextlib.suppress(RequestRefused):
            chosen.append(operations.find(maker.query(), None))

    async def answer_all() -> None:
        for number, operation in enumerate(chosen):
            await answered(operations, operation, services, viewers[number % 3])

    await answer_all()
    with collected_types() as left:
        await answer_all()
    assert not unexpected(left)


@pytest.mark.parametrize(
    "text", ["{ posts { nodes { id } } }", "{ ...F } fragment F on Query { __schema { types { name } } }"]
)
async def test_a_valid_document_leaves_nothing(operations: Operations, text: str) -> None:
    operations.find(text, None)
    with collected_types() as left:
        operations.find(f"{text} # another", None)
    assert left == set()


@pytest.mark.parametrize(
    "text", ["{", "{ nothing }", "{ posts(first: true) { nodes { id } } }", "{ a b c { d(e: 1) } }"]
)
async def test_a_refused_document_leaves_nothing(operations: Operations, text: str) -> None:
    def refuse(text: str) -> None:
        with pytest.raises(RequestRefused):
            operations.find(text, None)

    refuse(text)
    with collected_types() as left:
        refuse(text)
        refuse(f"{text} # another")
    assert left <= {"PrintBuffer"}  # graphql-core makes it to print a value that an error quotes


@pytest.mark.parametrize(
    "text", [ENDS["well"], ENDS["below"], "{ users(first: 2) { nodes { profile { bio } } } }", UNTOLD]
)
async def test_an_error_of_the_database_leaves_nothing(
    operations: Operations,
    services: Services,
    population: Population,
    superuser: Driver,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
) -> None:
    monkeypatch.setattr(retries, "SETTLE_S", 0.1)  # missing columns look like a migration, whose end is waited for
    operation = operations.find(text, None)
    await answered(operations, operation, services, ANONYMOUS)
    await superuser.execute("ALTER TABLE profiles RENAME COLUMN bio TO life")
    await superuser.execute("ALTER TABLE posts RENAME COLUMN title TO name")
    for _ in range(2):
        assert await answered(operations, operation, services, ANONYMOUS)
    with collected_types() as left:
        assert await answered(operations, operation, services, ANONYMOUS)
    assert not unexpected(left), " ".join(sorted(left))


DIVIDES_BY_ZERO = """ALTER TABLE posts ENABLE ROW LEVEL SECURITY; ALTER TABLE posts FORCE ROW LEVEL SECURITY;
    CREATE POLICY divides ON posts USING (id > 1 OR 1 / (id - 1) > 0)"""


@pytest.mark.parametrize("bad", ['node(id: "x") { id }', 'post(id: "post_1") { title }'], ids=["told", "unexpected"])
async def test_a_cancelled_operation_leaves_nothing(
    operations: Operations, services: Services, population: Population, superuser: Driver, bad: str
) -> None:
    operation = operations.find(
        f"{{ posts(first: 2) {{ nodes {{ author {{ profile {{ bio }} }} }} }} bad: {bad} }}", None
    )
    await superuser.execute(DIVIDES_BY_ZERO)

    async def cancelled() -> None:
        running = asyncio.create_task(answered(operations, operation, services, ANONYMOUS))
        while not await superuser.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait([running])
        while await superuser.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)

    async with superuser.transaction():
        await superuser.execute("LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE")
        await cancelled()
        with collected_types() as left:
            await cancelled()
    assert not unexpected(left), " ".join(sorted(left))
