"""The meaning of every error of PostgreSQL, asyncpg and the network, in one table.

A line of the table is found by the error's SQLSTATE, else by the class of that SQLSTATE (its first two characters,
PostgreSQL documentation, appendix A), else by the type of the exception. A test walks the exceptions of asyncpg and
fails on one that has no line.

A line has three parts: the code and message for the client (none if the fault is in this program: it is masked and
logged), whether the unit of work may run again at once because nothing of it has happened, and whether the connection
is still usable. If the answer to a COMMIT is lost, it is unknown whether the COMMIT has happened:
`Fault.is_unknown_at_commit`.
"""

from dataclasses import dataclass
from enum import Enum, auto

import asyncpg

from db.connections.asyncpg_adapter import DriverBufferError
from db.errors import Unavailable

BUSY = "DATABASE_BUSY"
TIMEOUT = "DATABASE_TIMEOUT"
UNAVAILABLE = "DATABASE_UNAVAILABLE"


DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    DriverBufferError,
    OSError,
)
"""What the driver may raise, including errors of the network."""


class Retry(Enum):
    """Whether and when a unit of work runs again, from its start, after a fault."""

    NEVER = auto()
    """It does not run again: the caller decides."""

    SOON = auto()
    """It runs again after a short random pause, a limited number of times."""

    WHEN_SETTLED = auto()
    """It runs again as soon as a migration has ended, which takes longer than the pause after a conflict."""


class DatabaseFault(Unavailable):
    """A refusal that was caused by an error of the database.

    Attributes:
        retry: whether the unit of work may run again. If so, nothing of it has happened.
    """

    retry: Retry = Retry.NEVER

    def copy(self) -> "DatabaseFault":
        """Do as `Unavailable.copy`."""
        copied = DatabaseFault(self.code, str(self), outcome_unknown=self.outcome_unknown, reason=self.reason)
        copied.retry = self.retry
        return copied


@dataclass(frozen=True, slots=True)
class Fault:
    """The meaning of one kind of error.

    Attributes:
        code: `extensions.code` for the client; None if the fault is in this program.
        retry: whether the unit of work may run again. Nothing of it has happened, unless the error answered a COMMIT.
        is_broken: whether the connection is unusable after the error.
        is_unknown_at_commit: whether this error, as the answer to a COMMIT, leaves unknown if the transaction is
            committed.
        is_of_storage: whether the disks of the database are full or broken, which the readiness check reports.
    """

    code: str | None
    message: str = ""
    retry: Retry = Retry.NEVER
    is_broken: bool = False
    is_unknown_at_commit: bool = False
    is_of_storage: bool = False

    def refusal(self, error: BaseException, *, is_at_commit: bool = False) -> DatabaseFault:
        """Return the refusal that the caller of the database receives for `error`."""
        assert self.code is not None
        reason = f"{type(error).__name__}: {error}"
        if is_at_commit and self.is_unknown_at_commit:
            message = "the connection broke while the write was being committed: check before you send it again"
            return DatabaseFault(UNAVAILABLE, message, outcome_unknown=True, reason=reason)
        refusal = DatabaseFault(self.code, self.message, reason=reason)
        refusal.retry = self.retry
        return refusal


OURS = Fault(None)
"""A fault of this program, or the violation of a constraint that has its own refusal (`db.constraints.CONSTRAINTS`)."""

CONFLICT = Fault(BUSY, "too many clients write the same rows; try again shortly", Retry.SOON)
LOCKED = Fault(BUSY, "another client holds a lock on the same rows; try again shortly")
TOO_SLOW = Fault(TIMEOUT, "the database took too long; request less data")
SILENT = Fault(TIMEOUT, "the database did not answer in time; try again later", is_unknown_at_commit=True)
LOST = Fault(
    UNAVAILABLE,
    "the connection to the database was lost; try again shortly",
    Retry.SOON,
    is_broken=True,
    is_unknown_at_commit=True,
)
STOPPING = Fault(
    UNAVAILABLE,
    "the database is stopping or starting; try again shortly",
    Retry.SOON,
    is_broken=True,
    is_unknown_at_commit=True,
)
READ_ONLY = Fault(
    UNAVAILABLE, "the database accepts no writes at the moment; try again later", Retry.SOON, is_broken=True
)
OUTDATED = Fault(UNAVAILABLE, "the database's schema has just changed; try again shortly", Retry.SOON)
MIGRATING = Fault(
    UNAVAILABLE,
    "the database's schema is being changed, or is not the one expected; try again later",
    Retry.WHEN_SETTLED,
)
EXHAUSTED = Fault(UNAVAILABLE, "the database has run out of memory or of another resource; try again later")
# The outcome is known at COMMIT, too: after an error that leaves the connection open, the transaction has ended. If
# PostgreSQL itself does not know the outcome, for example if it cannot write its log, it ends the connection: LOST.
DISK_FULL = Fault(UNAVAILABLE, "the database's disk is full; try again later", is_of_storage=True)
CROWDED = Fault(BUSY, "the database accepts no further connection; try again shortly", is_broken=True)
UNREACHABLE = Fault(UNAVAILABLE, "the database cannot be reached")
BROKEN_STORAGE = Fault(UNAVAILABLE, "the database cannot read or write its files; try again later", is_of_storage=True)

