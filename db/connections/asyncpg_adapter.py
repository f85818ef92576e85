"""The private names of asyncpg that Folio uses. No other module of `db` uses one.

`tests/db/connections/test_asyncpg_adapter.py` fails if asyncpg has changed one of them, and names it.
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
    """asyncpg's connection, with a time limit on every request that it sends to the server.

    asyncpg deallocates the statements that its cache has dropped while it prepares another one. It waits for that
    without a limit: on a frozen server without end.
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
