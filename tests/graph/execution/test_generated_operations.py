"""Thousands of generated operations on a schema in which every field can fail: both engines agree."""

import gc
import os
from collections.abc import Iterator
from functools import partial
from random import Random

import pytest
from graphql import GraphQLSchema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import mutations, nodes, queries

from tests.graph.execution.support.comparing import Calls, both
from tests.graph.execution.support.misbehaving_schema import misbehaving_schema
from tests.graph.execution.support.operation_variants import OperationVariant
from tests.running.amounts import examples

EXAMPLES_VARIABLE = "TESTS_EQUALITY_EXAMPLES"
OPERATIONS = int(os.environ.get(EXAMPLES_VARIABLE, "1400"))
"""How many operations are compared in one run of this file."""

VARIANTS = 15
"""The number of forms in which each operation of hypothesis-graphql runs, each with its seed: generating is slow."""

WITH_RESOLVE_TYPE, WITH_IS_TYPE_OF = misbehaving_schema(default_typing=False), misbehaving_schema(default_typing=True)
SCALARS = {"Odd": st.sampled_from([nodes.String("fine"), nodes.Int(1)])}

# graphql-core drops some of its coroutines when an error has ended the operation that needs them.
DROPPED = "coroutine (object )?'?(Executor|default_type_resolver)"
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{DROPPED}:RuntimeWarning"),
    pytest.mark.filterwarnings(f"ignore:Exception ignored in. <{DROPPED}:pytest.PytestUnraisableExceptionWarning"),
]

many = settings(max_examples=examples(OPERATIONS // VARIANTS // 4), suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def dropped_coroutines() -> Iterator[None]:
    """Collect the coroutines that graphql-core has dropped while the warning is still expected."""
    yield
    gc.collect()


async def compare(schema: GraphQLSchema, text: str, seed: int) -> None:
    for number in range(seed, seed + VARIANTS):
        variant = OperationVariant(Random(number), schema, text)  # noqa: S311 - no secret
        await both(schema, variant.text, variant.variables, context=partial(Calls, number))


@many
@given(text=queries(WITH_RESOLVE_TYPE, custom_scalars=SCALARS), seed=st.integers(0, 2**32))
async def test_engines_agree_on_queries_where_types_are_resolved(text: str, seed: int) -> None:
    await compare(WITH_RESOLVE_TYPE, text, seed)


@many
@given(text=queries(WITH_IS_TYPE_OF, custom_scalars=SCALARS), seed=st.integers(0, 2**32))
async def test_engines_agree_on_queries_with_is_type_of(text: str, seed: int) -> None:
    await compare(WITH_IS_TYPE_OF, text, seed)


@many
@given(text=mutations(WITH_RESOLVE_TYPE, custom_scalars=SCALARS), seed=st.integers(0, 2**32))
async def test_engines_agree_on_mutations_where_types_are_resolved(text: str, seed: int) -> None:
    await compare(WITH_RESOLVE_TYPE, text, seed)


@many
@given(text=mutations(WITH_IS_TYPE_OF, custom_scalars=SCALARS), seed=st.integers(0, 2**32))
async def test_engines_agree_on_mutations_with_is_type_of(text: str, seed: int) -> None:
    await compare(WITH_IS_TYPE_OF, text, seed)
