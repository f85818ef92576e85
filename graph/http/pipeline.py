"""The pipeline of every request to `/graphql`: from its head to its response, top to bottom.

A request is a generator. It does no input or output: it yields what it waits for (`graph.http.steps`), and a driver
(`graph.http.drivers`) waits. So the same code serves a query that needs no task, a mutation, a batch and a GET, over
every transport. Each decision is made here once: negotiation, caller, admission, price, observation, form of errors.

An invalid bearer token is refused (401) and never handled as an anonymous request: a client whose session has ended
must get an error, not less data.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any

import orjson
from graphql import ExecutionResult, GraphQLError, OperationType

from db.connections.coalescing import PendingRead
from db.errors import Unavailable
from db.settings import Settings
from graph.analysis.limits import REFUSED_COST, Price
from graph.errors import presented
from graph.execution import SingleRead
from graph.http.admission.bodies import Bodies
from graph.http.admission.control import AdmissionControl, Spenders
from graph.http.admission.time_limits import CancelledFromWithinError, end_is_requested
from graph.http.call import Call
from graph.http.compression import Compression
from graph.http.graphiql import page as graphiql
from graph.http.origins import Origins
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
from graph.http.responses.codings import check_coding, decoded
from graph.http.responses.content import Contents, complete
from graph.http.responses.response import Response, codes_of
from graph.http.responses.trace import TRACE, traced_run
from graph.http.responses.writing import AnswerTooLargeError, encode_bounded
from graph.http.steps import Arrived, Read, Steps, Work
from graph.http.subscribing import SUBSCRIPTION, Subscribed, subscribed
from graph.operations.cache import Operation, Operations, RequestRefused
from graph.operations.dispatch import Size
from graph.operations.documents import Documents, text_digest
from graph.runtime.authentication import token_claims
from graph.runtime.context import Services, caller_address
from graph.telemetry.current import Observation
from graph.telemetry.observer import Observer

# Larger ones take more than a few milliseconds, and are parsed, checked or hashed in another thread.
SMALL_BODY_BYTES_MAX = 8_192
SMALL_DOCUMENT_LENGTH_MAX = 1_000
SMALL_ANSWER_BYTES_MAX = 1_048_576
# Refusals with these statuses are charged: parsing and checking took time.
CHARGED_STATUSES = frozenset({400, 401, 403, 406, 413, 414, 415, 431})
OK = 200


class Pipeline:
    """Handles every request. `services` is set when the process has started.

    Attributes:
        admission: the limits on requests.
    """

    services: Services

    def __init__(self, operations: Operations, documents: Documents, settings: Settings, observer: Observer) -> None:
        self.operations = operations
        self.documents = documents
        self.observer = observer
        self.admission = AdmissionControl(settings)
        self.bodies = Bodies(settings)
        self._body_bytes_max = settings.body_bytes_max
        self._batch_max = settings.batch_operations_max
        self._answer_bytes_max = settings.answer_bytes_max
        self._graphiql = settings.shows("graphiql")
        self.origins = Origins(settings)
        self._compression = Compression(settings.compress_bytes_min)
        self._contents = Contents(operations)

    # ------------------------------------------------------------ from the head to the response

    def respond(self, call: Call) -> Steps:
        """Handle a request and return its response.

        Raises:
            asyncio.CancelledError: the process stops; no response is sent.
        """
        admission, head, is_admitted, is_post = self.admission, call.head, False, call.method == "POST"
        try:
            if is_post and head.media_type is None:
                self._negotiate(head)
            if call.arriving is not None:
                body = partial(self.bodies.received, head, call.arriving, call.spenders.address)
                call.body = yield Work(body, is_limited=False)  # its arrival has separate limits
            admission.enter()
            is_admitted = True
            if is_post:
                is_small = len(call.body) <= SMALL_BODY_BYTES_MAX
                parsed = self._parsed(call) if is_small else (yield from self._parsed_elsewhere(call))
                if head.authorizations:
                    yield from self._authenticate(call)
                if isinstance(parsed, RequestBatch):
                    answer = yield from self._batch(call, parsed)
                else:
                    answer = yield from self._run(call, parsed, self._answer_bytes_max)
            else:
                answer = yield from self._get(call)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the client must get no traceback
            answer = self._failed(call, error)
        finally:
            if is_admitted:
                admission.leave()
        if len(answer.body) >= self._compression.bytes_min:
            answer = yield from self._compression.steps(head, answer, self.services.worker)
        if head.origin is not None or not is_post:
            answer = self.origins.shared(answer, head.origin)
        return answer

    def _batch(self, call: Call, requests: RequestBatch) -> Steps:
        """Run the operations of a batch one after another. The failure of one must not affect the others."""
        done: list[Response] = []
        for request in requests:
            call.started = asyncio.get_running_loop().time()  # each operation gets the full deadline
            try:
                answer = yield from self._run(call, request, self._answer_bytes_max // len(requests))
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - as in `respond`
                answer = self._failed(call, error)
            done.append(answer)
        assert call.head.media_type is not None
        return response.batched(call.head.media_type, done)

    def _get(self, call: Call) -> Steps:
        check_headers(call.head)
        if call.method not in {"GET", "HEAD"}:
            raise _method_not_allowed("use POST, or GET for a query", "GET, POST")
        if self._graphiql and graphiql.wants_page(call.head, call.query_string):
            return graphiql.page()
        if not call.query_string:
            raise _method_not_allowed("send the operation by POST, as a JSON object with the key query", "GET, POST")
        call.head.media_type = response.negotiated(call.head.accept)
        request = parse_get(call.query_string, call.head)
        if call.head.authorizations:
            yield from self._authenticate(call)
        answer = yield from self._run(call, request, self._answer_bytes_max, queries_only=True)
        if answer.status != OK or isinstance(answer, Subscribed):
            return answer
        known = (call.head.first(b"if-none-match") or b"").decode("latin-1")
        hashed = partial(response.cacheable, answer, private=call.viewer.user_id is not None, if_none_match=known)
        if len(answer.body) <= SMALL_ANSWER_BYTES_MAX:
            return hashed()
        large: Response = yield Work(partial(self.services.worker.run, hashed), is_limited=False)
        return large

    def _negotiate(self, head: Head) -> None:
        """Check the head of a POST, and negotiate the media type of its response.

        Raises:
            HttpRefused: the head is invalid, or the client accepts neither media type.
        """
        check_headers(head)
        media_type = response.negotiated(head.accept)
        check_content(head)
        check_coding(head)
        head.media_type = media_type

    def _parsed(self, call: Call) -> GraphQLRequest | RequestBatch:
        """Return the operations in the body. Raises HttpRefused as `parse_body` does."""
        body, call.body = call.body, b""  # frees the body while the operation runs
        if call.head.is_coded:
            body = decoded(call.head, body, self._body_bytes_max)
        return parse_body(body, bytes_max=self._body_bytes_max, batch_max=self._batch_max)

    def _parsed_elsewhere(self, call: Call) -> Generator[Read | Work, Any, GraphQLRequest | RequestBatch]:
        """Return the operations in a large body, which another thread parses."""
        self.admission.ensure_budget_of_address("this is a large body", call.spenders)
        parsing = partial(call.stopwatch().timed, self._parsed, call)
        parsed: GraphQLRequest | RequestBatch = yield Work(partial(self.services.worker.run, parsing))
        return parsed

    def _authenticate(self, call: Call) -> Generator[Read | Work, Any, None]:
        """Find the viewer of the request's access token. Callers check first that the request has one."""
        claims = token_claims(self.services.tokens, call.head.authorizations)
        if claims is None:
            raise unauthenticated()
        sessions = claims.sessions(self.services.database)
        assert isinstance(sessions, PendingRead)
        found: Arrived = yield Read(sessions)
        if found.error is not None:
            raise found.error
        viewer = claims.viewer(found.answer)
        if viewer is None:
            raise unauthenticated()
        call.viewer, call.spenders = viewer, call.spenders.of_user(viewer.user_id)

    # ------------------------------------------------------------ one operation

    def _run(self, call: Call, request: GraphQLRequest, bytes_max: int, *, queries_only: bool = False) -> Steps:
        """Find, admit, observe and run one operation, and return its response."""
        seen = call.seen = self.observer.begin(call.request_id, call.head.traceparents, call.viewer.user_id)
        call.trace, media_type = seen.trace.traceparent, call.head.media_type
        assert media_type is not None
        try:
            text = self.documents.text(request.query, request.extensions)
            operation = self.operations.kept(text, request.operation_name)
            if operation is None:
                operation = yield from self._new_operation(call, text, request, seen)
            price = self._charged(call, operation, request, seen, queries_only=queries_only)
            if operation.kind == SUBSCRIPTION:
                return (yield from subscribed(call, request, operation, price, self))
            known = self.operations.introspected(operation) if operation.is_introspection else None
            data: Any = None if known is None else orjson.Fragment(known)
            single = None
            if known is None and price.answer_bytes <= bytes_max and TRACE not in request.extensions:
                variables, viewer = request.variables, call.viewer
                single = self.operations.single_read(operation, variables, self.services, viewer, price.values)
            if single is not None:
                found: Arrived = yield Read(single.reading, call.spenders.caller)
                data = single.answer(found.answer, found.error)
                seen.add_read(
                    single.loader.name, single.reading.statement.sql, single.rows, found.elapsed_ns, found.error
                )
            if data is None:
                body = yield from self._in_task(call, request, operation, price, seen, bytes_max, single)
            else:
                seen.ran, content = True, {"data": data}
                if request.extensions:
                    complete(content, request, price, seen)
                body = orjson.dumps(content)
            answer = Response(OK, body, media_type)
        except (RequestRefused, GraphQLError) as refused:
            self._charge_work(call, at_least=REFUSED_COST)
            errors = refused.errors if isinstance(refused, RequestRefused) else [refused]
            seen.codes = codes_of([error.formatted for error in errors])
            answer = response.refused(media_type, errors)
        call.seen = None
        self.observer.end(seen, answer.status)
        return answer

    def _new_operation(
        self, call: Call, text: str, request: GraphQLRequest, seen: Observation
    ) -> Generator[Read | Work, Any, Operation]:
        """Check and cache a new operation, and return it."""
        self.admission.ensure_budget("this is a new document", call.spenders)
        seen.document, watch, checked = text_digest(text), call.stopwatch(), None
        if len(text) > SMALL_DOCUMENT_LENGTH_MAX:
            checked = yield Work(partial(self.operations.checked, text, self.services.worker, watch))
        return watch.timed(self.operations.find, text, request.operation_name, checked)

    def _charged(
        self, call: Call, operation: Operation, request: GraphQLRequest, seen: Observation, *, queries_only: bool
    ) -> Price:
        """Charge the price of an operation, observe both, and return the price.

        Raises:
            RequestRefused: it is larger than a limit allows.
            HttpRefused: 429: a budget is too small; 405: a GET runs no mutation. Nothing was charged.
        """
        seen.operation, seen.kind = operation.name, operation.kind
        seen.document, seen.deprecated = operation.digest, operation.deprecated
        if queries_only and operation.definition.operation is OperationType.MUTATION:
            raise _method_not_allowed("GET runs queries only; use POST", "POST")
        price = operation.pricing.fixed or operation.pricing.fitting(request.variables)
        if price is None:
            price = call.stopwatch().timed(operation.priced, request.variables)
        self.admission.charge(price.cost, call.spenders)
        if call.watch is not None:
            self._charge_work(call, at_least=0)
        if price.sensitive_root_fields:
            self.admission.charge_password(call.spenders)
        seen.cost = price.cost
        return price

    def _in_task(
        self,
        call: Call,
        request: GraphQLRequest,
        operation: Operation,
        price: Price,
        seen: Observation,
        bytes_max: int,
        single: SingleRead | None,
    ) -> Generator[Read | Work, Any, bytes]:
        """Run an operation in a task, or the rest of one that `single` has begun, and return its response.

        A response that may be too large is made in another thread, and is an error if it is.
        """
        # A mutation that has happened has no deadline.
        worker, is_query, is_large = self.services.worker, operation.is_query, price.answer_bytes > bytes_max
        work = self._execution(call, request, operation, Size(price.values, call.stopwatch, is_large), seen, single)
        result: ExecutionResult = yield Work(work, is_abandoned=is_query)
        if call.watch is not None:
            self._charge_work(call, at_least=0)
        make = partial(self._contents.of, result, operation, call.request_id)
        content = (yield Work(partial(worker.run, make), is_limited=is_query)) if is_large else make()
        self._contents.keep(operation, content)
        seen.ran = True
        complete(content, request, price, seen)
        if not is_large:
            return orjson.dumps(content)
        try:
            body: bytes = yield Work(partial(worker.run, encode_bounded, content, bytes_max), is_limited=is_query)
        except AnswerTooLargeError as error:
            too_large = error.graphql_error(bytes_max, is_query=is_query)
            seen.codes = codes_of([too_large.formatted])
            body = orjson.dumps({"data": None, "errors": [too_large.formatted]})
        return body

    def _execution(
        self,
        call: Call,
        request: GraphQLRequest,
        operation: Operation,
        size: Size,
        seen: Observation,
        single: SingleRead | None,
    ) -> Callable[[], Awaitable[ExecutionResult]]:
        """Return what runs an operation in a task, or the rest of one that `single` has begun."""
        run: Callable[[], Coroutine[Any, Any, ExecutionResult]]
        if single is not None:
            run = single.completed
        else:
            run = partial(self.operations.run, operation, request.variables, self.services, call.viewer, size)
            if TRACE in request.extensions:
                run = traced_run(self.operations, operation, request, self.services, call.viewer) or run
        return partial(self._executed, run, seen, call.spenders, is_query=operation.is_query)

    async def _executed(
        self,
        run: Callable[[], Coroutine[Any, Any, ExecutionResult]],
        seen: Observation,
        spenders: Spenders,
        *,
        is_query: bool = True,
    ) -> ExecutionResult:
        """Run what an operation does in the current task, with its context."""
        self.observer.enter(seen)
        if not is_query:
            caller_address.set(spenders.address)
        with self.services.database.shares.operation_of(spenders.caller):
            return await run()

    # ------------------------------------------------------------ the end of a request

    def _charge_work(self, call: Call, *, at_least: int) -> None:
        """Charge the time spent on parsing and checking a request, and at least the cost `at_least`."""
        if call.watch is not None or at_least:
            self.admission.charge_work(call.stopwatch(), call.spenders, at_least=at_least)

    def _failed(self, call: Call, error: Exception | asyncio.CancelledError) -> Response:
        """Return the response for an exception, and end the observation of the current operation.

        Raises:
            asyncio.CancelledError: `error` is one, and the process stops.
        """
        if isinstance(error, asyncio.CancelledError):
            if end_is_requested():
                # This only logs which operation was interrupted.
                self._error_response(call, 503, GraphQLError("cancelled", extensions={"code": "CANCELLED"}), {})
                raise error
            error = CancelledFromWithinError()
        if isinstance(error, HttpRefused):
            self._charge_work(call, at_least=REFUSED_COST if error.status in CHARGED_STATUSES else 0)
            return self._error_response(call, error.status, error.error, error.headers)
        if isinstance(error, Unavailable):
            refusal = GraphQLError(str(error), extensions={"code": error.code})
            return self._error_response(call, 503, refusal, {"retry-after": "1"})
        shown = presented(GraphQLError("unexpected", original_error=error), call.request_id)
        return self._error_response(call, 500, shown, {})

    def _error_response(self, call: Call, status: int, error: GraphQLError, headers: dict[str, str]) -> Response:
        """Return a response with this one error, and end the observation of the current operation, if any."""
        seen = call.seen
        if seen is None:
            seen = self.observer.begin(call.request_id, call.head.traceparents, None)
            call.trace = seen.trace.traceparent
        seen.codes = codes_of([error.formatted])
        answer = response.errors_answer(status, response.readable(call.head.accept), [error], headers)
        call.seen = None
        self.observer.end(seen, answer.status)
        return answer


def _method_not_allowed(message: str, allowed: str) -> HttpRefused:
    return HttpRefused(405, "METHOD_NOT_ALLOWED", message, {"allow": allowed})
