"""Errors as clients see them: with a code and a message, and masked where they are unexpected.

There are four kinds, distinguished by `extensions.code`:

- mistakes of the client's developer (`BadInput`: BAD_USER_INPUT),
- operations that need a signed-in caller (`Unauthenticated`: UNAUTHENTICATED),
- temporary failures of the database (DATABASE_BUSY, DATABASE_TIMEOUT, DATABASE_UNAVAILABLE),
- all other exceptions (INTERNAL_SERVER_ERROR): masked, logged with an id, and the client receives the id.

Input that a mutation refuses is none of these: it is data, in the payload's `userErrors`.
"""

import ast
import logging
import re
import secrets
from collections.abc import Collection

import asyncpg
import orjson
from graphql import (
    ArgumentNode,
    DocumentNode,
    GraphQLError,
    Node,
    ObjectFieldNode,
    ValueNode,
    VariableDefinitionNode,
    Visitor,
)

from db.errors import SignedOut, Unavailable
from graph.analysis.visiting import visit_once
from graph.execution.traces import forget_trace, is_expected

logger = logging.getLogger(__name__)

_REPEATED_OBJECT = re.compile(r"(?:[,;] f| F)ound: [\[{].*", re.DOTALL)
# The text of graphql-core's messages before a variable's value, which they show in Python's notation. Clients control
# the rest, which can be long: so each pattern is anchored at the beginning, or visits each character once.
_BEFORE_VALUE = re.compile(
    r"(?:Variable '\$\w+' has invalid value[\w .\[\]]*: )?"
    r"(?:(?:\w+|Enum '\w+') cannot represent [\w -]*value|Expected value of type '\w+'(?: to be an object)?, found): "
)
_SUGGESTION = ". Did you mean the enum value"
_NOTATION = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\b(?:None|True|False)\b""", re.DOTALL)
_NOTATION_LENGTH_MAX = 1000
_WORDS = {"None": "null", "True": "true", "False": "false"}
_NOT_NULL = re.compile(r"(?<= not to be )None(?=\.$)")

_SECRET_NAME = re.compile("password|token", re.IGNORECASE)
_QUOTED_LITERAL = re.compile(r"(?:: |[,;] found:? ).*|\.$", re.DOTALL)


class BadInput(GraphQLError):  # noqa: N818 - named as the code that clients see
    """An argument that is a mistake of the client program: malformed, out of range, or contradicting another."""

    def __init__(self, message: str) -> None:
        super().__init__(message, extensions={"code": "BAD_USER_INPUT"})


class Unauthenticated(GraphQLError):  # noqa: N818 - named as the code that clients see
    """The operation needs a signed-in caller, and the caller is anonymous."""

    def __init__(self, message: str = "sign in first: this needs an access token in the Authorization header") -> None:
        super().__init__(message, extensions={"code": "UNAUTHENTICATED"})


def presented(error: GraphQLError, request_id: str) -> GraphQLError:
    """Return `error` in the form that the client may see, and log an unexpected exception.

    The log line contains the exception with its traceback, but neither variables nor headers: they contain passwords
    and tokens. Afterwards the traceback is removed. If an exception is presented twice, only the first line has it.
    """
    shown = _presented(error, request_id)
    forget_trace(error)
    return shown


def _presented(error: GraphQLError, request_id: str) -> GraphQLError:
    original = error.original_error
    if original is None or is_expected(original):
        if not error.extensions:
            error.extensions = {"code": "GRAPHQL_VALIDATION_FAILED" if error.path is None else "BAD_USER_INPUT"}
        error.message = null_named(error.message)
        return error
    if isinstance(original, SignedOut):
        shown = Unauthenticated("the session has ended; sign in again")
        return _with_location(error, shown.message, {"code": "UNAUTHENTICATED"})
    if isinstance(original, Unavailable):
        logger.warning("request %s: %s: %s (%s)", request_id, original.code, original, original.reason)
        extensions: dict[str, object] = {"code": original.code}
        if original.outcome_unknown:
            extensions["outcomeUnknown"] = True
        return _with_location(error, str(original), extensions)
    error_id = secrets.token_hex(8)
    _without_row_data(original)
    logger.error("request %s: unexpected error %s at %s", request_id, error_id, error.path, exc_info=original)
    message = f"an unexpected error; it is logged under the id {error_id}"
    return _with_location(error, message, {"code": "INTERNAL_SERVER_ERROR", "errorId": error_id})


def without_values(message: str) -> str:
    """Return graphql-core's message about an input without the objects that it quotes: a sign-in contains a password.

    The message keeps the name of the invalid field, and the suggested names where suggestions are enabled.
    """
    message = _REPEATED_OBJECT.sub(lambda found: "." if found[0][0] in ",;" else "", message)
    return _without_secret(message)


def _without_secret(message: str) -> str:
    """Return graphql-core's message about a variable, without the value if that is a password or token."""
    where, _, what = message.partition(": ")
    if not where.startswith("Variable '$") or not _SECRET_NAME.search(where):
        return message
    refused, is_shown, _ = what.partition(" value: ")
    return f"{where}: {refused} value." if is_shown else message


