"""Checks of HTTP requests before GraphQL: size, content type, UTF-8, strict JSON, shape, in this order.

Each mistake raises an `HttpRefused` with its status and a message that says what is expected. There is one parser
(orjson: no NaN, no lone surrogates, no invalid UTF-8). JSON that other parsers would read differently is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from graphql import GraphQLError

from graph.http.parsing import strict_json
from graph.http.parsing.fields import elements
from graph.http.parsing.head import PROGRAM_HEADERS, Head

JSON = "application/json"
UTF_8 = frozenset({"utf-8", "utf8", "us-ascii"})
HEADER_BYTES_MAX = 16_384
JSON_DEPTH_MAX = 32
# The limit for one object of variables: coercion runs on the event loop, and takes about a microsecond per value.
JSON_VALUES_MAX = 20_000
QUERY_STRING_BYTES_MAX = 16_384
EVENT_STREAM = "text/event-stream"
PROGRAM_TYPES = frozenset({"application/json", "application/graphql-response+json", EVENT_STREAM})


class HttpRefused(Exception):  # noqa: N818 - as in db.errors
    """A request that is refused before GraphQL executes: a status, one error, and headers."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        headers: dict[str, str] | None = None,
        *,
        outcome_unknown: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        extensions: dict[str, object] = {"code": code}
        if outcome_unknown:
            extensions["outcomeUnknown"] = True
        self.error = GraphQLError(message, extensions=extensions)
        self.headers = headers or {}


def unauthenticated() -> HttpRefused:
    """Return the refusal of a request whose access token is not valid (RFC 6750, section 3)."""
    return HttpRefused(
        401,
        "UNAUTHENTICATED",
        "the access token is not valid, has expired or its session has ended; refresh the session or sign in again",
        {"www-authenticate": 'Bearer error="invalid_token"'},
    )


@dataclass(slots=True)
class GraphQLRequest:
    """One operation to run, as the client sent it.

    Attributes:
        query: the document, or None if `extensions` name a stored document.
        extensions: the request's `extensions`, by name.
    """

    query: str | None
    operation_name: str | None
    variables: dict[str, Any]
    extensions: dict[str, Any]


class RequestBatch(list[GraphQLRequest]):
    """Operations that the client sent as a JSON list. The response is a list too, even for one operation."""


def check_headers(head: Head) -> None:
    """Raise HttpRefused, 431, where the headers are larger than those of any normal client."""
    if head.size > HEADER_BYTES_MAX:
        message = f"the headers have {head.size} bytes, and at most {HEADER_BYTES_MAX} are allowed"
        raise HttpRefused(431, "HEADERS_TOO_LARGE", message)


def check_content(head: Head) -> None:
    """Raise HttpRefused, 415, where the Content-Type of a POST is not JSON in UTF-8."""
    content_type = head.raw(b"content-type")
    if content_type != [b"application/json"]:
        _check_content_type(content_type)


def check_length(head: Head, bytes_max: int) -> None:
    """Raise HttpRefused, 413, where the Content-Length of a POST is too large, before the body arrives."""
    declared = head.first(b"content-length") or b"0"
    if declared.isdigit() and int(declared) > bytes_max:
        raise too_large(bytes_max)


def parse_body(body: bytes, *, bytes_max: int, batch_max: int = 0) -> GraphQLRequest | RequestBatch:
    """Parse the body of a request.

    A list has at most `batch_max` operations; with 0 lists are refused.

    Raises:
        HttpRefused: 413: it is too large; 400: it is not UTF-8, not JSON, or does not have the shape of a GraphQL
            request.
    """
    if len(body) > bytes_max:
        raise too_large(bytes_max)
    try:
        parsed = strict_json.loads(body)
    except strict_json.NotStrictError as error:
        raise _bad(f"the body is ambiguous JSON: {error}") from None
    except ValueError as error:
        raise _bad(f"the body is not JSON in UTF-8: {error}") from None
    # Each level of nesting has a bracket, each of many values has a comma, and JSON can write U+0000 only as an escape.
    is_deep = body.count(b"{") + body.count(b"[") >= JSON_DEPTH_MAX
    is_long = len(body) > JSON_VALUES_MAX and body.count(b",") > JSON_VALUES_MAX // 2
    needs_value_check = is_deep or is_long or b"\\u0000" in body
    if isinstance(parsed, list) and batch_max:
        if not 1 <= len(parsed) <= batch_max:
            raise _bad(f"a batch should have 1 to {batch_max} operations, not {len(parsed)}")
        return RequestBatch(_request_of(one, needs_value_check=needs_value_check) for one in parsed)
    return _request_of(parsed, needs_value_check=needs_value_check)


