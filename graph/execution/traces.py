"""Tracebacks: whoever keeps an error without them keeps no rows.

An error's traceback holds the stack frames that it went through, these hold their local variables and, in turn, whoever
called them. So an error that is kept in an answer holds all rows of its operation, and as the answer is a local
variable of one of those frames, only the cycle collector takes them away.
"""

from graphql import GraphQLError


def forget_trace(error: BaseException | None) -> None:
    """Take the traceback out of an error and out of whatever it came from; what it says stays.

    What it was raised in the course of (`__context__`) is forgotten altogether.
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


def forget_told_trace(error: Exception) -> None:
    """As `forget_trace`, if the error was made to be told to the client: then nobody will want to see the trace."""
    if is_told(error):
        forget_trace(error)


def is_told(error: Exception) -> bool:
    """Say whether an error was made to be told to the client: not one that nobody expected, nor one that wraps it."""
    if not isinstance(error, GraphQLError):
        return False
    # graphql-core points at what it refuses. Without a place it is a value of ours that no scalar carries.
    return bool(error.extensions or error.nodes) if error.original_error is None else is_told(error.original_error)


def caught(error: Exception) -> Exception:
    """Return an error as the function that has just caught it may keep it: its trace no longer leads to that function.

    The function's frame holds what holds the error. Where the operation is cancelled, nobody is told of the error, and
    nobody takes its trace away.
    """
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next
    return error
