"""The task that deletes expired rows and old events while the process serves.

`db.repositories.sweeping` deletes the rows, and `db.events.retention` the events.

Every worker runs it, at different times; a row that one has deleted is not found by the others.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from db.connections.database import Database
from db.errors import Unavailable
from db.events.retention import sweep_events
from db.repositories.sweeping import sweep

logger = logging.getLogger(__name__)

FIRST_AFTER_S = 60.0
EVERY_S = 600.0


@asynccontextmanager
async def swept(
    database: Database, token_ttl_s: int, *, first_after_s: float = FIRST_AFTER_S, every_s: float = EVERY_S
) -> AsyncIterator[None]:
    """Sweep within the block.

    `token_ttl_s` is the life of a refresh token. The first sweep is `first_after_s` to twice that time later, and the
    next ones follow every `every_s` seconds.
    """
    task = asyncio.create_task(_sweep(database, token_ttl_s, first_after_s, every_s), name="sweep")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _sweep(database: Database, token_ttl_s: int, first_after_s: float, every_s: float) -> None:
    await asyncio.sleep(first_after_s * (1 + random.random()))  # noqa: S311 - no secret
    while True:
        try:
            gone = {**await sweep(database, token_ttl_s)}
            gone["events"] = await sweep_events(database, database.settings.event_retention_s)
        except Unavailable as error:
            logger.warning("expired rows were not deleted: %s", error)
        except Exception:
            logger.exception("expired rows were not deleted")
        else:
            if any(gone.values()):
                logger.info("expired rows were deleted", extra={"fields": gone})
        await asyncio.sleep(every_s)
