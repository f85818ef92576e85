"""Running a unit of work again after a fault that has left nothing of it (`db.connections.faults`).

The pauses grow exponentially up to a cap, each with full jitter (Brooker: Exponential Backoff And Jitter, AWS
Architecture Blog, 2015). Written here because a retry library keeps the exceptions, with all rows in their frames, in
reference cycles.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from db.connections.faults import Again, DatabaseFault

WAIT_S = 0.01
WAIT_MAX_S = 0.5
# How long a unit of work is tried again while tables or columns are missing, and how often.
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
    """Go on after the first attempt at a unit of work, which failed with `fault`.

    Args:
        attempt: the whole unit of work, in a new transaction where it needs one.
        fault: of the first attempt.
        attempts_max: how many attempts there are at most, the first among them. While a migration is under way time
            is the limit instead.
        retried: is told of each further attempt.

    Raises:
        DatabaseFault: of the last attempt.
    """
    started, number = time.monotonic(), 1
    while not _is_enough(fault.again, number, attempts_max, started):
        if retried is not None:
            retried()
        await asyncio.sleep(_pause_s(fault.again, number))
        try:
            return await attempt()
        except DatabaseFault as error:
            fault = error.copy()
        number += 1
    raise fault.copy()  # one that no frame of its trace holds


def _is_enough(again: Again, attempts: int, attempts_max: int, started: float) -> bool:
    if again is Again.WHEN_SETTLED:
        return time.monotonic() - started > SETTLE_S
    return again is Again.NEVER or attempts >= attempts_max


def _pause_s(again: Again, attempts: int) -> float:
    if again is Again.WHEN_SETTLED:
        return SETTLE_WAIT_S
    return _jitter.uniform(0, min(WAIT_MAX_S, WAIT_S * 2**attempts))
