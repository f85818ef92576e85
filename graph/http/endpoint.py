"""The ASGI application at `/graphql`: it returns one response for each request, and raises no exception.

An invalid bearer token is refused (401) and never handled as an anonymous request: a client whose session has ended
must get an error, not less data.
"""

import asyncio
from contextlib import nullcontext
from typing import Any

import orjson
from graphql import ExecutionResult, GraphQLError
from starlette.types import Receive, Scope, Send

from db.access import ANONYMOUS, Viewer
from db.errors import Unavailable
from db.settings import Settings
from graph.analysis.limits import REFUSED_COST, Price
from graph.errors import presented
from graph.http.admission.bodies import Bodies
from graph.http.admission.budgets import spending_address
from graph.http.admission.control import AdmissionControl
from graph.http.admission.time_limits import CancelledFromWithinError, end_is_requested
from graph.http.call import Call
from graph.http.graphiql import page as graphiql
from graph.http.parsing.head import Head
from graph.http.parsing.requests import (
    GraphQLRequest,
    HttpRefused,
    RequestBatch,
    check_content,
    check_headers,
    parse_body,
    parse_get,
    unauthenticated,
)
from graph.http.responses import response
from graph.http.responses.codings import CONTENT_ENCODING, check_coding, decoded
from graph.http.responses.encoder import Encoder
from graph.http.responses.response import Response, codes_of
from graph.http.responses.writing import AnswerTooLargeError, encode_bounded
from graph.http.wire.extensions import began_at, disconnect_receiver
from graph.operations.cache import Operation, Operations, RequestRefused, ensure_ran
from graph.operations.dispatch import Size
from graph.operations.documents import Documents, text_digest
from graph.runtime.authentication import TokenClaims, token_claims
from graph.runtime.context import Services, caller_address
from graph.telemetry.current import Observation
from graph.telemetry.observer import Observer
from graph.telemetry.traces import random_hex

UNKNOWN_ADDRESS = "unknown"
# Larger ones take more than a few milliseconds, and are parsed, checked or encoded in another thread.
SMALL_BODY_BYTES_MAX = 8_192
SMALL_DOCUMENT_LENGTH_MAX = 1_000
SMALL_ANSWER_BYTES_MAX = 1_048_576
# Refusals with these statuses are charged: parsing and checking took time.
CHARGED_STATUSES = frozenset({400, 401, 403, 406, 413, 414, 415, 431})


