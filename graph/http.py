"""GraphQL over HTTP: bytes in, bytes out, at the one path `/graphql`.

A pure ASGI endpoint, after the GraphQL over HTTP specification's current draft: POST with a JSON body, the media type
of the answer by negotiation, 4xx without `data` for a request that never ran. Each wrong thing has its status and a
sentence that says what would be right; none is a 500 and none shows a trace.

A bearer token that is not good is refused (401), never taken for an anonymous request: an application whose session has
ended should hear of it, not see less.
"""

import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import GraphQLError
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send
from strawberry.http.ides import get_graphql_ide_html

from db.errors import Unavailable
from db.sessions import viewer_of_session
from db.viewer import ANONYMOUS, Viewer
from graph.context import Services
from graph.errors import presented
from graph.operations import Operations, RequestRefused

logger = logging.getLogger(__name__)

GRAPHQL_RESPONSE = "application/graphql-response+json"
JSON = "application/json"
BEARER = "bearer"


class HttpRefused(Exception):  # noqa: N818 - as in db.errors
    """A request that is refused before GraphQL is looked at: a status, one error, and headers."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error = GraphQLError(message, extensions={"code": code})
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """The parsed body of a request."""

    query: str
    operation_name: str | None
    variables: dict[str, Any] | None
    asks_cost: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: a status, a body, and headers beside its type and length."""

    status: int
    body: bytes
    media_type: str
    headers: dict[str, str]


class GraphQLEndpoint:
    """The ASGI application at `/graphql`. `services` is set when the process has started."""

    services: Services

    def __init__(self, operations: Operations, *, graphiql: bool, body_bytes_max: int) -> None:
        self._operations = operations
        self._graphiql = graphiql
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        request_id = secrets.token_hex(8)
        headers = Headers(scope=scope)
        try:
            answer = await self._answer(scope, headers, receive, request_id)
        except HttpRefused as refused:
            # The client's mistake may be its Accept header, so that there is no type to choose by.
            answer = _errors(refused.status, JSON, [refused.error], refused.headers)
        except Unavailable as error:
            refusal = GraphQLError(str(error), extensions={"code": error.code})
            answer = _errors(503, JSON, [refusal], {"retry-after": "1"})
        except Exception as error:  # noqa: BLE001 - the last door: whatever it is, no trace leaves
            shown = presented(GraphQLError("unexpected", original_error=error), request_id)
            answer = _errors(500, JSON, [shown], {})
        await _send(send, answer, request_id, with_body=scope["method"] != "HEAD")

    async def _answer(self, scope: Scope, headers: Headers, receive: Receive, request_id: str) -> Answer:
        if scope["method"] != "POST":
            return self._page(scope, headers)
        media_type = _negotiated(",".join(headers.getlist("accept")))
        _check_content_type(headers.get("content-type"))
        body = await self._body(headers, receive)
        request = parse_body(body)
        viewer = await self._viewer(headers.getlist("authorization"))
        started = time.perf_counter()
        answer, name = await self._run(request, viewer, media_type, request_id)
        elapsed_ms = (time.perf_counter() - started) * 1000
        logger.info(
            "operation %s status %s user %s ms %.1f request %s",
            name,
            answer.status,
            viewer.user_id,
            elapsed_ms,
            request_id,
        )
        return answer

    async def _run(
        self, request: GraphQLRequest, viewer: Viewer, media_type: str, request_id: str
    ) -> tuple[Answer, str]:
        try:
            operation = self._operations.find(request.query, request.operation_name)
            result = await self._operations.run(operation, request.variables, self.services, viewer)
        except RequestRefused as refused:
            # The older media type promises 200 for every well-formed request; the newer one tells the truth.
            return _errors(200 if media_type == JSON else 400, media_type, refused.errors, {}), "-"
        content: dict[str, Any] = {"data": result.data}
        if result.errors:
            content["errors"] = [presented(error, request_id).formatted for error in result.errors]
        if request.asks_cost:
            content["extensions"] = {"cost": operation.pricing.price(request.variables or {}).told()}
        return Answer(200, orjson.dumps(content), media_type, {}), operation.name or "-"

    def _page(self, scope: Scope, headers: Headers) -> Answer:
        wants_page = scope["method"] in {"GET", "HEAD"} and "text/html" in headers.get("accept", "")
        if self._graphiql and wants_page:
            return Answer(200, get_graphql_ide_html().encode(), "text/html", {})
        message = "send the operation by POST, as a JSON object with the key query"
        raise HttpRefused(405, "METHOD_NOT_ALLOWED", message, {"allow": "GET, POST" if self._graphiql else "POST"})

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        limit = self._body_bytes_max
        too_large = HttpRefused(413, "BODY_TOO_LARGE", f"the body has more than the {limit} bytes that are allowed")
        declared = headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > limit:
            raise too_large
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise HttpRefused(400, "CLIENT_CLOSED_REQUEST", "the client went away")
            body += message.get("body", b"")
            if len(body) > limit:
                raise too_large
            if not message.get("more_body", False):
                return bytes(body)

    async def _viewer(self, authorizations: Sequence[str]) -> Viewer:
        if not authorizations:
            return ANONYMOUS
        scheme, _, token = authorizations[0].partition(" ")
        pointed = self.services.tokens.read(token.strip()) if scheme.lower() == BEARER else None
        if pointed is not None and len(authorizations) == 1:
            user_id, session_id = pointed
            viewer = await viewer_of_session(self.services.database, session_id, user_id)
            if viewer is not None:
                return viewer
        raise HttpRefused(
            401,
            "UNAUTHENTICATED",
            "the access token is not valid, has expired or its session has ended; refresh the session or sign in again",
            {"www-authenticate": 'Bearer error="invalid_token"'},
        )


