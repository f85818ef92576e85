"""Runs a unit of work again after a fault that left nothing of it (`db.connections.faults`).

The pauses grow exponentially up to a cap, each with full jitter (Brooker: Exponential Backoff And Jitter, AWS
Architecture Blog, 2015). Written here because a retry library keeps the exceptions, with all rows in their frames, in
reference cycles.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from db.connections.faults import DatabaseFault, Retry

WAIT_S = 0.01
WAIT_MAX_S = 0.5
# For how many seconds, and after which pause, a unit of work runs again while tables or columns are missing.
SETTLE_S = 3.0
SETTLE_WAIT_S = 0.05

T = TypeVar("T")

_jitter = random.SystemRandom()


async def run_again(
    attempt: Callable[[], Awaitable[T]],
    fault: DatabaseFault,
    attempts_max: int,
    retried: Callable[[], None] | None = None,
) -> T:
    """Run a unit of work again after its first attempt failed with `fault`.

    `attempt` is the whole unit of work, in a new transaction if it needs one. There are at most `attempts_max`
    attempts, the first among them; during a migration the time is limited instead. `retried` is called before each
    further attempt.

    Raises:
        DatabaseFault: the fault of the last attempt.
    """
    started, number = time.monotonic(), 1
    while not _is_enough(fault.retry, number, attempts_max, started):
        if retried is not None:
            retried()
        await asyncio.sleep(_pause_s(fault.retry, number))
        try:
            return await attempt()
        except DatabaseFault as error:
            fault = error.copy()
        number += 1
    raise fault.copy()  # a copy, because the traceback of the original keeps frames alive


def _is_enough(retry: Retry, attempts: int, attempts_max: int, started: float) -> bool:
    if retry is Retry.WHEN_SETTLED:
        return time.monotonic() - started > SETTLE_S
    return retry is Retry.NEVER or attempts >= attempts_max


def _pause_s(retry: Retry, attempts: int) -> float:
    if retry is Retry.WHEN_SETTLED:
        return SETTLE_WAIT_S
    return _jitter.uniform(0, min(WAIT_MAX_S, WAIT_S * 2**attempts))
