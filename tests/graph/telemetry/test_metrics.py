"""`/metrics`: the exact effect of a few operations, the bounds of its labels, and that it can be disabled."""

import asyncio
import os
import re
import time
from pathlib import Path

import pytest
from pydantic import SecretStr

from db.settings import Settings
from graph.app import create_app
from graph.telemetry.looplag import loop_lag_watched
from tests.conftest import SECRET_KEY
from tests.graph.support.callers import Client, SignUp, http_client, serving
from tests.graph.support.served_app import served_with_documents

FEED = "query Feed { posts(first: 10) { nodes { author { username profile { bio } } } } }"
CREATE_POST = 'mutation Write { createPost(input: {title: "T", content: "C", published: true}) { post { id } } }'

# Samples that depend on time or on the interpreter.
_UNSTEADY = re.compile(r"^(python_|process_|folio_event_loop_lag|#)|_created\{|_seconds_(sum|bucket)")


async def scraped(client: Client) -> dict[str, float]:
    """Return every sample that does not depend on time, with its labels except `worker`, without those at 0."""
    response = await client.http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=1.0.0")
    samples = {}
    for line in response.text.splitlines():
        name, _, value = line.rpartition(" ")
        if not _UNSTEADY.search(line):
            assert f'worker="{os.getpid()}"' in name
            samples[re.sub(r',?worker="\d+"', "", name).replace("{,", "{").replace("{}", "")] = float(value)
    return {name: value for name, value in samples.items() if value}


async def added(client: Client, before: dict[str, float]) -> dict[str, float]:
    """Return by how much each sample has grown."""
    after = await scraped(client)
    return {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}


def bucket_free(samples: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in samples.items() if "_bucket{" not in name}


async def test_operations_are_counted_by_their_kind(client: Client, sign_up: SignUp) -> None:
    ada = await sign_up("ada")
    before = await scraped(client)
    for _ in range(2):
        await client.data(CREATE_POST, by=ada)
    await client.data(FEED)
    await client.run("{ nothing }")
    await client.http.post("/graphql", content=b"5")
    assert bucket_free(await added(client, before)) == {
        'folio_operations_total{kind="mutation",operation="Write",status="ok"}': 2,
        'folio_operations_total{kind="query",operation="Feed",status="ok"}': 1,
        'folio_operations_total{kind="none",operation="none",status="refused"}': 2,
        'folio_operation_seconds_count{operation="Write"}': 2,
        'folio_operation_seconds_count{operation="Feed"}': 1,
        'folio_operation_seconds_count{operation="none"}': 2,
        "folio_operation_cost_count": 3,
        "folio_operation_cost_sum": 2 * 11 + 31,
        "folio_operation_statements_count": 3,
        "folio_operation_statements_sum": 2 * 1 + 2,
        'folio_errors_total{code="GRAPHQL_VALIDATION_FAILED"}': 1,
        'folio_errors_total{code="UNSUPPORTED_MEDIA_TYPE"}': 1,
        'folio_loader_batch_keys_count{loader="profile_by_user"}': 1,
        'folio_loader_batch_keys_sum{loader="profile_by_user"}': 1,
        "folio_operation_cache_hits_total": 1,
        "folio_operation_cache_misses_total": 3,
        "folio_operation_cache_size": 3,
        'folio_runs_total{engine="compiled",reason="none"}': 3,
        # ada's session is read twice.
        "folio_statements_total": 2 * 2 + 2,
    }


async def test_failed_field_and_refused_budget_are_distinguished(settings: Settings) -> None:
    node = '{ node(id: "nonsense") { id } }'
    async with served_with_documents([node, FEED], settings, cost_per_minute_max=40) as client:
        await client.run(node)
        for _ in range(2):
            await client.run(FEED)
        samples = await scraped(client)
    operations = {name: value for name, value in samples.items() if name.startswith(("folio_operations", "folio_err"))}
    assert operations == {
        'folio_operations_total{kind="query",operation="unnamed",status="errors"}': 1,
        'folio_operations_total{kind="query",operation="Feed",status="ok"}': 1,
        'folio_operations_total{kind="query",operation="Feed",status="refused"}': 1,
        'folio_errors_total{code="BAD_USER_INPUT"}': 1,
        'folio_errors_total{code="RATE_LIMITED"}': 1,
    }


