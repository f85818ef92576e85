"""Inline lookups: queries for one row by its key, and cached introspections, run without a task.

The machinery around such a small query costs more than the query: a task, ten nested coroutines, a future, and three
iterations of the event loop. A lookup waits only once (twice with an access token, for its session), for a statement
that it shares with other requests. So it needs none of the machinery: it starts in the iteration in which the request
arrives, and ends in the one in which the rows arrive. A cached introspection does not wait at all.

The steps and their code are those of every operation, in the same order (`graph.http.endpoint`): observation, charge,
deadline, reads with the viewer's rights. Only the successful case runs here. All other cases (a new document, invalid
variables, an exhausted budget) are detected before anything has happened, and are left to the task path, which detects
them again and reports them. An error that occurs later, in a row or instead of it, is reported by a task, which reads
nothing.
"""

import asyncio
import contextvars
import logging
from collections.abc import Callable
from typing import Any

import orjson
from graphql import GraphQLError

from db.access import ANONYMOUS, Viewer
from db.connections.coalescing import PendingRead
from graph.analysis.limits import Price
from graph.execution import SingleRead
from graph.http.admission.control import Deadline
from graph.http.call import Call
from graph.http.endpoint import SMALL_BODY_BYTES_MAX, GraphQLEndpoint
from graph.http.parsing.requests import GraphQLRequest, HttpRefused, RequestBatch
from graph.http.responses.response import Response
from graph.operations.cache import Operation
from graph.runtime.authentication import TokenClaims
from graph.telemetry.current import Observation

logger = logging.getLogger(__name__)

OnResponse = Callable[[Response], None]
"""Receives the response. It raises nothing."""

FallBack = Callable[[], None]
"""Runs the request in a task instead. It raises nothing."""


class InlineLookups:
    """Handles those requests to an endpoint that are lookups or cached introspections."""

    def __init__(self, endpoint: GraphQLEndpoint) -> None:
        self._endpoint = endpoint
        self.admission = endpoint.admission

    def begin(self, call: Call, on_response: OnResponse, fall_back: FallBack) -> bool:
        """Begin a request if it is an inline lookup; False where it is not, and then nothing has happened.

        Args:
            call: the request.
            on_response: receives the response.
            fall_back: is called where the request turns out later to need a task.
        """
        try:
            operation = self._lookup_operation(call)
            if operation is None:
                return False
            if b"authorization" in call.head:
                return self._request_session(call, operation, on_response, fall_back)
            return self.continue_as(call, operation, ANONYMOUS, on_response)
        except Exception:  # a bug in this module, which the task path may not have
            logger.exception("a query was not begun")
            return False

    def _request_session(self, call: Call, operation: Operation, on_response: OnResponse, fall_back: FallBack) -> bool:
        claims = self._endpoint.claims(call.head)
        sessions = None if claims is None else claims.sessions(self._endpoint.services.database)
        if claims is None or not isinstance(sessions, PendingRead):
            return False
        waiting = self.admission.deadline_of(_PendingSession, call.started, call.receive)
        self.admission.enter()
        try:
            waiting.start(self, call, operation, claims, sessions, on_response, fall_back)
        except BaseException:
            self.admission.leave()
            raise
        return True

    def failed(self, call: Call, error: Exception) -> Response:
        """Return the response for an exception."""
        return self._endpoint.failed(call, error)

    def _lookup_operation(self, call: Call) -> Operation | None:
        """Return the operation of a request if it is a cached lookup or introspection, else None."""
        endpoint = self._endpoint
        if call.body is None or len(call.body) > SMALL_BODY_BYTES_MAX:
            return None
        if endpoint.admission.is_full or endpoint.observer.tracing is not None:
            return None
        try:
            endpoint.negotiate(call.head)
            call.parsed = parsed = endpoint.parsed(call.head, call.body)
            if isinstance(parsed, RequestBatch):
                return None
            text = endpoint.documents.text(parsed.query, parsed.extensions)
        except (HttpRefused, GraphQLError):
            return None
        operation = endpoint.operations.known(text, parsed.operation_name)
        if operation is None or not (operation.is_lookup or operation.is_introspection):
            return None
        # Before the session is read: the task path would read it again.
        price = operation.pricing.fitting(parsed.variables)
        return None if price is None or price.answer_bytes > endpoint.answer_bytes_max else operation

    def continue_as(self, call: Call, operation: Operation, viewer: Viewer, on_response: OnResponse) -> bool:
        """Begin the operation with the rights of `viewer`. Returns False as `begin` does."""
        endpoint, parsed = self._endpoint, call.parsed
        assert isinstance(parsed, GraphQLRequest)
        price = operation.pricing.fitting(parsed.variables)
        if price is None:
            return False
        if operation.is_introspection:
            return self._introspect(call, operation, price, viewer, on_response)
        if price.answer_bytes > endpoint.answer_bytes_max:
            return False
        lookup = endpoint.operations.lookup(operation, parsed.variables, endpoint.services, viewer, price.values)
        reading = None if lookup is None else lookup.reading
        if lookup is None or reading is None or not self._admit(call, price, viewer):
            return False
        try:
            endpoint.operations.looked_up()
            seen = endpoint.observed(call, operation, price, viewer)
            if lookup.name is not None:
                seen.batch(lookup.name, 1)
            pending = self.admission.deadline_of(_PendingLookup, call.started, call.receive)
            pending.start(endpoint, call, operation, price, seen, lookup, reading, on_response)
        except Exception as fault:  # noqa: BLE001 - as in the endpoint; already charged, so it must respond here
            self.admission.leave()
            on_response(endpoint.failed(call, fault))
        return True

    def _introspect(
        self, call: Call, operation: Operation, price: Price, viewer: Viewer, on_response: OnResponse
    ) -> bool:
        """Respond with cached introspection data; False where none is cached."""
        endpoint, parsed, media_type = self._endpoint, call.parsed, call.head.media_type
        assert isinstance(parsed, GraphQLRequest)
        assert media_type is not None
        known = endpoint.operations.introspected(operation)
        if known is None or not self._admit(call, price, viewer):
            return False
        endpoint.operations.introspected_again()
        seen = endpoint.observed(call, operation, price, viewer)
        answer = endpoint.written(call, parsed, price, seen, {"data": orjson.Fragment(known)}, media_type)
        self.admission.leave()
        on_response(answer)
        return True

    def _admit(self, call: Call, price: Price, viewer: Viewer) -> bool:
        """Charge the cost of an operation, and count it as in flight; False where the budget is too small."""
        try:
            self.admission.charge(price.cost, user_id=viewer.user_id, address=call.address)
        except HttpRefused:
            return False
        self.admission.enter()
        return True