def parse_body(body: bytes) -> GraphQLRequest:
    """Parse the body of a request.

    Raises:
        HttpRefused: it is no UTF-8, no JSON, or not of the shape of a GraphQL request.
    """
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise HttpRefused(400, "BAD_REQUEST", f"the body is no JSON in UTF-8: {error}") from None
    if not isinstance(parsed, dict):
        raise HttpRefused(400, "BAD_REQUEST", 'the body should be an object, for example {"query": "{ __typename }"}')
    query = parsed.get("query")
    if not isinstance(query, str) or not query:
        raise HttpRefused(400, "BAD_REQUEST", "query should be a string, the GraphQL document")
    operation_name, variables = parsed.get("operationName"), parsed.get("variables")
    if operation_name is not None and not isinstance(operation_name, str):
        raise HttpRefused(400, "BAD_REQUEST", "operationName should be a string or null")
    if variables is not None and not isinstance(variables, dict):
        raise HttpRefused(400, "BAD_REQUEST", "variables should be an object or null")
    extensions = parsed.get("extensions")
    if extensions is not None and not isinstance(extensions, dict):
        raise HttpRefused(400, "BAD_REQUEST", "extensions should be an object or null")
    # PostgreSQL's text holds every character but this one.
    if b"\\u0000" in body and _holds_nul(variables):
        raise HttpRefused(400, "BAD_REQUEST", "variables hold the character U+0000, which no text may have")
    return GraphQLRequest(query, operation_name, variables, asks_cost=(extensions or {}).get("cost") is True)


def _holds_nul(value: object) -> bool:
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, str) and "\x00" in one:
            return True
        if isinstance(one, dict):
            pending += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            pending += one
    return False


def _check_content_type(content_type: str | None) -> None:
    media_type, _, parameters = (content_type or "").partition(";")
    charset = parameters.strip().lower().replace('"', "").replace(" ", "")
    if media_type.strip().lower() != JSON or charset not in {"", "charset=utf-8"}:
        raise HttpRefused(415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type should be application/json, in UTF-8")


def _negotiated(accept: str) -> str:
    """Return the media type to answer with: the client's favourite of the two, the newer one where it does not mind."""
    ranges = dict(_media_range(part) for part in (accept or "*/*").split(","))
    fallback = ranges.get("application/*", ranges.get("*/*", 0.0))
    quality = {media_type: ranges.get(media_type, fallback) for media_type in (GRAPHQL_RESPONSE, JSON)}
    best = max(quality, key=lambda media_type: quality[media_type])
    if quality[best] <= 0:
        raise HttpRefused(406, "NOT_ACCEPTABLE", f"Accept should allow {GRAPHQL_RESPONSE} or {JSON}")
    return best


def _media_range(part: str) -> tuple[str, float]:
    media_type, _, parameters = part.partition(";")
    quality = 1.0
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return media_type.strip().lower(), quality


def _errors(status: int, media_type: str, errors: Sequence[GraphQLError], headers: dict[str, str]) -> Answer:
    content = {"errors": [error.formatted for error in errors]}
    return Answer(status, orjson.dumps(content), media_type, headers)


async def _send(send: Send, answer: Answer, request_id: str, *, with_body: bool) -> None:
    headers = {
        "content-type": f"{answer.media_type}; charset=utf-8",
        "content-length": str(len(answer.body)),
        "x-request-id": request_id,
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "vary": "accept",
        **answer.headers,
    }
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    await send({"type": "http.response.body", "body": answer.body if with_body else b""})
