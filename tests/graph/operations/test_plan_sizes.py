"""The memory of plans is counted in the cache of operations, and an operation has few plans."""

import contextlib
import gc
import itertools
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Sequence
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
from graphql import GraphQLObjectType, get_variable_values
from graphql.execution.values import VariableValues

from db.access import ANONYMOUS
from db.settings import Settings
from graph.analysis.selection import Selection
from graph.app import services_for
from graph.execution import BoundEdge, Prepared, RowEdge
from graph.execution.engine import PLANS_MAX
from graph.execution.output.folding import folder
from graph.execution.output.generation import completer
from graph.execution.plan.levels import FieldPlan, Level
from graph.operations.cache import OPERATIONS_CACHED_BYTES_MAX, Operation, Operations, RequestRefused
from graph.operations.segmented_cache import ENTRY_BYTES, SegmentedCache
from graph.runtime.context import Services
from graph.schema.root import graphql_schema
from tests.graph.support.garbage import collected_types
from tests.graph.support.operation_maker import OperationMaker
from tests.running.amounts import share

SEED = 20261122
CONDITIONS = tuple(f"c{number}" for number in range(6))
FIELDS = "id title views published createdAt author { id username }"


def conditional(width: int, name: str = "Q") -> str:
    """Return a query of `width` lists whose fields depend on six variables."""
    given = ", ".join(f"${one}: Boolean!" for one in CONDITIONS)
    lists = " ".join(
        f"a{number}: posts(first: 1) @include(if: ${CONDITIONS[number % 6]})"
        f" {{ nodes {{ {FIELDS} }} edges {{ cursor node {{ {FIELDS} }} }} }}"
        for number in range(width)
    )
    return f"query {name}({given}) {{ {lists} viewer {{ id }} }}"


def vectors() -> Iterator[dict[str, bool]]:
    for values in itertools.product((True, False), repeat=len(CONDITIONS)):
        yield dict(zip(CONDITIONS, values, strict=True))


@pytest.fixture
async def services(settings: Settings) -> AsyncIterator[Services]:
    """The dependencies of resolvers, for this test's database."""
    async with services_for(settings) as generated:
        yield generated


@pytest.fixture
def operations() -> Operations:
    return Operations(graphql_schema, introspection=True, suggestions=True, compiled_from=1)


def bind(plan: FieldPlan, selection: Selection) -> None:
    """Make the binding of an edge with constant arguments, with all that its pages compute for statements."""
    if not (plan.is_constant and isinstance(plan.declaration, RowEdge) and plan.arguments is not None):
        return
    info = SimpleNamespace(
        context=SimpleNamespace(selection=selection), field_name=plan.name, path=plan.path, _raw_info=None
    )
    with contextlib.suppress(Exception):  # some arguments are invalid, and some edges need a context with loaders
        found = plan.declaration.bind(info, **plan.arguments(VariableValues({}, {}), info))
        if isinstance(found, BoundEdge):
            return
        plan.binding = found
        nested = cast("Any", found).page(None, None).nested("id")
        assert nested.alone.kinds == (nested.kind,)


def complete(level: Level, done: set[int], selection: Selection) -> None:
    """Plan the levels below a level for objects of all types, and make all completers, folders and bindings."""
    if id(level) in done:
        return
    done.add(id(level))
    completer(level)
    folder(level)
    for plan in level.fields:
        bind(plan, selection)
        if plan.place is None:
            continue
        named: Any = plan.place.named
        types = [named] if isinstance(named, GraphQLObjectType) else graphql_schema.get_possible_types(named)
        for one in types:
            complete(plan.place.level(one), done, selection)


def planned(operation: Operation, variables: dict[str, Any], grown: list[int]) -> Prepared:
    execution = operation.execution
    prepared = Prepared(graphql_schema, execution.document, execution.definition, grown=grown.append)
    coerced = get_variable_values(graphql_schema, execution.definition.variable_definitions or (), variables)
    assert not isinstance(coerced, list)
    for level in prepared.plan(coerced).roots:
        complete(level, set(), execution.joined)
    return prepared


def texts() -> Sequence[tuple[str, dict[str, Any]]]:
    maker = OperationMaker(Random(SEED), graphql_schema, ["user_1", "post_1", "account_1", "transaction_1"])  # noqa: S311 - no secret
    generated: Sequence[tuple[str, dict[str, Any]]] = share([(maker.query(), {}) for _ in range(12)], every=4)
    orders = "orderBy: [{ field: VIEWS, direction: DESC }], filter: { published: true }"
    some = next(vectors())
    return [
        *generated,
        ("{ posts(first: 1) { totalCount } }", {}),
        (conditional(6), some),
        (conditional(18), some),
        ("{ " + " ".join(f"a{one}: posts(first: 1, {orders}) {{ totalCount }}" for one in range(15)) + " }", {}),
        ("{ nodes(ids: [" + '"post_1" ' * 90 + "]) { id ... on Post { title } } }", {}),
    ]