class GraphQLEndpoint:
    """Handles every request to `/graphql`. `services` is set when the process has started.

    Attributes:
        operations: checks, caches and runs operations.
        documents: finds stored documents.
        observer: logs, measures and traces each operation.
        admission: the limits on requests.
        encoder: compresses and sends responses.
    """

    services: Services

    def __init__(self, operations: Operations, documents: Documents, settings: Settings, observer: Observer) -> None:
        self.operations = operations
        self.documents = documents
        self._body_bytes_max = settings.body_bytes_max
        self._batch_max = settings.batch_operations_max
        self.encoder = Encoder(settings.compress_bytes_min)
        self.answer_bytes_max = settings.answer_bytes_max
        self.observer = observer
        self._graphiql = settings.shows("graphiql")
        self.admission = AdmissionControl(settings)
        self._bodies = Bodies(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request."""
        client = scope.get("client")
        call = Call(
            scope["method"],
            Head(scope["headers"]),
            disconnect_receiver(scope) or receive,
            random_hex(16),
            began_at(scope) or asyncio.get_running_loop().time(),
            str(client[0]) if client else UNKNOWN_ADDRESS,
            scope.get("query_string", b""),
            arriving=receive,
        )
        await self.encoder.send(call, await self.respond(call), scope, send)

    async def respond(self, call: Call) -> Response:
        """Return the response to a request, also after errors. It raises only CancelledError."""
        admission, is_admitted = self.admission, False
        try:
            if call.arriving is not None and call.method == "POST":
                self.negotiate(call.head)
                call.body = await self._bodies.received(call.head, call.arriving, call.address)
            admission.enter()
            is_admitted = True
            return await (self._post(call) if call.method == "POST" else self._get(call))
        except asyncio.CancelledError:
            if not end_is_requested():
                return self.failed(call, CancelledFromWithinError())
            # The process stops. No response is sent; this only logs which operation was interrupted.
            self._error_response(call, 503, GraphQLError("cancelled", extensions={"code": "CANCELLED"}), {})
            raise
        except HttpRefused as refusal:
            self._charge_work(call, ANONYMOUS, at_least=REFUSED_COST if refusal.status in CHARGED_STATUSES else 0)
            return self.failed(call, refusal)
        except Exception as error:  # noqa: BLE001 - the outermost handler: no traceback may reach the client
            return self.failed(call, error)
        finally:
            if is_admitted:
                admission.leave()

    async def _post(self, call: Call) -> Response:
        head, media_type = call.head, self.negotiate(call.head)
        parsed = call.parsed or await self._read(call)
        viewer = await self._viewer(call) if b"authorization" in head else ANONYMOUS
        if isinstance(parsed, RequestBatch):
            bytes_max = self.answer_bytes_max // len(parsed)
            done = [await self._entry(call, request, viewer, media_type, bytes_max) for request in parsed]
            return response.batched(media_type, done)
        return await self._run(call, parsed, viewer, media_type, self.answer_bytes_max)

    async def _read(self, call: Call) -> GraphQLRequest | RequestBatch:
        """Return the operations in the body of a POST. A large body is parsed in another thread."""
        body, call.body = call.body, None  # frees the body while the operation runs
        assert body is not None
        if len(body) <= SMALL_BODY_BYTES_MAX:
            return self.parsed(call.head, body)
        self.admission.ensure_budget_of_address("this is a large body", call.address)
        with self.admission.deadline(call.started, call.receive, abandon=True):
            return await self.services.worker.run(call.stopwatch().timed, self.parsed, call.head, body)

    def parsed(self, head: Head, body: bytes) -> GraphQLRequest | RequestBatch:
        """Return the operations in a body. Raises HttpRefused as `parse_body` does."""
        if CONTENT_ENCODING in head:
            body = decoded(head, body, self._body_bytes_max)
        return parse_body(body, bytes_max=self._body_bytes_max, batch_max=self._batch_max)

    def negotiate(self, head: Head) -> str:
        """Check the head of a POST, and return the media type of its response.

        Raises:
            HttpRefused: the head is invalid, or the client accepts neither media type.
        """
        if head.media_type is None:
            check_headers(head)
            media_type = response.negotiated(head.accept)
            check_content(head)
            check_coding(head)
            head.media_type = media_type
        return head.media_type

    async def _entry(
        self, call: Call, request: GraphQLRequest, viewer: Viewer, media_type: str, bytes_max: int
    ) -> Response:
        """Return the response to one operation of a batch. Its failure must not affect the other operations."""
        call.started = asyncio.get_running_loop().time()  # each operation gets the full deadline
        try:
            return await self._run(call, request, viewer, media_type, bytes_max)
        except asyncio.CancelledError:
            if end_is_requested():
                raise
            return self.failed(call, CancelledFromWithinError())
        except Exception as error:  # noqa: BLE001 - as in `respond`
            return self.failed(call, error)

    def failed(self, call: Call, error: Exception) -> Response:
        """Return the response for an exception, and end the observation of the current operation."""
        if isinstance(error, HttpRefused):
            return self._error_response(call, error.status, error.error, error.headers)
        if isinstance(error, Unavailable):
            refusal = GraphQLError(str(error), extensions={"code": error.code})
            return self._error_response(call, 503, refusal, {"retry-after": "1"})
        shown = presented(GraphQLError("unexpected", original_error=error), call.request_id)
        return self._error_response(call, 500, shown, {})

    def _error_response(self, call: Call, status: int, error: GraphQLError, headers: dict[str, str]) -> Response:
        """Return a response with this one error, and end the observation of the current operation, if any."""
        seen = call.seen or self._observed(call, ANONYMOUS)
        seen.codes = codes_of([error.formatted])
        self._end_observation(call, seen, status)
        return response.errors_answer(status, response.readable(call.head.accept), [error], headers)

    def _observed(self, call: Call, viewer: Viewer) -> Observation:
        seen = call.seen = self.observer.begin(call.request_id, call.head.each(b"traceparent"), viewer.user_id)
        call.trace = seen.trace.told
        return seen

    def observed(self, call: Call, operation: Operation, price: Price, viewer: Viewer) -> Observation:
        """Begin to observe a cached operation that runs without a task."""
        seen = call.seen = self.observer.opened(call.request_id, call.head.each(b"traceparent"), viewer.user_id)
        call.trace = seen.trace.told
        seen.operation, seen.kind = operation.name, operation.kind
        seen.document, seen.deprecated = operation.digest, operation.deprecated
        seen.cost = price.cost
        return seen

    def _end_observation(self, call: Call, seen: Observation, status: int) -> None:
        call.seen = None
        self.observer.end(seen, status)

    async def _get(self, call: Call) -> Response:
        check_headers(call.head)
        if call.method not in {"GET", "HEAD"}:
            raise self._method_not_allowed("use POST, or GET for a query")
        if self._graphiql and graphiql.wants_page(call.head, call.query_string):
            return graphiql.page()
        if not call.query_string:
            raise self._method_not_allowed("send the operation by POST, as a JSON object with the key query")
        media_type = response.negotiated(call.head.accept)
        request = parse_get(call.query_string, call.head)
        viewer = await self._viewer(call) if b"authorization" in call.head else ANONYMOUS
        answer = await self._run(call, request, viewer, media_type, self.answer_bytes_max, queries_only=True)
        if answer.status != 200:  # noqa: PLR2004 - OK
            return answer
        known = (call.head.first(b"if-none-match") or b"").decode("latin-1")
        is_private = viewer.user_id is not None
        if len(answer.body) <= SMALL_ANSWER_BYTES_MAX:
            return response.cacheable(answer, private=is_private, if_none_match=known)
        return await self.services.worker.run(response.cacheable, answer, private=is_private, if_none_match=known)

    def _method_not_allowed(self, message: str) -> HttpRefused:
        return HttpRefused(405, "METHOD_NOT_ALLOWED", message, {"allow": "GET, POST"})

    async def _run(
        self,
        call: Call,
        request: GraphQLRequest,
        viewer: Viewer,
        media_type: str,
        bytes_max: int,
        *,
        queries_only: bool = False,
    ) -> Response:
        seen = self._observed(call, viewer)
        try:
            operation = await self._find_operation(call, request, seen, viewer)
            if queries_only and not operation.is_query:
                raise HttpRefused(405, "METHOD_NOT_ALLOWED", "GET runs queries only; use POST", {"allow": "POST"})
            price = operation.pricing.fitting(request.variables)
            if price is None:
                price = call.stopwatch().timed(operation.priced, request.variables)
            seen.cost = price.cost
            self.admission.charge(price.cost, user_id=viewer.user_id, address=call.address)
            self._charge_work(call, viewer, at_least=0)
            if price.sensitive_root_fields:
                self.admission.charge_password(call.address)
            known = self.operations.introspected(operation) if operation.is_introspection else None
            if not operation.is_query:
                caller_address.set(spending_address(call.address))
            if known is not None:
                return self.written(call, request, price, seen, {"data": orjson.Fragment(known)}, media_type)
            caller = self.admission.caller(user_id=viewer.user_id, address=call.address)
            with (
                self.services.database.shares.operation_of(caller),
                self.admission.deadline(call.started, call.receive, abandon=operation.is_query),
            ):
                size = Size(price.values, call.stopwatch, in_parts=price.answer_bytes > bytes_max)
                result = await self.operations.run(operation, request.variables, self.services, viewer, size)
            self._charge_work(call, viewer, at_least=0)
            if size.in_parts:
                return await self._large(call, request, operation, price, seen, result, media_type, bytes_max)
            content = self.content(call, operation, result)
            self._keep(operation, content)
        except RequestRefused as refused:
            self._charge_work(call, viewer, at_least=REFUSED_COST)
            answer = response.refused(media_type, refused.errors)
            seen.codes = codes_of([error.formatted for error in refused.errors])
            self._end_observation(call, seen, answer.status)
            return answer
        return self.written(call, request, price, seen, content, media_type)

    async def _large(
        self,
        call: Call,
        request: GraphQLRequest,
        operation: Operation,
        price: Price,
        seen: Observation,
        result: ExecutionResult,
        media_type: str,
        bytes_max: int,
    ) -> Response:
        """Return a response that may be large, encoded in another thread; an error where it exceeds the limit."""
        run = self.services.worker.run
        # A mutation has already taken effect: its response is not abandoned at the deadline.
        with self.admission.deadline(call.started, call.receive, abandon=True) if operation.is_query else nullcontext():
            content = await run(self.content, call, operation, result)
            self._keep(operation, content)
            self._complete(request, price, seen, content)
            try:
                body = await run(encode_bounded, content, bytes_max)
            except AnswerTooLargeError as error:
                too_large = error.graphql_error(bytes_max, is_query=operation.is_query)
                seen.codes = codes_of([too_large.formatted])
                body = orjson.dumps({"data": None, "errors": [too_large.formatted]})
        return self._ended(call, seen, body, media_type)

    def written(
        self,
        call: Call,
        request: GraphQLRequest,
        price: Price,
        seen: Observation,
        content: dict[str, Any],
        media_type: str,
    ) -> Response:
        """Return the response of an operation that has run, and end its observation."""
        self._complete(request, price, seen, content)
        return self._ended(call, seen, orjson.dumps(content), media_type)

    def _complete(self, request: GraphQLRequest, price: Price, seen: Observation, content: dict[str, Any]) -> None:
        seen.ran = True
        if "errors" in content:
            seen.codes = codes_of(content["errors"])
        if request.extensions.get("cost") is True:
            content["extensions"] = {"cost": price.told()}

    def _ended(self, call: Call, seen: Observation, body: bytes, media_type: str) -> Response:
        answer = Response(200, body, media_type)
        self._end_observation(call, seen, answer.status)
        return answer

    async def _find_operation(
        self, call: Call, request: GraphQLRequest, seen: Observation, viewer: Viewer
    ) -> Operation:
        try:
            text = self.documents.text(request.query, request.extensions)
        except GraphQLError as error:
            raise RequestRefused(error) from None
        operation = self.operations.kept(text, request.operation_name)
        if operation is None:
            operation = await self._new_operation(call, text, request, seen, viewer)
        seen.operation, seen.kind = operation.name, operation.kind
        seen.document, seen.deprecated = operation.digest, operation.deprecated
        return operation

    async def _new_operation(
        self, call: Call, text: str, request: GraphQLRequest, seen: Observation, viewer: Viewer
    ) -> Operation:
        """Check and cache a new operation, and return it."""
        self.admission.ensure_budget("this is a new document", user_id=viewer.user_id, address=call.address)
        seen.document, watch, checked = text_digest(text), call.stopwatch(), None
        if len(text) > SMALL_DOCUMENT_LENGTH_MAX:
            with self.admission.deadline(call.started, call.receive, abandon=True):
                checked = await self.operations.checked(text, self.services.worker, watch)
        return watch.timed(self.operations.find, text, request.operation_name, checked)

    def _charge_work(self, call: Call, viewer: Viewer, *, at_least: int) -> None:
        """Charge the time spent on parsing and checking a request, and at least the cost `at_least`."""
        if call.watch is not None or at_least:
            self.admission.charge_work(call.stopwatch(), viewer.user_id, call.address, at_least=at_least)

    def content(self, call: Call, operation: Operation, result: ExecutionResult) -> dict[str, Any]:
        """Return the response object of a result. The data of an introspection is encoded as JSON, for `_keep`.

        Raises:
            RequestRefused: the operation did not run.
        """
        ensure_ran(result)
        content: dict[str, Any] = {"data": result.data}
        if operation.is_introspection and not result.errors:
            content["data"] = orjson.dumps(result.data)
        if result.errors:
            content["errors"] = [presented(error, call.request_id).formatted for error in result.errors]
        return content

    def _keep(self, operation: Operation, content: dict[str, Any]) -> None:
        """Cache the data of an introspection. Only the event loop's thread may use the caches."""
        data = content["data"]
        if isinstance(data, bytes):
            self.operations.keep_introspected(operation, data)
            content["data"] = orjson.Fragment(data)

    async def _viewer(self, call: Call) -> Viewer:
        """Return the viewer of the request's access token. Callers check first that the request has one."""
        claims = self.claims(call.head)
        if claims is not None:
            with self.admission.deadline(call.started, call.receive, abandon=True):
                viewer = claims.viewer(await claims.sessions(self.services.database))
            if viewer is not None:
                return viewer
        raise unauthenticated()

    def claims(self, head: Head) -> TokenClaims | None:
        """Return the claims of a request's access token; None where the token is invalid."""
        return token_claims(self.services.tokens, head.each(b"authorization"))
