"""What Folio uses of asyncpg beyond its public API. No other module of `db` uses private names of it.

`tests/db/connections/test_asyncpg_adapter.py` fails, and says what is missing, where asyncpg has changed one of them.
"""

import asyncio
import socket
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
from asyncpg import Record
from asyncpg.pgproto.pgproto import BufferError as DriverBufferError

__all__ = ["BoundedConnection", "Driver", "DriverBufferError", "socket_of"]

if TYPE_CHECKING:
    Driver: TypeAlias = asyncpg.Connection[Record]  # generic to the type checker alone
else:
    Driver = asyncpg.Connection

DEALLOCATION_LIMIT_S = 5.0


class BoundedConnection(Driver):
    """asyncpg's connection, with a limit of time on all that it asks the server.

    asyncpg deallocates statements that its cache drops while it prepares another one, and waits for that without a
    limit: on a frozen server for ever.
    """

    __slots__ = ()

    async def _cleanup_stmts(self) -> None:
        """Deallocate what the cache has dropped.

        Raises:
            TimeoutError: the server did not answer within DEALLOCATION_LIMIT_S.
        """
        base: Any = super()
        async with asyncio.timeout(DEALLOCATION_LIMIT_S):
            await base._cleanup_stmts()  # noqa: SLF001 - asyncpg has no limit for it


def socket_of(driver: Any) -> socket.socket:
    """Return the socket of an asyncpg connection, to set its options."""
    peer: socket.socket = driver._transport.get_extra_info("socket")  # noqa: SLF001 - asyncpg has no public way to it
    return peer
