"""Generated queries of this schema on real rows, for three kinds of caller: both engines agree.

`OperationMaker`, which uses existing ids, makes most of them; hypothesis-graphql makes the rest, with the oddest
arguments that their types allow, so that the test compares errors, too.

With TESTS_EQUALITY_EXAMPLES there are more of them, with `--seed` others; a difference names the operation.
"""

import os
from collections.abc import AsyncIterator, Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import nodes, queries

from db.access import ANONYMOUS, Viewer
from db.settings import Settings
from graph.app import services_for
from graph.operations.cache import Operations, RequestRefused
from graph.runtime.context import Services
from graph.schema.root import graphql_schema
from tests.graph.support.both_engines import agree, ordinary_only
from tests.graph.support.operation_maker import OperationMaker
from tests.graph.support.population import Population, populate
from tests.running.amounts import examples
from tests.running.repeating import Cases

EXAMPLES_VARIABLE = "TESTS_EQUALITY_EXAMPLES"
MADE = int(os.environ.get(EXAMPLES_VARIABLE, "700"))
STRANGE = MADE // 5
SCALARS = {
    "DateTime": st.sampled_from([nodes.String("2026-11-22T09:30:00Z"), nodes.String("1970-01-01T00:00:00Z")]),
    "Decimal": st.just(nodes.String("12.50")),
    "UUID": st.just(nodes.String("0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e")),
    "CurrencyCode": st.just(nodes.String("EUR")),
}


@pytest.fixture
async def services(settings: Settings) -> AsyncIterator[Services]:
    """The dependencies of resolvers, for this test's database."""
    async with services_for(settings) as opened:
        yield opened


@pytest.fixture
async def population(services: Services) -> Population:
    """Six users with every kind of data."""
    return await populate(services.database, 6)


def viewers(population: Population) -> list[Viewer]:
    """Return one caller of each kind: anonymous, an owner of some of the rows, an administrator."""
    owner = int(population.users[0].partition("_")[2])
    return [ANONYMOUS, Viewer(owner), Viewer(owner, is_admin=True)]


async def compare(services: Services, population: Population, texts: Iterable[tuple[int, str]]) -> int:
    """Run `texts` on both engines as every kind of caller in turn; return the number of compared runs."""
    operations = Operations(graphql_schema, introspection=True, suggestions=True, compiled_from=1)
    engines, ordinary = operations.engines, ordinary_only(operations.engines)
    compared = 0
    for number, text in texts:
        try:
            execution = operations.find(text, None).execution
        except RequestRefused:
            continue
        viewer = viewers(population)[number % 3]
        expected = await ordinary.run(execution, {}, services, viewer)
        assert agree(await engines.run(execution, {}, services, viewer), expected), text
        compared += 1
    assert (engines.compiled, dict(engines.ordinary_runs)) == (compared, {})
    return compared


async def test_queries_of_rows_that_exist_are_answered_alike(
    services: Services, population: Population, cases: Cases
) -> None:
    ids = [*population.users, *population.posts, *population.accounts, *population.transactions, "user_999999"]
    count = examples(MADE)
    queries_of_ids = (
        (number, OperationMaker(chance, graphql_schema, ids).query()) for number, chance in cases.numbered(count)
    )
    compared = await compare(services, population, queries_of_ids)
    assert cases.is_one or compared > count * 0.8


async def test_queries_with_strange_arguments_are_answered_alike(services: Services, population: Population) -> None:
    texts: list[str] = []

    @settings(max_examples=examples(STRANGE), suppress_health_check=list(HealthCheck), database=None)
    @given(text=queries(graphql_schema, custom_scalars=SCALARS, allow_x00=False))  # a NUL refuses the document
    def keep(text: str) -> None:
        texts.append(text)

    keep()
    assert await compare(services, population, list(enumerate(texts))) > len(texts) * 0.5
