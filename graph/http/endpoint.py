"""The ASGI application at `/graphql`: one request in, one answer out, and no exception past it.

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

from db.errors import Unavailable
from db.sessions import viewer_of_session
from db.settings import Settings
from db.viewer import ANONYMOUS, Viewer
from graph.context import Services
from graph.documents import Documents
from graph.errors import presented
from graph.http import answers
from graph.http.answers import Answer
from graph.http.gate import Gate
from graph.http.requests import JSON, GraphQLRequest, HttpRefused, check_headers, posted, queried
from graph.operations import Operation, Operations, RequestRefused

logger = logging.getLogger(__name__)

BEARER = "bearer"


@dataclass(frozen=True, slots=True)
class Call:
    """What is known of one HTTP request while it is answered."""

    scope: Scope
    headers: Headers
    receive: Receive
    request_id: str

    @property
    def method(self) -> str:
        """The HTTP method."""
        return str(self.scope["method"])

    @property
    def address(self) -> str:
        """Where it came from; behind a trusted proxy, uvicorn has put the client's own address here."""
        client = self.scope.get("client")
        return str(client[0]) if client else "unknown"


class GraphQLEndpoint:
    """Answers every request to `/graphql`. `services` is set when the process has started."""

    services: Services

    def __init__(self, operations: Operations, documents: Documents, settings: Settings) -> None:
        self._operations = operations
        self._documents = documents
        self._settings = settings
        self._graphiql = settings.shows("graphiql")
        self.gate = Gate(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        call = Call(scope, Headers(scope=scope), receive, secrets.token_hex(8))
        answer = await self._guarded(call)
        await answers.send_answer(send, answer, call.request_id, with_body=call.method != "HEAD")

    async def _guarded(self, call: Call) -> Answer:
        try:
            with self.gate.entered():
                return await self._answer(call)
        except HttpRefused as refused:
            # The client's mistake may be its Accept header, so that there is no type to choose by.
            logger.info("request %s refused: %s %s", call.request_id, refused.status, refused)
            return answers.errors_answer(refused.status, JSON, [refused.error], refused.headers)
        except Unavailable as error:
            refusal = GraphQLError(str(error), extensions={"code": error.code})
            return answers.errors_answer(503, JSON, [refusal], {"retry-after": "1"})
        except Exception as error:  # noqa: BLE001 - the last door: whatever it is, no trace leaves
            shown = presented(GraphQLError("unexpected", original_error=error), call.request_id)
            return answers.errors_answer(500, JSON, [shown])

    async def _answer(self, call: Call) -> Answer:
        check_headers(call.scope)
        if call.method == "POST":
            media_type = answers.negotiated(call.headers.get("accept"))
            limits = self._settings
            requests = await posted(
                call.headers, call.receive, bytes_max=limits.body_bytes_max, batch_max=limits.batch_operations_max
            )
            viewer = await self._viewer(call.headers.getlist("authorization"))
            done = [await self._run(call, request, viewer, media_type) for request in requests]
            return done[0] if len(done) == 1 else answers.batched(media_type, done)
        if call.method in {"GET", "HEAD"}:
            return await self._get(call)
        raise self._method_not_allowed("use POST, or GET for a query")

    async def _get(self, call: Call) -> Answer:
        if "query" not in call.scope["query_string"].decode("latin-1") and self._wants_page(call):
            return answers.page()
        if not call.scope["query_string"]:
            raise self._method_not_allowed("send the operation by POST, as a JSON object with the key query")
        media_type = answers.negotiated(call.headers.get("accept"))
        request = queried(call.scope, call.headers)
        viewer = await self._viewer(call.headers.getlist("authorization"))
        answer = await self._run(call, request, viewer, media_type, queries_only=True)
        if answer.status != 200:  # noqa: PLR2004 - OK
            return answer
        private = viewer.user_id is not None
        return answers.cacheable(answer, private=private, if_none_match=call.headers.get("if-none-match"))

    def _wants_page(self, call: Call) -> bool:
        return self._graphiql and "text/html" in call.headers.get("accept", "")

    def _method_not_allowed(self, message: str) -> HttpRefused:
        return HttpRefused(405, "METHOD_NOT_ALLOWED", message, {"allow": "GET, POST"})

    async def _run(
        self, call: Call, request: GraphQLRequest, viewer: Viewer, media_type: str, *, queries_only: bool = False
    ) -> Answer:
        started = time.perf_counter()
        try:
            operation = self._operations.find(self._text(request), request.operation_name)
            if queries_only and not operation.is_query:
                raise HttpRefused(405, "METHOD_NOT_ALLOWED", "GET runs queries only; use POST", {"allow": "POST"})
            price = operation.priced(request.variables)
            self.gate.charge(price.cost, user_id=viewer.user_id, address=call.address)
            content = await self._executed(call, operation, request, viewer)
        except RequestRefused as refused:
            return answers.refused(media_type, refused.errors)
        if request.extensions.get("cost") is True:
            content["extensions"] = {"cost": price.told()}
        elapsed_ms = (time.perf_counter() - started) * 1000
        logger.info(
            "request %s operation %s user %s cost %s errors %s ms %.1f",
            call.request_id,
            operation.name or "-",
            viewer.user_id,
            price.cost,
            len(content.get("errors", ())),
            elapsed_ms,
        )
        return Answer(200, orjson.dumps(content), media_type)

    def _text(self, request: GraphQLRequest) -> str:
        try:
            return self._documents.text(request.query, request.extensions)
        except GraphQLError as error:
            raise RequestRefused(error) from None

    async def _executed(
        self, call: Call, operation: Operation, request: GraphQLRequest, viewer: Viewer
    ) -> dict[str, Any]:
        async with self.gate.deadline(call.receive, abandon=operation.is_query):
            result = await self._operations.run(operation, request.variables, self.services, viewer)
        content: dict[str, Any] = {"data": result.data}
        if result.errors:
            content["errors"] = [presented(error, call.request_id).formatted for error in result.errors]
        return content

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
