"""PostgreSQL for development and tests: the first user of a directory starts it, the last one stops it.

A data directory contains these files. All have mode 0700 and belong to the account that runs the server:

    pgdata/       the cluster, complete from the moment it has this name; the Unix socket is in it
    pgdata.new/   an initdb that runs, or was interrupted
    server.log    the log since the last start; server.log.1 the one before
    start.lock    held exclusively by the process that decides to start or to stop
    users.lock    held shared by each user; a user that can make it exclusive is the last
    server.lock   held by the processes of PostgreSQL, which inherit it, and by other processes only briefly

Invariants:

- Every state depends on an flock, which ends with its holder in whatever way it dies. A process id is never trusted:
  after a restart of the machine it may belong to another program, and in a container without an init process it may
  belong to a zombie permanently.
- users.lock is taken and made exclusive only under start.lock, so that no user enters while the last one leaves.
- The cluster is changed only while server.lock is held, which proves that no process of an earlier server or initdb is
  left. PostgreSQL's own interlock, a shared memory segment keyed by the directory's inode, stays as a second
  protection.
- Nothing is deleted but `pgdata.new` and the files that a dead server left: its pid file and its socket's lock file.

A user that dies without unwinding (SIGKILL, or SIGTERM without a handler) leaves the server running. The next user
adopts it, and stops it when it leaves.

The socket trusts every process that can open it: those of the account and of root. Other programs of the same account
can open it, too, so this server is not for data that matters. `db.embedded.places` decides which account that is, and
finds directories that it can reach for the binaries and the data.
"""

import fcntl
import logging
import os
import shlex
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from db.embedded.places import (
    PORT,
    SOCKET_NAME,
    Cluster,
    EmbeddedError,
    os_errors_explained,
    prepare,
    refuse_other_version,
    run_program,
    short_socket_dir,
)

__all__ = ["EmbeddedError", "EmbeddedServer", "embedded_postgres"]

_log = logging.getLogger(__name__)

# Crash recovery of a development database takes seconds. The limit is long enough for a slow disk, and ends the wait
# for a hung process. `run_program` allows half a minute more.
_START_LIMIT_S = 120
# The last user waits for a checkpoint. A server that takes longer to stop is left running for the next user.
_STOP_LIMIT_S = 30
_POLL_S = 0.01

_NO_OPTIONS: Mapping[str, str] = MappingProxyType({})
_DEFAULT_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        # Set here, because initdb stores a value that depends on the machine on which it ran.
        "max_connections": "100",
        # Times look the same on every developer's machine and in production.
        "timezone": "UTC",
        "log_timezone": "UTC",
        # Statements here last milliseconds. Compiling one takes longer, and makes timings vary between runs.
        "jit": "off",
    }
)

# The role has no rights that the role in production lacks, so that code that works here works there. \gexec runs the
# text of each row.
_ENSURE_ROLE_AND_DATABASE = r"""
SELECT 'CREATE ROLE folio LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'folio') \gexec
SELECT 'CREATE DATABASE folio OWNER folio'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'folio') \gexec
"""


@dataclass(frozen=True)
class EmbeddedServer:
    """A running server.

    Attributes:
        socket_dir: The directory of its Unix socket, the only way to connect.
        log_file: The server's log since its start, in the directory that holds the data.
    """

    socket_dir: Path
    log_file: Path

    def url(self, database: str = "folio", role: str = "folio") -> str:
        """Return the SQLAlchemy URL of a database as seen by a role (the superuser is `postgres`).

        Without `+asyncpg` it is a URL for asyncpg. The two have no common parameter for the meaning of PGSSLMODE. That
        variable and all similar ones are hidden while the server is used.
        """
        user, name, host = quote(role, safe=""), quote(database, safe=""), quote(str(self.socket_dir))
        return f"postgresql+asyncpg://{user}@/{name}?host={host}&port={PORT}"