def parse_get(query_string: bytes, head: Head) -> GraphQLRequest:
    """Return the operation in the query string of a GET.

    Raises:
        HttpRefused: 400: it is malformed; 414: it is too long; 403: any foreign page could have sent the request.
    """
    if not is_from_program(head):
        message = "a GET needs an Accept of application/json, or a header such as x-folio-request: 1"
        raise HttpRefused(403, "CSRF_PREVENTED", message)
    if len(query_string) > QUERY_STRING_BYTES_MAX:
        raise HttpRefused(414, "URI_TOO_LONG", f"the query string has more than {QUERY_STRING_BYTES_MAX} bytes")
    try:
        pairs = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        raise _bad("the query string is malformed or not UTF-8") from None
    given = dict(pairs)
    if len(given) != len(pairs):
        raise _bad("the query string names a parameter twice")
    parsed: dict[str, Any] = {name: given[name] for name in ("query", "operationName", "documentId") if name in given}
    for name in ("variables", "extensions"):
        if given.get(name):
            try:
                parsed[name] = strict_json.loads(given[name].encode())
            except ValueError as error:
                raise _bad(f"{name} is not JSON: {error}") from None
    return _request_of(parsed, needs_value_check=True)


def is_from_program(head: Head) -> bool:
    """Return whether a header shows that a program sends the request.

    Forms, links and images of a foreign page cannot set such a header. A browser follows links with an Accept of
    application/xhtml+xml. A page's fetch() can set any Accept without a preflight, but then the browser sends
    Sec-Fetch-Mode, which no page can change.
    """
    if any(name.encode() in head for name in PROGRAM_HEADERS):
        return True
    mode = head.first(b"sec-fetch-mode")
    if mode is not None:
        return mode in {b"cors", b"same-origin"}
    return not PROGRAM_TYPES.isdisjoint(one.name for one in elements(head.accept))


def _request_of(parsed: object, *, needs_value_check: bool) -> GraphQLRequest:
    if not isinstance(parsed, dict):
        raise _bad('the body should be an object, for example {"query": "{ __typename }"}')
    extensions = _object(parsed, "extensions", needs_value_check=needs_value_check) if "extensions" in parsed else {}
    query, operation_name = parsed.get("query"), parsed.get("operationName")
    if not (isinstance(query, str) and query):
        stored = "persistedQuery" in extensions or "documentId" in parsed
        if query is not None or not stored:
            raise _bad("query should be a string, the GraphQL document")
    if operation_name is not None and not isinstance(operation_name, str):
        raise _bad("operationName should be a string or null")
    if "documentId" in parsed:
        extensions = {**extensions, "documentId": parsed["documentId"]}
    variables = parsed.get("variables")
    if not isinstance(variables, dict) or needs_value_check:
        variables = _object(parsed, "variables", needs_value_check=needs_value_check)
    return GraphQLRequest(query, operation_name, variables, extensions)


def _object(parsed: dict[str, Any], name: str, *, needs_value_check: bool) -> dict[str, Any]:
    value = parsed.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _bad(f"{name} should be an object or null")
    if needs_value_check:
        _check_values(value, name)
    return value


def _check_values(value: object, name: str) -> None:
    """Refuse deep nesting, too many values, and U+0000, the one character that PostgreSQL cannot store in text."""
    pending: list[tuple[object, int]] = [(value, 1)]
    count = 0
    while pending:
        one, depth = pending.pop()
        count += 1
        if count > JSON_VALUES_MAX:
            raise _bad(f"{name} contain more than {JSON_VALUES_MAX} values; send fewer at once")
        if isinstance(one, str):
            if "\x00" in one:
                raise _bad(f"{name} contain the character U+0000, which is not allowed in text")
            continue
        children: Sequence[object] = ()
        if isinstance(one, dict):
            children = [*one, *one.values()]
        elif isinstance(one, list):
            children = one
        if children and depth >= JSON_DEPTH_MAX:
            raise _bad(f"{name} are nested deeper than {JSON_DEPTH_MAX}")
        pending += [(child, depth + 1) for child in children]


def too_large(bytes_max: int) -> HttpRefused:
    """Return the refusal of a body that is larger than `bytes_max`."""
    return HttpRefused(
        413, "BODY_TOO_LARGE", f"the body has more than the {bytes_max} bytes that are allowed; send less at once"
    )


def _check_content_type(lines: Sequence[bytes]) -> None:
    # A media type contains no commas. With several lines or types it would be unclear which one applies.
    types = set(elements(b",".join(lines)))
    charsets = {charset.lower() for one in types for charset in one.all("charset")}
    if {one.name for one in types} != {JSON} or not charsets <= UTF_8:
        raise HttpRefused(415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type should be application/json, in UTF-8")


def _bad(message: str) -> HttpRefused:
    return HttpRefused(400, "BAD_REQUEST", message)
