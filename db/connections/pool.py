"""SQLAlchemy's pool: its settings, what each connection is opened with, and its events."""

import logging
import socket
import time
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from db.connections.asyncpg_adapter import BoundedConnection, Driver, socket_of
from db.settings import Settings

logger = logging.getLogger(__name__)

# asyncpg keeps at most this number of prepared statements on a connection, and none with more characters than this. In
# addition to each text it keeps twice as much memory: 4.7 MiB at most. A text with a nested page has 1,100 characters,
# one with twelve 7,000.
PREPARED_MAX = 200
PREPARED_LENGTH_MAX = 8_192

# A peer that disappeared without closing the connection is noticed within half a minute, even if nothing is sent.
KEEPALIVE_IDLE_S = 10
KEEPALIVE_INTERVAL_S = 5
KEEPALIVE_PROBES = 3
# How long sent data may stay without an acknowledgement, in milliseconds.
USER_TIMEOUT_MS = 20_000


# Longer than the usual pause between two probes; otherwise no probe might see the fault.
STORAGE_FAULT_KEPT_S = 10.0


@dataclass(slots=True)
class Storage:
    """The last fault of the database's disks that a statement met: they are full or broken.

    A probe cannot detect this: PostgreSQL answers from memory although the disk beneath is broken.
    """

    message: str = ""
    met_at: float = float("-inf")

    def meet(self, message: str) -> None:
        """Record a fault that a statement has just met."""
        self.message, self.met_at = message, time.monotonic()

    @property
    def problem(self) -> str | None:
        """Return the last fault, or None if there was none within the last STORAGE_FAULT_KEPT_S."""
        return self.message if time.monotonic() - self.met_at < STORAGE_FAULT_KEPT_S else None


@dataclass(slots=True)
class PoolCounters:
    """Counts of the pool's events and statements since the start of this process, and the last storage fault."""

    connects: int = 0
    check_outs: int = 0
    check_ins: int = 0
    invalidations: int = 0
    statements: int = 0
    retries: int = 0
    storage: Storage = field(default_factory=Storage)


def create_engine(settings: Settings) -> AsyncEngine:
    """Return SQLAlchemy's engine for these settings. It does not connect yet."""
    assert settings.database_url is not None
    return create_async_engine(
        settings.database_url.get_secret_value(),
        pool_size=settings.pool_size,
        max_overflow=settings.pool_max_overflow,
        pool_timeout=settings.pool_timeout_s,
        pool_recycle=settings.pool_recycle_s,
        pool_pre_ping=settings.pool_pre_ping,
        # The most recently used connection first, so that surplus connections grow old and are recycled.
        pool_use_lifo=True,
        connect_args=_connect_arguments(settings),
    )


def _connect_arguments(settings: Settings) -> dict[str, Any]:
    return {
        "connection_class": BoundedConnection,
        "statement_cache_size": PREPARED_MAX,
        "max_cacheable_statement_size": PREPARED_LENGTH_MAX,
        "max_cached_statement_lifetime": 0,  # never expires: a limit would also drop statements in use
        "timeout": settings.connect_timeout_s,
        "server_settings": {
            "application_name": "folio",
            "timezone": "UTC",
            # Compiling a plan costs more than the run of any statement of Folio.
            "jit": "off",
            "statement_timeout": str(settings.statement_timeout_ms),
            "lock_timeout": str(settings.lock_timeout_ms),
            "idle_in_transaction_session_timeout": str(settings.idle_in_transaction_session_timeout_ms),
            "client_connection_check_interval": str(settings.client_connection_check_interval_ms),
        },
    }


async def connect_outside(engine: AsyncEngine, settings: Settings) -> Driver:
    """Open a connection that no pool counts or lends, with the settings of those in the pool of `engine`.

    Raises:
        asyncpg.PostgresError: the server refuses it.
        OSError: the server cannot be reached.
    """
    _, options = engine.dialect.create_connect_args(engine.url)
    driver: Driver = await asyncpg.connect(**options, **_connect_arguments(settings))
    _keep_alive(driver)
    return driver


def count_pool_events(engine: AsyncEngine, counters: PoolCounters) -> None:
    """Count in `counters`, from now on, the events of the pool of `engine`."""
    pool = engine.sync_engine.pool

    @event.listens_for(pool, "connect")
    def _connect(dbapi_connection: object, record: ConnectionPoolEntry) -> None:
        counters.connects += 1
        _keep_alive(record.driver_connection)
        logger.debug("pool: connect, %s in total", counters.connects)

    @event.listens_for(pool, "checkout")
    def _check_out(dbapi_connection: object, record: ConnectionPoolEntry, proxy: PoolProxiedConnection) -> None:
        counters.check_outs += 1
        logger.debug("pool: check-out %s", counters.check_outs)

    @event.listens_for(pool, "checkin")
    def _check_in(dbapi_connection: object, record: ConnectionPoolEntry) -> None:
        counters.check_ins += 1
        logger.debug("pool: check-in %s", counters.check_ins)

    @event.listens_for(pool, "invalidate")
    def _invalidate(dbapi_connection: object, record: ConnectionPoolEntry, exception: BaseException | None) -> None:
        counters.invalidations += 1
        logger.debug("pool: invalidate %s", counters.invalidations)


def _keep_alive(driver: Any) -> None:
    """Let the kernel detect that the server's machine is gone: TCP alone reports nothing for hours."""
    peer = socket_of(driver)
    if peer.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", USER_TIMEOUT_MS),
    ):
        if hasattr(socket, option):  # Linux has all of them
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