class _PendingSession(Deadline):
    """A request with an access token that waits for its session. The object is also its deadline."""

    __slots__ = (
        "_call",
        "_claims",
        "_context",
        "_fall_back",
        "_inline_lookups",
        "_on_response",
        "_operation",
        "_sessions",
    )

    def start(
        self,
        inline_lookups: InlineLookups,
        call: Call,
        operation: Operation,
        claims: TokenClaims,
        sessions: PendingRead,
        on_response: OnResponse,
        fall_back: FallBack,
    ) -> None:
        """Request the session."""
        self._inline_lookups = inline_lookups
        self._call = call
        self._operation = operation
        self._claims = claims
        self._on_response = on_response
        self._fall_back = fall_back
        self._sessions = sessions
        # `on_result` may run in the context of another request; the task path must start in this request's context.
        self._context = contextvars.copy_context()
        self._timers.set(self, asyncio.get_running_loop())
        sessions.subscribe(self)

    def on_result(self, answer: Any, error: Exception | None, elapsed_ns: int) -> None:
        """Continue with the viewer of the session."""
        if self._is_over:
            return
        self.stop()
        self._is_over = True
        self._inline_lookups.admission.leave()
        begun = False
        try:
            viewer = self._claims.viewer(answer) if error is None else None
            if viewer is not None:
                begun = self._inline_lookups.continue_as(self._call, self._operation, viewer, self._on_response)
        except Exception:  # as in `begin`
            logger.exception("a query was not begun")
        if not begun:
            self._context.run(self._fall_back)

    def _end(self) -> None:
        """End before the session has arrived: the deadline has passed, or the client has disconnected."""
        if not self._is_over:
            self.stop()
            self._is_over = True
            self._sessions.unsubscribe(self)
            self._inline_lookups.admission.leave()
            self._on_response(self._inline_lookups.failed(self._call, self._refusal(None)))


class _PendingLookup(Deadline):
    """A lookup that waits for its row. The object is also its deadline."""

    __slots__ = (
        "_call",
        "_endpoint",
        "_lookup",
        "_on_response",
        "_operation",
        "_price",
        "_reading",
        "_rest",
        "_seen",
    )

    _rest: asyncio.Task[None]

    def start(
        self,
        endpoint: GraphQLEndpoint,
        call: Call,
        operation: Operation,
        price: Price,
        seen: Observation,
        lookup: SingleRead,
        reading: PendingRead,
        on_response: OnResponse,
    ) -> None:
        """Request the row."""
        self._endpoint = endpoint
        self._call = call
        self._operation = operation
        self._price = price
        self._seen = seen
        self._lookup = lookup
        self._reading = reading
        self._on_response = on_response
        self._timers.set(self, asyncio.get_running_loop())
        reading.subscribe(self, endpoint.admission.caller(user_id=seen.user_id, address=call.address))

    def on_result(self, answer: Any, error: Exception | None, elapsed_ns: int) -> None:
        """Receive the rows or the error, and respond."""
        if self._is_over:
            return
        self.stop()
        self._is_over = True
        try:
            rows = self._lookup.rows(answer) if error is None else None
            self._seen.add(self._reading.statement.sql, rows, elapsed_ns, error)
            data = self._lookup.answer(answer) if error is None else None
            if data is None:
                # An empty context: the current one may belong to another request.
                work = self._completed(answer if error is None else error)
                self._rest = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
                return
            done = self._written({"data": data})
        except Exception as fault:  # noqa: BLE001 - as in the endpoint: no traceback may reach the client
            done = self._endpoint.failed(self._call, fault)
        self._finish(done)

    async def _completed(self, found: Any) -> None:
        """Respond where the row does not exist or there is an error."""
        endpoint, call = self._endpoint, self._call
        self._seen.enter()
        try:
            result = await self._lookup.completed(found)
            done = self._written(endpoint.content(call, self._operation, result))
        except Exception as error:  # noqa: BLE001 - as in the endpoint
            done = endpoint.failed(call, error)
        self._finish(done)

    def _written(self, content: dict[str, Any]) -> Response:
        call = self._call
        assert call.head.media_type is not None
        assert isinstance(call.parsed, GraphQLRequest)
        return self._endpoint.written(call, call.parsed, self._price, self._seen, content, call.head.media_type)

    def _end(self) -> None:
        """End before the row has arrived: the deadline has passed, or the client has disconnected."""
        if not self._is_over:
            self.stop()
            self._is_over = True
            self._reading.unsubscribe(self)
            self._finish(self._endpoint.failed(self._call, self._refusal(None)))

    def _finish(self, answer: Response) -> None:
        self._endpoint.admission.leave()
        self._on_response(answer)
