"""Errors as clients see them: coded, worded, and masked where nobody expected them.

Four kinds, told apart by `extensions.code`:

- what the client's developer got wrong (`BadInput`: BAD_USER_INPUT),
- what the caller may not do without signing in (`Unauthenticated`: UNAUTHENTICATED),
- what the database could not do just now (DATABASE_BUSY, DATABASE_TIMEOUT, DATABASE_UNAVAILABLE),
- everything else (INTERNAL_SERVER_ERROR): masked, logged with an id, and the client gets the id.

What the caller's input is refused for in a mutation is none of these: it is data, in the payload's `userErrors`.
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
# What graphql-core says of a variable before it shows its value in Python's notation. Clients write the rest, at any
# length: each pattern stands at the beginning, or takes each character once.
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


class BadInput(GraphQLError):  # noqa: N818 - the code that clients read has the same words
    """An argument that no program should send: malformed, out of range, or contradicting another."""

    def __init__(self, message: str) -> None:
        super().__init__(message, extensions={"code": "BAD_USER_INPUT"})


class Unauthenticated(GraphQLError):  # noqa: N818 - likewise
    """The operation needs a signed-in caller, and there is none."""

    def __init__(self, message: str = "sign in first: this needs an access token in the Authorization header") -> None:
        super().__init__(message, extensions={"code": "UNAUTHENTICATED"})


def presented(error: GraphQLError, request_id: str) -> GraphQLError:
    """Return `error` as the client may see it, and log what it may not see.

    The log carries the exception with its trace, and neither variables nor headers: they hold passwords and tokens.
    What is kept afterwards has no trace any more; of an exception that is presented twice the first line has it.
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
        return _placed(error, shown.message, {"code": "UNAUTHENTICATED"})
    if isinstance(original, Unavailable):
        logger.warning("request %s: %s: %s (%s)", request_id, original.code, original, original.reason)
        extensions: dict[str, object] = {"code": original.code}
        if original.outcome_unknown:
            extensions["outcomeUnknown"] = True
        return _placed(error, str(original), extensions)
    error_id = secrets.token_hex(8)
    _without_row_data(original)
    logger.error("request %s: unexpected error %s at %s", request_id, error_id, error.path, exc_info=original)
    message = f"an unexpected error; it is logged under the id {error_id}"
    return _placed(error, message, {"code": "INTERNAL_SERVER_ERROR", "errorId": error_id})


def without_values(message: str) -> str:
    """Return what graphql-core says of an input, without the objects that it repeats: a sign-in has a password in it.

    The field that is wrong is named, and so are those that are meant, where suggestions are on.
    """
    message = _REPEATED_OBJECT.sub(lambda found: "." if found[0][0] in ",;" else "", message)
    return _without_secret(message)


def _without_secret(message: str) -> str:
    """Return what graphql-core says of a variable without its value, where that is a password or token."""
    where, _, what = message.partition(": ")
    if not where.startswith("Variable '$") or not _SECRET_NAME.search(where):
        return message
    refused, is_shown, _ = what.partition(" value: ")
    return f"{where}: {refused} value." if is_shown else message


def null_named(message: str) -> str:
    """Return what graphql-core says of a place that takes no null, which it calls None."""
    return _NOT_NULL.sub("null", message)


def in_graphql(message: str) -> str:
    """Return what graphql-core says of a variable, with its value as JSON has it and not as Python writes it.

    A literal of the document is not to be given here: it is quoted as the client wrote it, also where that is `True`.
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
    except (SyntaxError, ValueError, TypeError):  # it was shortened, within an escape
        return notation


def secrets_written_in(document: DocumentNode) -> frozenset[int]:
    """Return the ids of the nodes of a document that stand where a password or token is meant, or within that."""
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
    """Return an error of validation without the value that it quotes, where that is one of the `secrets`.

    A password of digits alone, written without quotation marks, is such a value. Of a list or object graphql-core looks
    at a copy, which has no place: what it holds is not known then, and not repeated either.
    """
    values = [node for node in error.nodes or () if isinstance(node, ValueNode)]
    if not any(node.loc is None or id(node) in secrets for node in values):
        return error
    message = _QUOTED_LITERAL.sub("", error.message) + "."
    return GraphQLError(message, error.nodes, extensions=error.extensions)


def _without_row_data(error: BaseException | None) -> None:
    """Take out of an exception and its causes what they quote of rows and arguments: a row has a password hash.

    PostgreSQL tells a failing row in the detail. A single value stands in the message (SQLSTATE class 22, which the
    driver takes for its own refusals too), and in the driver's reason.

    One exception that several readers await may come to have itself among its causes: each is looked at once.
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


def _placed(error: GraphQLError, message: str, extensions: dict[str, object]) -> GraphQLError:
    return GraphQLError(message, nodes=error.nodes, path=error.path, extensions=extensions)
