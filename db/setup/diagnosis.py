"""Reports why a command cannot use its database: its address, the cause, and what the user of the command can do.

Clients receive less (`db.connections.faults`): they need no host, no role and no cause.
"""

import getpass
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import asyncpg
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, EmulatedDBAPIException

from db.connections.faults import DRIVER_ERRORS
from db.connections.pool import create_engine
from db.errors import Unavailable
from db.settings import PREFIX, Settings

__all__ = ["SERVER_VERSION_MIN", "DatabaseProblem", "ServerState", "ensure_usable", "examine", "explained_problems"]

SERVER_VERSION_MIN = 140_000

_URL = f"{PREFIX}DATABASE_URL"
_PRIMARY = f"point {_URL} at the primary, or end the read-only mode (a full disk, for instance)"
_RIGHTS = "connect as the role that owns the database and its tables, or GRANT this one what it needs"

# What to do, by SQLSTATE or by its class. The message of the server names the cause.
_REMEDIES = {
    "08": f"check that a PostgreSQL listens there, or correct {_URL}",
    "25006": _PRIMARY,
    "28000": f"correct the user in {_URL}, or create the role, or let pg_hba.conf admit it",
    "28P01": f"correct user and password in {_URL}",
    "3D000": f"correct the database in {_URL}, or create it with OWNER and ENCODING 'UTF8'",
    "42501": _RIGHTS,
    "42P01": "run `folio migrate upgrade`, or correct the search_path of the role",
    "53100": "free space on the disk of the server",
    "53200": "increase the memory of the server",
    "53300": f"raise max_connections there, or lower {PREFIX}POOL_SIZE of the processes that use them",
    "55P03": "other clients have locked the same tables: try again when they have finished",
    "57014": "it exceeded a time limit: try again when the server is less busy",
    "57P03": "try again when the server has started",
}
_LOOK = "read the log of the server"
_START = f"start PostgreSQL, or correct {_URL}"
# The cause, if the message of the system does not help, and what to do. The most specific type first.
_NETWORK: tuple[tuple[type[OSError], str, str], ...] = (
    (socket.gaierror, "the name of the host is not known", f"correct the host in {_URL}, or repair the name service"),
    (ssl.SSLError, "", f"correct sslmode in {_URL}, or the certificate of the server"),
    (ConnectionRefusedError, "no server listens there (connection refused)", _START),
    (FileNotFoundError, "there is no such socket", _START),
    (PermissionError, "this account may not open the socket", f"run as an account that may, or correct {_URL}"),
)


class DatabaseProblem(Exception):  # noqa: N818 - `folio doctor` also returns it as a finding
    """A database that cannot be used.

    Attributes:
        reason: where the database is, and the cause.
        remedy: what to do.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class ServerState:
    """The state that a server reports: its version as number and text, the encoding, and whether it accepts writes."""

    number: int
    version: str
    encoding: str
    takes_writes: bool

    def problem(self, settings: Settings) -> DatabaseProblem | None:
        """Return why Folio cannot use the database, or None."""
        if self.number < SERVER_VERSION_MIN:
            return DatabaseProblem(f"{place(settings)} is PostgreSQL {self.version}", "use PostgreSQL 14 or later")
        if self.encoding != "UTF8":
            remedy = "create the database with ENCODING 'UTF8' TEMPLATE template0"
            return DatabaseProblem(f"the encoding of {place(settings)} is {self.encoding}", remedy)
        return None

    def read_only(self, settings: Settings) -> DatabaseProblem | None:
        """Return why the database accepts no writes, or None."""
        if self.takes_writes:
            return None
        return DatabaseProblem(f"{place(settings)} accepts no writes: it is a replica, or set to read only", _PRIMARY)


_STATE = """
SELECT current_setting('server_version_num')::int, current_setting('server_version'), getdatabaseencoding()::text,
    NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'
"""


async def examine(settings: Settings) -> ServerState:
    """Connect to the database of `settings` and return the state that the server reports.

    Raises:
        DatabaseProblem: the connection failed.
    """
    engine = create_engine(settings)
    try:
        pooled = await engine.raw_connection()
        driver = pooled.driver_connection
        assert driver is not None
        state = ServerState(*await driver.fetchrow(_STATE))
        pooled.close()
    except (DBAPIError, EmulatedDBAPIException, *DRIVER_ERRORS) as error:
        reason, remedy = _of_connecting(_driver_error(error), settings)
        raise DatabaseProblem(f"cannot connect to {place(settings)}: {reason}", remedy) from None
    else:
        return state
    finally:
        await engine.dispose()


async def ensure_usable(settings: Settings, *, writes: bool = False) -> None:
    """Raise a DatabaseProblem if the database cannot be used; `writes` is whether it must accept writes."""
    state = await examine(settings)
    problem = state.problem(settings) or (state.read_only(settings) if writes else None)
    if problem is not None:
        raise problem


@contextmanager
def explained_problems(settings: Settings) -> Iterator[None]:
    """Turn every error of the database within the block into a DatabaseProblem with a remedy."""
    try:
        yield
    except Unavailable as error:
        reason = f" ({one_line(error.reason)})" if error.reason else ""
        raise DatabaseProblem(f"{place(settings)}: {error}{reason}", _LOOK) from error
    except (DBAPIError, EmulatedDBAPIException, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        cause = _driver_error(error)
        raise DatabaseProblem(f"{place(settings)} refuses: {_first_line(cause)}", _remedy(cause)) from error


def place(settings: Settings) -> str:
    """Return the name, the address and the user of the database as text."""
    assert settings.database_url is not None
    url = make_url(settings.database_url.get_secret_value())
    user = url.username or os.environ.get("PGUSER") or getpass.getuser()
    return f'the database "{url.database or user}" at {", ".join(_hosts(url))} as user "{user}"'


def one_line(text: str) -> str:
    """Return a text without its line breaks."""
    return " ".join(text.split())


def _hosts(url: URL) -> list[str]:
    configured = url.query.get("host") or url.host or os.environ.get("PGHOST") or "localhost"
    ports = url.query.get("port") or str(url.port or os.environ.get("PGPORT") or 5432)
    hosts = configured.split(",") if isinstance(configured, str) else configured
    port = ports if isinstance(ports, str) else ",".join(ports)
    return [_host(host, port) for host in hosts]


def _host(host: str, port: str) -> str:
    if host.startswith("/"):
        return f"{host}/.s.PGSQL.{port}"
    return host if ":" in host else f"{host}:{port}"


def _driver_error(error: BaseException) -> BaseException:
    """Return the error of asyncpg or of the network that SQLAlchemy has wrapped."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DRIVER_ERRORS):
            return cause
        cause = getattr(cause, "orig", None) or cause.__cause__
    return error


def _of_connecting(error: BaseException, settings: Settings) -> tuple[str, str]:
    if not isinstance(error, OSError):
        return _first_line(error), _remedy(error)
    if isinstance(error, TimeoutError):
        return f"no answer within {settings.connect_timeout_s:g} s", f"check the network between, or correct {_URL}"
    for kind, reason, remedy in _NETWORK:
        if isinstance(error, kind):
            return reason or one_line(str(error)), remedy
    return one_line(error.strerror or str(error)), _START


def _first_line(error: BaseException) -> str:
    # The first line names the cause. Details and hints are for developers, and may quote rows.
    text = str(error.args[0] if error.args else "") or type(error).__name__
    return one_line(text.partition("\n")[0])


def _remedy(error: BaseException) -> str:
    state = str(getattr(error, "sqlstate", None) or "")
    return _REMEDIES.get(state) or _REMEDIES.get(state[:2]) or _LOOK