def test_plans_take_about_the_memory_that_is_counted(operations: Operations) -> None:
    found = [(operations.find(text, None), variables) for text, variables in texts()]
    for operation, variables in found:  # the part that all plans share exists before the measurement
        planned(operation, variables, [])
    kept: list[Prepared] = []
    tracemalloc.start()
    try:
        for operation, variables in found:
            gc.collect()
            before, grown = tracemalloc.get_traced_memory()[0], list[int]()
            kept.append(planned(operation, variables, grown))
            gc.collect()
            taken = tracemalloc.get_traced_memory()[0] - before
            assert 0.8 * taken <= sum(grown) <= 2 * taken, (taken, grown)
    finally:
        tracemalloc.stop()


async def test_a_kept_operation_is_counted_with_its_plans(operations: Operations, services: Services) -> None:
    operation = operations.find(conditional(18), None)
    for number, variables in enumerate(itertools.islice(vectors(), PLANS_MAX)):
        before = operations.size_bytes
        await operations.run(operation, variables, services, ANONYMOUS)
        assert operations.size_bytes - before > 100_000, number
        before = operations.size_bytes
        await operations.run(operation, variables, services, ANONYMOUS)
        assert operations.size_bytes == before


async def test_further_vectors_of_conditions_are_left_to_the_ordinary_engine(
    operations: Operations, services: Services
) -> None:
    operation = operations.find(conditional(6), None)
    for variables in vectors():
        await operations.run(operation, variables, services, ANONYMOUS)
    assert operations.runs_by_engine == {
        ("compiled", "none"): PLANS_MAX,
        ("ordinary", "many conditions"): 2 ** len(CONDITIONS) - PLANS_MAX,
    }
    await operations.run(operation, next(vectors()), services, ANONYMOUS)
    assert operations.runs_by_engine["compiled", "none"] == PLANS_MAX + 1


@pytest.mark.long("a flood of plans")
async def test_a_flood_of_operations_with_conditions_takes_no_more_than_is_counted(
    operations: Operations, services: Services
) -> None:
    async def flood(numbers: range) -> None:
        for number in numbers:
            text = conditional(18, f"Q{number}")
            operations.find(text, None)
            operation = operations.find(text, None)
            for variables in itertools.islice(vectors(), PLANS_MAX):
                await operations.run(operation, variables, services, ANONYMOUS)

    await flood(range(1))
    gc.collect()
    tracemalloc.start()
    try:
        before, counted = tracemalloc.get_traced_memory()[0], operations.size_bytes
        await flood(range(1, 6))
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.8 * taken <= operations.size_bytes - counted
    await flood(range(6, 40))
    assert operations.size < 40
    assert operations.size_bytes <= OPERATIONS_CACHED_BYTES_MAX


def test_an_evicted_plan_leaves_nothing_to_the_cycle_collector(operations: Operations) -> None:
    found = [(operations.find(text, None), variables) for text, variables in texts()]
    for operation, variables in found:
        planned(operation, variables, [])
    with collected_types() as left:
        for operation, variables in found:
            planned(operation, variables, [])
    assert left == set()


def test_an_evicted_document_leaves_nothing_to_the_cycle_collector(operations: Operations) -> None:
    def find_all() -> None:
        for text, variables in texts():
            with contextlib.suppress(RequestRefused):
                operations.find(text, None).priced(variables)
        for number in range(10):  # each takes more than a tenth of the cache
            operations.find(f"query Q{number} {{ nodes(ids: [{'1 ' * 1900}]) {{ id }} }}", None)
        assert operations.size < 10

    find_all()
    with collected_types() as left:
        find_all()
    assert left == set()


def test_a_cached_value_that_grows_evicts_others_and_at_last_itself() -> None:
    cache: SegmentedCache[str, str] = SegmentedCache(protected_bytes_max=10_000, probation_bytes_max=10_000)
    for key in "abc":
        cache.put(key, key, 3_000 - ENTRY_BYTES)
        cache.get(key)
    assert cache.size_bytes == 9_000
    cache.grow("b", 3_000)
    assert (cache.size_bytes, cache.get("a"), cache.get("b"), cache.get("c")) == (9_000, None, "b", "c")
    cache.grow("b", 5_000)
    assert (cache.size_bytes, cache.get("b")) == (3_000, None)
    cache.grow("b", 1)
    assert len(cache) == 1
