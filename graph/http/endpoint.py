"""The ASGI application at `/graphql`: one request in, one answer out, and no exception past it.

A bearer token that is not good is refused (401), never taken for an anonymous request: an application whose session has
ended should hear of it, not see less.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import ExecutionResult, GraphQLError
from starlette.types import Message, Receive, Scope, Send

from db.errors import Unavailable
from db.sessions import viewer_of_session
from db.settings import Settings
from db.viewer import ANONYMOUS, Viewer
from graph.context import Services, caller_address
from graph.documents import Documents
from graph.errors import presented
from graph.http import answers, graphiql
from graph.http.answers import Answer, Reply, header_lines
from graph.http.bodies import Bodies
from graph.http.budgets import spending_address
from graph.http.codings import ACCEPT_ENCODING, CONTENT_ENCODING, Gzip, check_coding, decoded, takes_gzip
from graph.http.gate import Gate
from graph.http.head import Head
from graph.http.protocol import began, leaving
from graph.http.requests import Batch, GraphQLRequest, HttpRefused, check_content, check_headers, parse_body, queried
from graph.http.time_limits import CancelledFromWithinError, is_to_end
from graph.limits import Price
from graph.observing.current import Observation
from graph.observing.observer import Observer
from graph.observing.traces import random_hex
from graph.operations import Operation, Operations, RequestRefused, demand_ran, text_digest

BEARER = "bearer"
COMPRESS_LEVEL = 4
UNKNOWN_ADDRESS = "unknown"


@dataclass(slots=True)
class Call:
    """What is known of one HTTP request while it is answered.

    Attributes:
        receive: tells when its client leaves.
        started: when its first byte came, by the event loop's clock; where the server does not say, when it is known.
        address: where it came from; behind a trusted proxy, uvicorn has put the client's own address here.
        query_string: what stands behind the path.
        body: where it has come already.
        arriving: gives the body, where it is still to be received.
        asked: what the body asks for, where somebody has looked at it already.
        seen: the observation of the operation that is under way.
        trace: the place of the last operation in its trace, as the client is told.
    """

    method: str
    head: Head
    receive: Receive
    request_id: str
    started: float
    address: str
    query_string: bytes = b""
    body: bytes | None = None
    arriving: Receive | None = None
    asked: GraphQLRequest | Batch | None = None
    seen: Observation | None = None
    trace: str | None = None


class GraphQLEndpoint:
    """Answers every request to `/graphql`. `services` is set when the process has started.

    Attributes:
        operations: what it runs.
        documents: finds the stored ones.
        observer: is told of each.
        gate: the limits on what runs.
    """

    services: Services

    def __init__(self, operations: Operations, documents: Documents, settings: Settings, observer: Observer) -> None:
        self.operations = operations
        self.documents = documents
        self._body_bytes_max = settings.body_bytes_max
        self._batch_max = settings.batch_operations_max
        self._compress_min = settings.compress_bytes_min
        self.observer = observer
        self._graphiql = settings.shows("graphiql")
        self.gate = Gate(settings)
        self._bodies = Bodies(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        client = scope.get("client")
        call = Call(
            scope["method"],
            Head(scope["headers"]),
            leaving(scope) or receive,
            random_hex(16),
            began(scope) or asyncio.get_running_loop().time(),
            str(client[0]) if client else UNKNOWN_ADDRESS,
            scope.get("query_string", b""),
            arriving=receive,
        )
        answer = await self.answered(call)
        plain = self._plain(call, answer)
        if plain is None:
            await self._gzipped(call, answer)(scope, receive, send)
        else:
            await _sent(call, plain, send)

    async def answered(self, call: Call) -> Answer:
        """Return the answer to a request, whatever happens; only a cancellation comes through."""
        gate, is_in = self.gate, False
        try:
            if call.arriving is not None and call.method == "POST":
                self.look_at(call.head)
                call.body = await self._bodies.received(call.head, call.arriving, call.address)
            gate.enter()
            is_in = True
            return await (self._post(call) if call.method == "POST" else self._get(call))
        except asyncio.CancelledError:
            if not is_to_end():
                return self.failed(call, CancelledFromWithinError())
            # The process stops, and does not wait any longer. No answer goes out; this line says what was cut off.
            self._given_up(call, 503, GraphQLError("cancelled", extensions={"code": "CANCELLED"}), {})
            raise
        except Exception as error:  # noqa: BLE001 - the last door: whatever it is, no trace leaves
            return self.failed(call, error)
        finally:
            if is_in:
                gate.leave()

    def replied(self, call: Call, answer: Answer) -> Reply | None:
        """Return the answer to a POST as it is sent; None where it is to be compressed."""
        plain = self._plain(call, answer)
        return None if plain is None else answers.reply(plain, call.request_id, call.trace)

    async def compressed(self, call: Call, answer: Answer) -> Reply:
        """Return the answer to a POST as it is sent where it is compressed."""
        sent: list[Message] = []

        async def collect(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": call.method, "headers": call.head.lines}
        await self._gzipped(call, answer)(scope, call.receive, collect)
        start, *parts = sent
        return Reply(start["status"], header_lines(start["headers"]), b"".join([part["body"] for part in parts]))

    def _plain(self, call: Call, answer: Answer) -> Answer | None:
        """Return the answer as a client gets it uncompressed, or None where this one gets it compressed."""
        if not 0 < self._compress_min <= len(answer.body):
            return answer
        return None if takes_gzip(call.head.raw(ACCEPT_ENCODING)) else answers.varied_by_encoding(answer)

    def _gzipped(self, call: Call, answer: Answer) -> Gzip:
        """Return an application that sends the answer compressed."""

        async def sent(scope: Scope, receive: Receive, send: Send) -> None:
            await _sent(call, answer, send)

        return Gzip(sent, self._compress_min, COMPRESS_LEVEL)

    async def _post(self, call: Call) -> Answer:
        head = call.head
        media_type = self.look_at(head)
        asked = call.asked
        if asked is None:
            assert call.body is not None
            asked = self.parsed(head, call.body)
            call.body = None  # it would stay in memory for as long as the operation runs
        viewer = await self._viewer(call) if b"authorization" in head else ANONYMOUS
        if isinstance(asked, Batch):
            done = [await self._entry(call, request, viewer, media_type) for request in asked]
            return answers.batched(media_type, done)
        return await self._run(call, asked, viewer, media_type)

    def parsed(self, head: Head, body: bytes) -> GraphQLRequest | Batch:
        """Return what a body asks for, as `parse_body` does."""
        if CONTENT_ENCODING in head:
            body = decoded(head, body, self._body_bytes_max)
        return parse_body(body, bytes_max=self._body_bytes_max, batch_max=self._batch_max)

    def look_at(self, head: Head) -> str:
        """Return the media type of the answer to a POST with this head, once it is known that the head is in order.

        Raises:
            HttpRefused: it is not.
        """
        if head.media_type is None:
            check_headers(head)
            media_type = answers.negotiated(head.accept)
            check_content(head)
            check_coding(head)
            head.media_type = media_type
        return head.media_type

    async def _entry(self, call: Call, request: GraphQLRequest, viewer: Viewer, media_type: str) -> Answer:
        """Return the answer to one operation of a batch: that it is refused must not cost the others' answers."""
        call.started = asyncio.get_running_loop().time()  # each operation has the whole time
        try:
            return await self._run(call, request, viewer, media_type)
        except asyncio.CancelledError:
            if is_to_end():
                raise
            return self.failed(call, CancelledFromWithinError())
        except Exception as error:  # noqa: BLE001 - likewise
            return self.failed(call, error)

    def failed(self, call: Call, error: Exception) -> Answer:
        """Return the answer to a request that has come to this error, which ends the operation under way."""
        if isinstance(error, HttpRefused):
            return self._given_up(call, error.status, error.error, error.headers)
        if isinstance(error, Unavailable):
            refusal = GraphQLError(str(error), extensions={"code": error.code})
            return self._given_up(call, 503, refusal, {"retry-after": "1"})
        shown = presented(GraphQLError("unexpected", original_error=error), call.request_id)
        return self._given_up(call, 500, shown, {})

    def _given_up(self, call: Call, status: int, error: GraphQLError, headers: dict[str, str]) -> Answer:
        """Return the answer that is this error alone, which ends the operation under way, where one is."""
        seen = call.seen or self._observed(call, ANONYMOUS)
        seen.codes = _codes([error.formatted])
        self._over(call, seen, status)
        return answers.errors_answer(status, answers.readable(call.head.accept), [error], headers)

    def _observed(self, call: Call, viewer: Viewer) -> Observation:
        seen = call.seen = self.observer.begin(call.request_id, call.head.each(b"traceparent"), viewer.user_id)
        call.trace = seen.trace.told
        return seen

    def observed(self, call: Call, operation: Operation, price: Price, viewer: Viewer) -> Observation:
        """Begin to observe an operation that is known, and that no task runs."""
        seen = call.seen = self.observer.opened(call.request_id, call.head.each(b"traceparent"), viewer.user_id)
        call.trace = seen.trace.told
        seen.operation, seen.kind = operation.name, operation.kind
        seen.document, seen.deprecated = operation.digest, operation.deprecated
        seen.cost = price.cost
        return seen

    def _over(self, call: Call, seen: Observation, status: int) -> None:
        call.seen = None
        self.observer.end(seen, status)

    async def _get(self, call: Call) -> Answer:
        check_headers(call.head)
        if call.method not in {"GET", "HEAD"}:
            raise self._method_not_allowed("use POST, or GET for a query")
        if self._graphiql and graphiql.is_wanted(call.head, call.query_string):
            return graphiql.page()
        if not call.query_string:
            raise self._method_not_allowed("send the operation by POST, as a JSON object with the key query")
        media_type = answers.negotiated(call.head.accept)
        request = queried(call.query_string, call.head)
        viewer = await self._viewer(call) if b"authorization" in call.head else ANONYMOUS
        answer = await self._run(call, request, viewer, media_type, queries_only=True)
        if answer.status != 200:  # noqa: PLR2004 - OK
            return answer
        known = (call.head.first(b"if-none-match") or b"").decode("latin-1")
        return answers.cacheable(answer, private=viewer.user_id is not None, if_none_match=known)

    def _method_not_allowed(self, message: str) -> HttpRefused:
        return HttpRefused(405, "METHOD_NOT_ALLOWED", message, {"allow": "GET, POST"})

    async def _run(
        self, call: Call, request: GraphQLRequest, viewer: Viewer, media_type: str, *, queries_only: bool = False
    ) -> Answer:
        seen = self._observed(call, viewer)
        try:
            operation = self._found(call, request, seen, viewer)
            if queries_only and not operation.is_query:
                raise HttpRefused(405, "METHOD_NOT_ALLOWED", "GET runs queries only; use POST", {"allow": "POST"})
            price = self._priced(call, operation, request, viewer)
            seen.cost = price.cost
            self.gate.charge(price.cost, user_id=viewer.user_id, address=call.address)
            if price.sensitive_root_fields:
                self.gate.charge_password(call.address)
            known = self.operations.introspected(operation) if operation.is_introspection else None
            if not operation.is_query:
                caller_address.set(spending_address(call.address))
            if known is None:
                caller = self.gate.caller(user_id=viewer.user_id, address=call.address)
                with (
                    self.services.database.shares.operation_of(caller),
                    self.gate.deadline(call.started, call.receive, abandon=operation.is_query),
                ):
                    result = await self.operations.run(operation, request.variables, self.services, viewer)
                content = self.content(call, operation, result)
            else:
                content = {"data": orjson.Fragment(known)}
        except RequestRefused as refused:
            answer = answers.refused(media_type, refused.errors)
            seen.codes = _codes([error.formatted for error in refused.errors])
            self._over(call, seen, answer.status)
            return answer
        return self.written(call, request, price, seen, content, media_type)

    def written(
        self,
        call: Call,
        request: GraphQLRequest,
        price: Price,
        seen: Observation,
        content: dict[str, Any],
        media_type: str,
    ) -> Answer:
        """Return the answer to an operation that has run, which ends it."""
        seen.ran = True
        if "errors" in content:
            seen.codes = _codes(content["errors"])
        if request.extensions.get("cost") is True:
            content["extensions"] = {"cost": price.told()}
        answer = Answer(200, orjson.dumps(content), media_type)
        self._over(call, seen, answer.status)
        return answer

    def _found(self, call: Call, request: GraphQLRequest, seen: Observation, viewer: Viewer) -> Operation:
        try:
            text = self.documents.text(request.query, request.extensions)
        except GraphQLError as error:
            raise RequestRefused(error) from None
        operation = self.operations.kept(text, request.operation_name)
        if operation is None:
            self.gate.demand_budget(user_id=viewer.user_id, address=call.address)
            try:
                operation = self.operations.find(text, request.operation_name)
            except RequestRefused:
                seen.document = text_digest(text)
                self.gate.charge_refused(user_id=viewer.user_id, address=call.address)
                raise
        seen.operation, seen.kind = operation.name, operation.kind
        seen.document, seen.deprecated = operation.digest, operation.deprecated
        return operation

    def _priced(self, call: Call, operation: Operation, request: GraphQLRequest, viewer: Viewer) -> Price:
        try:
            return operation.priced(request.variables)
        except RequestRefused:
            self.gate.charge_refused(user_id=viewer.user_id, address=call.address)
            raise

    def content(self, call: Call, operation: Operation, result: ExecutionResult) -> dict[str, Any]:
        """Return what is said of a result.

        Raises:
            RequestRefused: the operation never ran.
        """
        demand_ran(result)
        content: dict[str, Any] = {"data": result.data}
        if operation.is_introspection and not result.errors:
            data = orjson.dumps(result.data)
            self.operations.keep_introspected(operation, data)
            content["data"] = orjson.Fragment(data)
        if result.errors:
            content["errors"] = [presented(error, call.request_id).formatted for error in result.errors]
        return content

    async def _viewer(self, call: Call) -> Viewer:
        """Return whose access token the request has; one that has none is anonymous, and needs no look here."""
        pointed = self.pointed(call.head)
        if pointed is not None:
            user_id, session_id = pointed
            with self.gate.deadline(call.started, call.receive, abandon=True):
                viewer = await viewer_of_session(self.services.database, session_id, user_id)
            if viewer is not None:
                return viewer
        raise HttpRefused(
            401,
            "UNAUTHENTICATED",
            "the access token is not valid, has expired or its session has ended; refresh the session or sign in again",
            {"www-authenticate": 'Bearer error="invalid_token"'},
        )

    def pointed(self, head: Head) -> tuple[int, int] | None:
        """Return the user and the session that the access token of a request names; None where it is no good one."""
        authorizations = head.each(b"authorization")
        if len(authorizations) != 1:
            return None
        scheme, _, token = authorizations[0].partition(" ")
        return self.services.tokens.read(token.strip()) if scheme.lower() == BEARER else None


async def _sent(call: Call, answer: Answer, send: Send) -> None:
    await answers.send_answer(send, answer, call.request_id, call.trace, with_body=call.method != "HEAD")


def _codes(errors: Iterable[Mapping[str, Any]]) -> list[str]:
    return [str(error["extensions"]["code"]) for error in errors if "code" in error.get("extensions", ())]
