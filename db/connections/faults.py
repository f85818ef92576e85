"""What every error of PostgreSQL, of asyncpg and of the network means: one table.

A line of the table is found by the error's SQLSTATE, else by the class of that SQLSTATE (its first two characters,
PostgreSQL documentation, appendix A), else by the type of the exception. A test walks the exceptions of asyncpg and
fails on one that has no line.

A line says three things: what the client is told (nothing where the fault is in this program: that is masked and
logged), whether the unit of work may be run again at once because nothing of it has happened, and whether the
connection may be used any more. What nobody can say is whether a COMMIT has happened whose answer did not come:
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
"""What the driver may raise, those of the network among it."""


class Again(Enum):
    """Whether and how a unit of work is run again after a fault, from its start."""

    NEVER = auto()
    """Not at all: the caller decides."""

    SOON = auto()
    """After a short random pause, a limited number of times."""

    WHEN_SETTLED = auto()
    """As soon as a migration is through, which takes longer than the pause after a conflict."""


class DatabaseFault(Unavailable):
    """A refusal that an error of the database led to.

    Attributes:
        again: whether the unit of work may be run again. Nothing of it has happened then.
    """

    again: Again = Again.NEVER

    def copy(self) -> "DatabaseFault":
        """As `Unavailable.copy`."""
        copied = DatabaseFault(self.code, str(self), outcome_unknown=self.outcome_unknown, reason=self.reason)
        copied.again = self.again
        return copied


@dataclass(frozen=True, slots=True)
class Fault:
    """What one kind of error means.

    Attributes:
        code: `extensions.code` for the client; None where the fault is in this program.
        message: what the client is told.
        again: whether the unit of work may be run again; nothing of it has happened unless it was at COMMIT.
        is_broken: whether the connection is good for nothing any more.
        is_unknown_at_commit: whether, in answer to a COMMIT, it leaves open if the transaction is committed.
        is_of_storage: whether the disks of the database are full or broken, which readiness tells.
    """

    code: str | None
    message: str = ""
    again: Again = Again.NEVER
    is_broken: bool = False
    is_unknown_at_commit: bool = False
    is_of_storage: bool = False

    def refusal(self, error: BaseException, *, is_at_commit: bool = False) -> DatabaseFault:
        """Return what the caller of the database is told of `error`."""
        assert self.code is not None
        reason = f"{type(error).__name__}: {error}"
        if is_at_commit and self.is_unknown_at_commit:
            message = "the connection broke while the write was being committed: look before you send it again"
            return DatabaseFault(UNAVAILABLE, message, outcome_unknown=True, reason=reason)
        refusal = DatabaseFault(self.code, self.message, reason=reason)
        refusal.again = self.again
        return refusal


OURS = Fault(None)
"""A fault of this program, or a refusal that a constraint words (`db.errors.CONSTRAINTS`)."""

CONFLICT = Fault(BUSY, "too many others write the same rows; try again shortly", Again.SOON)
LOCKED = Fault(BUSY, "somebody else holds the same rows; try again shortly")
TOO_SLOW = Fault(TIMEOUT, "the database took too long; ask for less")
SILENT = Fault(TIMEOUT, "the database did not answer in time; try again later", is_unknown_at_commit=True)
LOST = Fault(
    UNAVAILABLE,
    "the database went away; try again shortly",
    Again.SOON,
    is_broken=True,
    is_unknown_at_commit=True,
)
STOPPING = Fault(
    UNAVAILABLE,
    "the database is stopping or starting; try again shortly",
    Again.SOON,
    is_broken=True,
    is_unknown_at_commit=True,
)
READ_ONLY = Fault(UNAVAILABLE, "the database takes no writes just now; try again later", Again.SOON, is_broken=True)
OUTDATED = Fault(UNAVAILABLE, "the database's schema has just changed; try again shortly", Again.SOON)
MIGRATING = Fault(
    UNAVAILABLE,
    "the database's schema is being changed, or is not the one expected; try again later",
    Again.WHEN_SETTLED,
)
EXHAUSTED = Fault(UNAVAILABLE, "the database has no memory left, or too little of something else; try again later")
# Known at COMMIT, too: an error after which the server goes on has ended the transaction. Where PostgreSQL itself does
# not know, as when the log of writes cannot be written, it ends the connection, which is LOST.
DISK_FULL = Fault(UNAVAILABLE, "the database's disk is full; try again later", is_of_storage=True)
CROWDED = Fault(BUSY, "the database takes no further connection; try again shortly", is_broken=True)
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
    "26000": OUTDATED,  # invalid_sql_statement_name: somebody has deallocated a prepared statement
    # A table, column, type or function that this program names. It is created with all of them, so that one that is
    # missing is missing for the moment, or the migrations have not run.
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

# PostgreSQL has one SQLSTATE for a privilege that a role has not and for a file that the system does not let it open or
# write, as where a file system is read only (EACCES, EPERM, EROFS). Which of its source files says so tells them apart.
FILE_ACCESS = frozenset({"buffile.c", "fd.c", "md.c", "relmapper.c", "slru.c", "xlog.c"})

# The most special type first.
BY_TYPE: tuple[tuple[type[BaseException], Fault], ...] = (
    (asyncpg.InvalidCachedStatementError, OUTDATED),  # shares its SQLSTATE, 0A000, with what is a fault of ours
    (asyncpg.OutdatedSchemaCacheError, OUTDATED),
    (asyncpg.DataError, OURS),  # a PostgresError; asyncpg's own of the same name is an InterfaceError
    (asyncpg.TargetServerAttributeNotMatched, UNREACHABLE),
    (asyncpg.InternalClientError, LOST),  # the driver has lost track of the conversation
    (asyncpg.FatalPostgresError, LOST),
    (DriverBufferError, LOST),  # likewise, from what reads the bytes
    (asyncpg.InterfaceWarning, OURS),
    (asyncpg.InterfaceError, OURS),  # of a closed connection: LOST, see fault_of
    (asyncpg.PostgresError, OURS),
    (TimeoutError, SILENT),  # an OSError too, and the driver's, whose time is up
    (OSError, LOST),
)


def line_of(kind: type[BaseException], sqlstate: str | None = None) -> Fault | None:
    """Return the line of the table for an exception of this type and SQLSTATE; None where there is none."""
    if issubclass(kind, asyncpg.InvalidCachedStatementError):
        return OUTDATED
    if sqlstate:
        return BY_SQLSTATE.get(sqlstate) or BY_CLASS.get(sqlstate[:2]) or OURS
    return next((fault for type_, fault in BY_TYPE if issubclass(kind, type_)), None)


def fault_of(error: BaseException, *, is_closed: bool = False) -> Fault:
    """Return what `error` means; `is_closed` says whether its connection is closed.

    An error that has no line is a fault of ours, as whatever Python raises itself.
    """
    if isinstance(error, asyncpg.InsufficientPrivilegeError) and error.server_source_filename in FILE_ACCESS:
        return BROKEN_STORAGE
    fault = line_of(type(error), getattr(error, "sqlstate", None)) or OURS
    # asyncpg has one type for the use of a closed connection and for mistakes of its caller's.
    if fault is OURS and is_closed and isinstance(error, asyncpg.InterfaceError) and not isinstance(error, ValueError):
        return LOST
    return fault
