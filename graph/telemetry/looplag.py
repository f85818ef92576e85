"""The delay of the event loop. Code that blocks the loop delays every request of the process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

INTERVAL_S = 0.5


@asynccontextmanager
async def loop_lag_watched(on_delay: Callable[[float], None]) -> AsyncIterator[None]:
    """Call `on_delay` twice a second with the delay of a timer, in seconds."""
    watcher = asyncio.create_task(_watch(on_delay))
    try:
        yield
    finally:
        watcher.cancel()


async def _watch(on_delay: Callable[[float], None]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + INTERVAL_S
        await asyncio.sleep(INTERVAL_S)
        on_delay(max(0.0, loop.time() - due))