async def test_batches_of_lists_are_named_after_their_edge(client: Client, sign_up: SignUp) -> None:
    for author in (await sign_up("ada"), await sign_up("ben")):
        for _ in range(2):
            await client.data(CREATE_POST, by=author)
    before = await scraped(client)
    await client.data(
        '{ nodes(ids: ["user_2", "user_3"]) { ... on User { posts(first: 1) { totalCount nodes { id } } } } }'
    )
    batches = {
        name: value for name, value in bucket_free(await added(client, before)).items() if "folio_loader" in name
    }
    assert batches == {
        'folio_loader_batch_keys_count{loader="user_by_id"}': 1,
        'folio_loader_batch_keys_sum{loader="user_by_id"}': 2,
        'folio_loader_batch_keys_count{loader="posts_by_author"}': 1,
        'folio_loader_batch_keys_sum{loader="posts_by_author"}': 2,
        'folio_loader_batch_keys_count{loader="posts_by_author_count"}': 1,
        'folio_loader_batch_keys_sum{loader="posts_by_author_count"}': 2,
    }


async def test_flood_of_names_is_counted_as_other(client: Client) -> None:
    long = "L" * 65
    for name in [long, *(f"Flood{number}" for number in range(205)), "Flood0"]:
        await client.data(f"query {name} {{ __typename }}")
    samples = await scraped(client)
    counts = {name: value for name, value in samples.items() if name.startswith("folio_operations_total")}
    expected = {f'folio_operations_total{{kind="query",operation="Flood{n}",status="ok"}}': 1 for n in range(200)}
    expected['folio_operations_total{kind="query",operation="Flood0",status="ok"}'] = 2
    expected['folio_operations_total{kind="query",operation="other",status="ok"}'] = 1 + 5
    assert counts == expected


async def test_names_of_invalid_operations_are_no_labels(client: Client) -> None:
    await client.run("query Evil { nothing }")
    await client.http.post("/graphql", json={"query": "{ __typename }", "operationName": "Evil"})
    assert "Evil" not in (await client.http.get("/metrics")).text


async def test_pool_and_requests_are_read_at_the_scrape(client: Client) -> None:
    await client.data(FEED)
    async with client.database.read():
        samples = await scraped(client)
    gauges = {name: samples.get(name, 0) for name in samples if name.startswith("folio_pool_connections")}
    assert gauges == {'folio_pool_connections{state="in_use"}': 1, "folio_pool_connections_max": 12}
    idle = await scraped(client)
    gauges = {name: idle.get(name, 0) for name in idle if name.startswith("folio_pool_connections")}
    assert gauges == {'folio_pool_connections{state="idle"}': 1, "folio_pool_connections_max": 12}


async def test_blocked_event_loop_is_late() -> None:
    lags: list[float] = []
    async with loop_lag_watched(lags.append):
        await asyncio.sleep(0.3)
        time.sleep(0.5)  # noqa: ASYNC251 - the delay to be measured
        await asyncio.sleep(0.1)
    assert len(lags) == 1
    assert lags[0] >= 0.25


@pytest.mark.parametrize(
    ("env", "metrics", "status"),
    [
        ("development", None, 200),
        ("development", False, 404),
        ("production", None, 404),
        ("production", True, 200),
    ],
)
async def test_metrics_are_off_in_production_by_default(
    database_url: str, env: str, metrics: bool | None, status: int, tmp_path: Path
) -> None:
    settings = Settings.model_validate(
        {
            "env": env,
            "metrics": metrics,
            "database_url": SecretStr(database_url),
            "secret_key": SecretStr(SECRET_KEY),
            "data_dir": tmp_path,
        }
    )
    app = create_app(settings)
    async with serving(app) as address, http_client(address) as http:
        assert (await http.get("/metrics")).status_code == status
        assert (await http.post("/graphql", json={"query": "{ __typename }"})).status_code == 200
