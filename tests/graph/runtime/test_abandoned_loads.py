"""A field that was cancelled while its batch is loaded: the error of the batch leaves no cycle of references."""

import asyncio
import contextlib
from collections.abc import Sequence

from graph.runtime.edge_loaders import EdgeLoader, Running
from tests.graph.support.garbage import collected_types


async def load_in_vain() -> None:
    fails = asyncio.Event()

    async def batch(keys: Sequence[int]) -> list[int]:
        await fails.wait()
        raise ZeroDivisionError(f"on purpose: {keys}")

    loader: EdgeLoader[int, int] = EdgeLoader("in vain", batch, Running())
    field = asyncio.ensure_future(loader.load(1))
    for _ in range(5):
        await asyncio.sleep(0)  # until the batch waits
    field.cancel()
    fails.set()
    with contextlib.suppress(asyncio.CancelledError):
        await field
    for _ in range(5):
        await asyncio.sleep(0)


async def test_error_of_a_batch_that_no_field_waits_for_leaves_nothing() -> None:
    await load_in_vain()
    with collected_types() as left:
        await load_in_vain()
    assert left == set()
