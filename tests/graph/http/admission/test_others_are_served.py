"""Whatever one client requests within the limits, the server answers another one meanwhile, in a separate process."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import orjson
import pytest

from db.connections.leases import Driver
from tests.graph.cli.test_serving import free_port
from tests.graph.support.bodies import JSON
from tests.graph.support.callers import Person
from tests.graph.support.forked import forked
from tests.running.amounts import sample

# A request takes a millisecond; the bound allows for a machine with other tests. Without limits it took 2 to 18 s.
PATIENCE_S = 1.5
TIMES = 3
LEAVES = "id title published views createdAt updatedAt version"
OF_USERS = f"users(first: 100) {{ nodes {{ username posts(first: 100) {{ nodes {{ {LEAVES} }} }} }} }}"
NESTED = "{ posts(first: $n) { nodes { id author { posts(first: $n) { nodes { id author { id } } } } } } }"


def body(query: str, variables: str = "{}") -> bytes:
    return b'{"query": %s, "variables": %s}' % (orjson.dumps(query), variables.encode())


def aliased(count: int, field: str) -> str:
    """Return a field under `count` aliases; `N` in it becomes the number of the alias."""
    return " ".join(f"r{number}: {field.replace('N', str(number))}" for number in range(count))


WIDE = aliased(40, "title")
SEARCH = 'posts(filter: {search: "post -nothingN"}) { totalCount }'
ATTACKS = {
    "floats as lengths": body(f"query ($n: Int) {NESTED}", '{"n": 1e2}'),
    "long texts under many names": body(f"{{ posts(first: 100) {{ nodes {{ {aliased(20, 'content')} }} }} }}"),
    "many values": body(f"{{ {OF_USERS.replace(LEAVES, f'{LEAVES} {WIDE}')} }}"),
    "an error and much data": body(f'{{ bad: posts(after: "x") {{ nodes {{ id }} }} {OF_USERS} }}'),
    "introspection and much data": body(f"{{ __schema {{ queryType {{ name }} }} {OF_USERS} }}"),
    "introspections": body(f"{{ {aliased(20, '__schema { types { name fields { name args { name } } } }')} }}"),
    "one field again and again": body(f"{{ posts(first: 1) {{ nodes {{ {'title ' * 480} }} }} }}"),
    "wrong arguments": body(f"{{ {'posts(first: 1, zz: 1) { nodes { id } } ' * 160} }}"),
    "brackets": b'{"query": "{ __typename }", "variables": {"x": [' + b",".join([b"[]"] * 400_000) + b"]}}",
    "searches": body(f"{{ {aliased(20, SEARCH)} }}"),
}


@pytest.fixture
async def loaded_server(database_url: str, superuser: Driver, ida: Person, tmp_path: Path) -> AsyncIterator[str]:
    """A server with a hundred authors of a hundred posts each; the newest posts have the maximum length."""
    await superuser.execute(
        "INSERT INTO users (email, username, hashed_password) "
        "SELECT n || '@x.org', 'someone' || n, '!' FROM generate_series(1, 99) n"
    )
    await superuser.execute(
        "INSERT INTO posts (title, content, published, author_id) "
        "SELECT 'Post', '', true, id FROM users, generate_series(1, 100) WHERE role = 'member'"
    )
    await superuser.execute(
        "INSERT INTO posts (title, content, published, author_id) "
        "SELECT 'Long', $1, true, $2 FROM generate_series(1, 100)",
        "\x01" * 100_000,
        ida.number,
    )
    port = free_port()
    unbounded = {"FOLIO_COST_PER_MINUTE_MAX": "0", "FOLIO_COST_PER_MINUTE_PER_ADDRESS_MAX": "0"}
    async with forked("serve", cwd=tmp_path, port=port, FOLIO_DATABASE_URL=database_url, **unbounded):
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("kind", sample(ATTACKS, every=4))
async def test_another_client_is_served_at_the_same_time(loaded_server: str, kind: str) -> None:
    usual = {"query": "{ users(first: 1) { nodes { username } } }"}
    waits: list[float] = []
    async with httpx.AsyncClient(base_url=loaded_server, timeout=60, headers={"content-type": JSON}) as http:
        await http.post("/graphql", json=usual)

        async def attack() -> None:
            for _ in range(TIMES):
                await http.post("/graphql", content=ATTACKS[kind])

        attacks = [asyncio.create_task(attack()) for _ in range(2)]
        while not all(one.done() for one in attacks):
            began = time.perf_counter()
            answer = await http.post("/graphql", json=usual)
            waits.append(time.perf_counter() - began)
            assert answer.json()["data"]["users"]["nodes"]
        await asyncio.gather(*attacks)
    assert max(waits) < PATIENCE_S, f"{len(waits)} answers, the slowest after {max(waits):.2f} s"
