"""Removal of tracebacks, so that a kept error keeps no rows in memory.

The traceback of an error holds the stack frames that the error passed through. Each frame holds its local variables and
its calling frame. So an error that is kept in a result holds all rows of its operation. The result is itself a local
variable of one of these frames: without the removal only the cycle collector could free them.
"""

from graphql import GraphQLError


def forget_trace(error: BaseException | None) -> None:
    """Remove the tracebacks of an error and of its causes. The message stays.

    The implicit context (`__context__`) is removed as a whole.
    """
    seen: set[int] = set()
    pending = [error]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = None
        pending += [one.__cause__, one.__context__]
        one.__context__ = None
        if one.__cause__ is not None and id(one.__cause__) in seen:
            one.__cause__ = None  # a chain that leads back to itself
        if isinstance(one, GraphQLError):
            pending.append(one.original_error)


def forget_expected_trace(error: Exception) -> None:
    """Remove the tracebacks, as `forget_trace` does, of an error that is meant for the client: it is not logged."""
    if is_expected(error):
        forget_trace(error)


def is_expected(error: Exception) -> bool:
    """Return whether an error is meant for the client: neither an unexpected exception nor a wrapper of one."""
    if not isinstance(error, GraphQLError):
        return False
    # graphql-core attaches nodes to errors about the operation. Without nodes a resolved value did not fit its scalar.
    return bool(error.extensions or error.nodes) if error.original_error is None else is_expected(error.original_error)


def caught(error: Exception) -> Exception:
    """Return an error that the calling function has just caught, and remove the caller's frame from its traceback.

    The caller can then keep the error: its frame holds the object that holds the error, which would be a cycle. Where
    the operation is cancelled, no later code removes the traceback.
    """
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next
    return error
