"""Domain errors that carry data. `db.constraints` has the meaning of each violated constraint for a client."""

import copy


class Refusal(Exception):  # noqa: N818 - an expected answer, not an error
    """A write that was refused for a reason that a client can show or act on. Nothing was written.

    Attributes:
        code: one of the codes of the mutation's own enum in the public schema.
        field: the input field that is the cause, as a path below the mutation's `input`; empty if there is none.
        message: the reason and the allowed values, for users.
    """

    def __init__(self, code: str, field: tuple[str, ...], message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.field = field
        self.message = message

    def below(self, *prefix: str) -> "Refusal":
        """Return the same refusal with its field below `prefix`, for an item of a bulk input."""
        return Refusal(self.code, (*prefix, *self.field), self.message)


class SignedOut(Exception):  # noqa: N818 - an expected answer, not an error
    """The caller's user was deleted or deactivated while the request was running. Nothing was written."""


class Unavailable(Exception):  # noqa: N818 - an expected answer, not an error
    """The database could not answer in time, or at all. Nothing was written, unless `outcome_unknown`.

    Attributes:
        code: `DATABASE_UNAVAILABLE`, `DATABASE_BUSY` or `DATABASE_TIMEOUT`; `OVERLOADED` if the cause is not the
            database.
        outcome_unknown: whether the connection broke during COMMIT, so that the write may or may not have happened.
        reason: the message of the driver, for the log.
    """

    def __init__(self, code: str, message: str, *, outcome_unknown: bool = False, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.outcome_unknown = outcome_unknown
        self.reason = reason

    def copy(self) -> "Unavailable":
        """Return the same refusal for another caller: an exception that is raised twice keeps the frames of both."""
        return Unavailable(self.code, str(self), outcome_unknown=self.outcome_unknown, reason=self.reason)


def copy_of(error: Exception) -> Exception:
    """Return a copy of an error for one more caller, without its traceback.

    An exception that several callers raise keeps the frames of all of them, with the rows in these frames.
    """
    if isinstance(error, Unavailable):
        return error.copy()
    try:
        return copy.copy(error).with_traceback(None)
    except Exception:  # noqa: BLE001 - its constructor needs other arguments
        return RuntimeError(f"{type(error).__name__}: {error}")