def null_named(message: str) -> str:
    """Return graphql-core's message about a null at a non-null position, with `null` in place of `None`."""
    return _NOT_NULL.sub("null", message)


def in_graphql(message: str) -> str:
    """Return graphql-core's message about a variable, with its value in JSON's notation and not in Python's.

    Do not pass messages about literals of the document: they quote the client's own text, which may well be `True`.
    """
    message = null_named(message)
    before = _BEFORE_VALUE.match(message)
    if before is None:
        return message
    start, end = before.end(), message.rfind(_SUGGESTION)
    end = end if end >= start else len(message)
    value, rest = message[start:end], message[end:]
    if len(value) > _NOTATION_LENGTH_MAX:
        value = f"{value[:_NOTATION_LENGTH_MAX]}…"
    return message[:start] + _NOTATION.sub(_in_json, value) + rest


def _in_json(notation: re.Match[str]) -> str:
    return _WORDS.get(notation[0]) or _json_string(notation[0])


def _json_string(notation: str) -> str:
    try:
        return orjson.dumps(ast.literal_eval(notation)).decode()
    except (SyntaxError, ValueError, TypeError):  # the value was truncated within an escape sequence
        return notation


def secrets_written_in(document: DocumentNode) -> frozenset[int]:
    """Return the ids of the document's nodes at positions of passwords or tokens, and of all nodes within them."""
    finder = _SecretFinder()
    visit_once(document, finder)
    return frozenset(finder.found)


class _SecretFinder(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[int] = set()
        self._secret_above: list[Node] = []

    def enter(self, node: Node, *_: object) -> None:
        is_named = isinstance(node, ArgumentNode | ObjectFieldNode) and _SECRET_NAME.search(node.name.value)
        is_default = isinstance(node, VariableDefinitionNode) and _SECRET_NAME.search(node.variable.name.value)
        if is_named or is_default:
            self._secret_above.append(node)
        if self._secret_above:
            self.found.add(id(node))

    def leave(self, node: Node, *_: object) -> None:
        if self._secret_above and self._secret_above[-1] is node:
            self._secret_above.pop()


def without_literal(error: GraphQLError, secrets: Collection[int]) -> GraphQLError:
    """Return a validation error without the value that it quotes, if the value is one of the `secrets`.

    An example is a password of digits that is written without quotation marks. For a list or object, graphql-core
    validates a copy without a location. Such a value cannot be identified, so it is removed too.
    """
    values = [node for node in error.nodes or () if isinstance(node, ValueNode)]
    if not any(node.loc is None or id(node) in secrets for node in values):
        return error
    message = _QUOTED_LITERAL.sub("", error.message) + "."
    return GraphQLError(message, error.nodes, extensions=error.extensions)


def _without_row_data(error: BaseException | None) -> None:
    """Remove quoted rows and arguments from an exception and its causes: a row may contain a password hash.

    PostgreSQL reports a failing row in the detail. A single value is quoted in the message (SQLSTATE class 22, which
    the driver also uses for its own errors), and in the message of the driver's cause.

    An exception that several readers await may be among its own causes, so each one is visited once.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, asyncpg.PostgresError):
            error.detail = None
        if isinstance(error, asyncpg.DataError):
            error.args = ("a value that is not repeated here",)
            error.__cause__ = error.__context__ = None
        if isinstance(error, GraphQLError):
            error.message = "a value that is not repeated here"
        error = error.__cause__ or error.__context__


def _with_location(error: GraphQLError, message: str, extensions: dict[str, object]) -> GraphQLError:
    return GraphQLError(message, nodes=error.nodes, path=error.path, extensions=extensions)
