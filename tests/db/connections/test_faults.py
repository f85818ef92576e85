"""The table of faults: every exception of the driver has an entry, and no entry promises too much."""

from collections.abc import Iterator

import asyncpg
import pytest

from db.connections import faults
from db.connections.faults import BY_CLASS, BY_SQLSTATE, BY_TYPE, LOST, OURS, SILENT, Retry, fault_of, lookup_fault


def exceptions(of: type[BaseException] = Exception) -> Iterator[type[BaseException]]:
    """Yield every exception class of asyncpg except those that it catches itself, whose names begin with `_`."""
    for kind in of.__subclasses__():
        if kind.__module__.startswith("asyncpg") and not kind.__name__.startswith("_"):
            yield kind
        yield from exceptions(kind)


ALL = sorted(set(exceptions()), key=lambda kind: kind.__qualname__)


def test_the_walk_finds_the_exceptions_of_the_driver() -> None:
    assert len(ALL) > 250  # otherwise the walk has found nothing, and the tests below check nothing


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__qualname__)
def test_every_exception_of_the_driver_has_an_entry(kind: type[BaseException]) -> None:
    sqlstate = getattr(kind, "sqlstate", None)
    if sqlstate:
        assert sqlstate in BY_SQLSTATE or sqlstate[:2] in BY_CLASS
    assert lookup_fault(kind, sqlstate) is not None


@pytest.mark.parametrize("kind", [OSError, ConnectionResetError, BrokenPipeError, TimeoutError])
def test_every_network_error_has_an_entry(kind: type[BaseException]) -> None:
    assert lookup_fault(kind) in {LOST, SILENT}


def test_retryable_fault_is_reported_to_the_client_after_too_many_retries() -> None:
    lines = [*BY_SQLSTATE.values(), *BY_CLASS.values(), *(fault for _, fault in BY_TYPE)]
    for fault in lines:
        if fault is not OURS:
            assert fault.code in {faults.BUSY, faults.TIMEOUT, faults.UNAVAILABLE}
            assert fault.message
        else:
            assert fault.retry is Retry.NEVER


@pytest.mark.parametrize(
    ("error", "is_closed", "fault"),
    [
        (asyncpg.InterfaceError("cannot perform operation: another operation is in progress"), False, OURS),
        (asyncpg.InterfaceError("connection is closed"), True, LOST),
        (asyncpg.exceptions.DataError("invalid input for query argument"), True, OURS),
        (asyncpg.InvalidCachedStatementError("cached plan must not change result type"), False, faults.OUTDATED),
        (asyncpg.FeatureNotSupportedError("something else of the same SQLSTATE"), False, OURS),
        (LookupError("no error of the database"), False, OURS),
    ],
)
def test_errors_of_one_type_are_distinguished(error: Exception, is_closed: bool, fault: faults.Fault) -> None:
    assert fault_of(error, is_closed=is_closed) is fault


@pytest.mark.parametrize(("source", "fault"), [("aclchk.c", OURS), (None, OURS), ("md.c", faults.BROKEN_STORAGE)])
def test_missing_privilege_is_distinguished_from_an_unwritable_file(source: str | None, fault: faults.Fault) -> None:
    fields = {"C": "42501", "M": "could not open file: Read-only file system"}
    error = asyncpg.PostgresError.new(fields | ({"F": source} if source else {}))
    assert isinstance(error, asyncpg.InsufficientPrivilegeError)
    assert fault_of(error) is fault


def test_failed_disk_write_ends_its_transaction() -> None:
    for error in (asyncpg.DiskFullError("no space left"), asyncpg.PostgresIOError("I/O error")):
        assert fault_of(error).is_of_storage
        assert not fault_of(error).refusal(error, is_at_commit=True).outcome_unknown


def test_write_with_unknown_outcome_is_never_retried() -> None:
    for fault in (LOST, SILENT, faults.STOPPING):
        refusal = fault.refusal(OSError("gone"), is_at_commit=True)
        assert (refusal.outcome_unknown, refusal.retry) == (True, Retry.NEVER)


def test_copy_of_a_refusal_for_another_caller_has_the_same_message_and_no_traceback() -> None:
    with pytest.raises(faults.DatabaseFault) as caught:
        raise faults.CONFLICT.refusal(asyncpg.DeadlockDetectedError("deadlock detected"))
    copied = caught.value.copy()
    assert (str(copied), copied.code, copied.retry, copied.reason) == (
        str(caught.value),
        faults.BUSY,
        Retry.SOON,
        "DeadlockDetectedError: deadlock detected",
    )
    assert copied.__traceback__ is None