@contextmanager
def embedded_postgres(data_dir: Path, *, options: Mapping[str, str] = _NO_OPTIONS) -> Iterator[EmbeddedServer]:
    """Serve the PostgreSQL cluster of a directory while the block runs.

    The first use creates the cluster, with the database `folio` owned by the role `folio`. Any number of processes, and
    of blocks within one process, share one server. The environment variables of PostgreSQL's clients are meant for
    other servers, and are removed from this process's environment meanwhile.

    Args:
        data_dir: New, empty, or used by this function before. Root may find it turned into a link, see
            `db.embedded.places`.
        options: Server settings such as `{"fsync": "off"}`. They apply if this call starts the server. If it is running
            already, its settings stay as they are.

    Yields:
        The server, ready for connections.

    Raises:
        EmbeddedError: The wheel is not installed, the directory cannot be used, it holds data of another major version
            of PostgreSQL, or the server does not start.
    """
    with ExitStack() as stack:
        stack.enter_context(_client_variables_hidden())
        with os_errors_explained(data_dir):
            cluster = prepare(data_dir)
            users = _open_lock(cluster, "users.lock")
            stack.callback(os.close, users)
            with _deciding(cluster):
                fcntl.flock(users, fcntl.LOCK_SH)
                stack.callback(_leave, cluster, users)
                server = _start_or_adopt(cluster, options)
        yield server


@contextmanager
def _client_variables_hidden() -> Iterator[None]:
    # asyncpg reads some twenty of them, and a URL cannot override all: PGSSLMODE=verify-full requires a certificate of
    # a Unix socket, PGTARGETSESSIONATTRS=standby requires a standby, which this server is not.
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PG")}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _start_or_adopt(cluster: Cluster, options: Mapping[str, str]) -> EmbeddedServer:
    refuse_other_version(cluster)
    with _server_gone_or_ready(cluster, _START_LIMIT_S) as server_lock:
        if server_lock is not None:
            if not cluster.pgdata.exists():
                _create(cluster, server_lock)
            _start(cluster, options, server_lock)
    socket_dir = _ready_socket_dir(cluster.pgdata)
    if socket_dir is None:
        raise EmbeddedError(
            f"PostgreSQL ended right after its start in {cluster.home}: {cluster.logged_reason()}; "
            f"the whole log is {cluster.log_file}"
        )
    # Also after an adoption, because the process that started the server may have died before this line.
    run_program(
        cluster,
        "psql",
        *("--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1"),
        *("--host", str(socket_dir), f"--port={PORT}", "--username=postgres", "--dbname=postgres"),
        text=_ENSURE_ROLE_AND_DATABASE,
    )
    return EmbeddedServer(socket_dir, cluster.log_file)


def _leave(cluster: Cluster, users: int) -> None:
    try:
        with os_errors_explained(cluster.home), _deciding(cluster):
            if _try_lock(users):
                _stop(cluster)
    except EmbeddedError as error:
        # Not raised: it would hide an exception of the block, and the next user adopts the running server.
        _log.warning("The embedded PostgreSQL was left as it is: %s", error)


# ---------------------------------------------------------------- locks


def _open_lock(cluster: Cluster, name: str) -> int:
    # O_CLOEXEC: PostgreSQL would keep a lock that it inherits. O_NOFOLLOW: root opens it in another user's directory.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    lock = os.open(cluster.home / name, flags, 0o600)
    os.fchown(lock, *cluster.account)
    return lock


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _deciding(cluster: Cluster) -> Iterator[None]:
    lock = _open_lock(cluster, "start.lock")
    try:
        deadline = time.monotonic() + _START_LIMIT_S
        while not _try_lock(lock):
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"Another process starts or stops PostgreSQL in {cluster.home}, and does not finish. "
                    f"`fuser {cluster.home}/start.lock` names it: end it."
                )
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(lock)


@contextmanager
def _server_gone_or_ready(cluster: Cluster, limit_s: float) -> Iterator[int | None]:
    """Wait for a server that starts, stops or crashes. Yield server.lock if none is left, or None if one is ready.

    Every process that is started in the block must inherit the lock, and keeps it when the block releases it.
    """
    lock = _open_lock(cluster, "server.lock")
    try:
        deadline = time.monotonic() + limit_s
        while not (gone := _try_lock(lock)) and _ready_socket_dir(cluster.pgdata) is None:
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"A PostgreSQL in {cluster.home} neither answers nor ends. Its log is {cluster.log_file}; "
                    f"`fuser {cluster.home}/server.lock` names its processes: end them."
                )
            time.sleep(_POLL_S)
        yield lock if gone else None
    finally:
        os.close(lock)


