"""Faults are provoked on the event loop of production, for what a task does first hangs on the loop that runs it."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every test of this directory under uvloop."""
    return {"uvloop": uvloop.new_event_loop}