BY_SQLSTATE = {
    "40001": CONFLICT,  # serialization_failure
    "40P01": CONFLICT,  # deadlock_detected
    "40003": LOST,  # statement_completion_unknown
    "55P03": LOCKED,  # lock_not_available
    "57014": TOO_SLOW,  # query_canceled: statement_timeout
    "25006": READ_ONLY,  # read_only_sql_transaction
    "25P03": LOST,  # idle_in_transaction_session_timeout
    "25P04": LOST,  # transaction_timeout
    "26000": OUTDATED,  # invalid_sql_statement_name: another client has deallocated a prepared statement
    # A table, column, type or function that this program names. The migrations create all of them. If one is missing,
    # a migration is running or the migrations have not run.
    "42P01": MIGRATING,
    "42703": MIGRATING,
    "42704": MIGRATING,
    "42883": MIGRATING,
    "53100": DISK_FULL,  # disk_full
    "53300": CROWDED,  # too_many_connections
    "28000": UNREACHABLE,  # invalid_authorization_specification
    "28P01": UNREACHABLE,  # invalid_password
    "3D000": UNREACHABLE,  # invalid_catalog_name: there is no such database
    "72000": OUTDATED,  # snapshot_too_old
    "XX001": BROKEN_STORAGE,  # data_corrupted
    "XX002": BROKEN_STORAGE,  # index_corrupted
}

BY_CLASS = {
    "01": OURS,  # warning
    "02": OURS,  # no data
    "03": OURS,  # SQL statement not yet complete
    "08": LOST,  # connection exception
    "09": OURS,  # triggered action exception
    "0A": OURS,  # feature not supported
    "0B": OURS,  # invalid transaction initiation
    "0F": OURS,  # locator exception
    "0L": OURS,  # invalid grantor
    "0P": OURS,  # invalid role specification
    "0Z": OURS,  # diagnostics exception
    "10": OURS,  # XQuery error
    "20": OURS,  # case not found
    "21": OURS,  # cardinality violation
    "22": OURS,  # data exception
    "23": OURS,  # integrity constraint violation
    "24": OURS,  # invalid cursor state
    "25": OURS,  # invalid transaction state
    "26": OURS,  # invalid SQL statement name
    "27": OURS,  # triggered data change violation
    "28": OURS,  # invalid authorization specification
    "2B": OURS,  # dependent privilege descriptors still exist
    "2D": OURS,  # invalid transaction termination
    "2F": OURS,  # SQL routine exception
    "34": OURS,  # invalid cursor name
    "38": OURS,  # external routine exception
    "39": OURS,  # external routine invocation exception
    "3B": OURS,  # savepoint exception
    "3D": OURS,  # invalid catalog name
    "3F": OURS,  # invalid schema name
    "40": OURS,  # transaction rollback
    "42": OURS,  # syntax error or access rule violation
    "44": OURS,  # WITH CHECK OPTION violation
    "53": EXHAUSTED,  # insufficient resources
    "54": OURS,  # program limit exceeded
    "55": OURS,  # object not in prerequisite state
    "57": STOPPING,  # operator intervention
    "58": BROKEN_STORAGE,  # system error, external to PostgreSQL
    "72": OURS,  # snapshot failure
    "F0": OURS,  # configuration file error
    "HV": OURS,  # foreign data wrapper error
    "P0": OURS,  # PL/pgSQL error
    "XX": OURS,  # internal error
}

# PostgreSQL uses one SQLSTATE both for a missing privilege of a role and for a file that the operating system does not
# let it open or write, for example on a read-only file system (EACCES, EPERM, EROFS). The source file of PostgreSQL
# that reports the error distinguishes them.
FILE_ACCESS = frozenset({"buffile.c", "fd.c", "md.c", "relmapper.c", "slru.c", "xlog.c"})

# The most specific type first.
BY_TYPE: tuple[tuple[type[BaseException], Fault], ...] = (
    (asyncpg.InvalidCachedStatementError, OUTDATED),  # shares its SQLSTATE, 0A000, with faults of this program
    (asyncpg.OutdatedSchemaCacheError, OUTDATED),
    (asyncpg.DataError, OURS),  # a PostgresError; asyncpg's own class of the same name is an InterfaceError
    (asyncpg.TargetServerAttributeNotMatched, UNREACHABLE),
    (asyncpg.InternalClientError, LOST),  # the driver has lost track of the protocol
    (asyncpg.FatalPostgresError, LOST),
    (DriverBufferError, LOST),  # the same, raised by the code that reads the bytes
    (asyncpg.InterfaceWarning, OURS),
    (asyncpg.InterfaceError, OURS),  # on a closed connection: LOST, see `fault_of`
    (asyncpg.PostgresError, OURS),
    (TimeoutError, SILENT),  # also an OSError; the driver raises it if its time limit has passed
    (OSError, LOST),
)


def lookup_fault(kind: type[BaseException], sqlstate: str | None = None) -> Fault | None:
    """Return the line of the table for an exception of this type and SQLSTATE, or None."""
    if issubclass(kind, asyncpg.InvalidCachedStatementError):
        return OUTDATED
    if sqlstate:
        return BY_SQLSTATE.get(sqlstate) or BY_CLASS.get(sqlstate[:2]) or OURS
    return next((fault for type_, fault in BY_TYPE if issubclass(kind, type_)), None)


def fault_of(error: BaseException, *, is_closed: bool = False) -> Fault:
    """Return what `error` means; `is_closed` is whether its connection is closed.

    An error without a line is a fault of this program, as are the errors that Python itself raises.
    """
    if isinstance(error, asyncpg.InsufficientPrivilegeError) and error.server_source_filename in FILE_ACCESS:
        return BROKEN_STORAGE
    fault = lookup_fault(type(error), getattr(error, "sqlstate", None)) or OURS
    # asyncpg uses one type for the use of a closed connection and for mistakes of its caller.
    if fault is OURS and is_closed and isinstance(error, asyncpg.InterfaceError) and not isinstance(error, ValueError):
        return LOST
    return fault