def _ready_socket_dir(pgdata: Path) -> Path | None:
    # The lines of postmaster.pid are listed in src/include/utils/pidfile.h: 4 is the port, 5 the socket's directory, 8
    # the status. The file remains after a server is killed, so a connection is tried.
    try:
        lines = (pgdata / "postmaster.pid").read_text().splitlines()
        if len(lines) < 8 or lines[7].strip() != "ready":  # noqa: PLR2004 - the line numbers above
            return None
        socket_dir = pgdata / lines[4]
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            probe.connect(str(socket_dir / f".s.PGSQL.{lines[3]}"))
    except OSError:
        return None
    return Path(os.path.normpath(socket_dir))


# ---------------------------------------------------------------- start and stop


def _create(cluster: Cluster, server_lock: int) -> None:
    new = cluster.home / "pgdata.new"
    if new.exists():
        shutil.rmtree(new)
    run_program(
        cluster,
        "initdb",
        *("--pgdata=pgdata.new", "--username=postgres", "--no-instructions"),
        # If a user enables TCP, connections over it are rejected, not trusted.
        *("--auth-local=trust", "--auth-host=reject"),
        # The builtin provider sorts by code point, the same on every machine and after every upgrade of its C library.
        *("--encoding=UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        keep=(server_lock,),
    )
    new.rename(cluster.pgdata)
    _log.info("PostgreSQL %s: new cluster in %s", cluster.major, cluster.pgdata)


def _start(cluster: Cluster, options: Mapping[str, str], server_lock: int) -> None:
    if _ready_socket_dir(cluster.pgdata) is not None:
        raise EmbeddedError(
            f"A PostgreSQL that was started by hand serves {cluster.pgdata}. "
            f"Stop it: {cluster.programs}/pg_ctl -D {shlex.quote(str(cluster.pgdata))} stop"
        )
    sockets = short_socket_dir(cluster) or Path()
    # PostgreSQL trusts a leftover file if its process id is alive, whatever process that is now. server.lock shows that
    # no server runs.
    (cluster.pgdata / "postmaster.pid").unlink(missing_ok=True)
    (cluster.pgdata / sockets / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)
    # Renamed, not truncated: the log before this start contains the reason for a crash.
    with suppress(FileNotFoundError):
        cluster.log_file.rename(cluster.home / "server.log.1")
    connection_options = {
        "listen_addresses": "",
        "port": str(PORT),
        # `.` is pgdata. If its directory was deleted while it ran, a server removes its socket by this name when it
        # ends. With the full path it would remove the socket of the server that has replaced it.
        "unix_socket_directories": str(sockets),
        "unix_socket_permissions": "0700",
    }
    settings = {**_DEFAULT_OPTIONS, **options, **connection_options}
    try:
        run_program(
            cluster,
            "pg_ctl",
            # pg_ctl quotes neither `$` nor `"` in its shell command, so it receives only names relative to home.
            *("start", "--pgdata=pgdata", "--log=server.log", "--wait", f"--timeout={_START_LIMIT_S}"),
            "--options=" + " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in settings.items()),
            keep=(server_lock,),
        )
    except EmbeddedError as error:
        raise EmbeddedError(
            f"PostgreSQL does not start in {cluster.home}: {cluster.logged_reason() or error}; "
            f"the whole log is {cluster.log_file}; remove the cause and try again; or, if the data has no value, "
            f"remove {cluster.home}; or set FOLIO_DATABASE_URL to another server"
        ) from error
    _log.info("PostgreSQL %s started in %s", cluster.major, cluster.pgdata)


def _stop(cluster: Cluster) -> None:
    with _server_gone_or_ready(cluster, _STOP_LIMIT_S) as server_lock:
        socket_dir = _ready_socket_dir(cluster.pgdata) if server_lock is None else None
    if socket_dir is None:
        return
    run_program(cluster, "pg_ctl", "stop", "--pgdata=pgdata", "--mode=fast", "--wait", f"--timeout={_STOP_LIMIT_S}")
    with _server_gone_or_ready(cluster, _STOP_LIMIT_S):
        # pg_ctl waits until the pid file is removed, which happens shortly before the processes end.
        _log.info("PostgreSQL stopped in %s", cluster.pgdata)
    if socket_dir != cluster.pgdata:
        with suppress(OSError):
            socket_dir.rmdir()
