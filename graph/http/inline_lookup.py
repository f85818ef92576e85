"""Queries for one row by its key, and those that the schema alone answers: without a task.

Most of what so small a query costs is not its own work: a task, ten coroutines one inside the other, a future, and
three turns of the event loop. A look-up waits but once (twice where a session is to be looked at), for a statement that
it shares with others, so that none of these is needed: it is begun in the turn in which it comes, and ended in that in
which the rows come. An introspection that has been answered before does not wait at all.

What is done is the same, by the same code, in the same order as for any operation (`graph.http.endpoint`): it is
observed, charged, limited in time, and reads as who asks. This way leads through what is in order only. Whatever is not
(a document seen for the first time, variables that do not fit, a budget that does not reach) is found before anything
has happened, and left to the ordinary way, which finds it again and says so. An error that shows later, in a row or in
place of it, is put into words by a task, which reads nothing.
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
from graph.execution import Lookup
from graph.http.admission.control import Deadline
from graph.http.call import Call
from graph.http.endpoint import SMALL_BODY_BYTES_MAX, GraphQLEndpoint
from graph.http.parsing.requests import GraphQLRequest, HttpRefused, RequestBatch
from graph.http.responses.response import Response
from graph.operations.cache import Operation
from graph.runtime.authentication import TokenClaims
from graph.runtime.loaders import RowLoader
from graph.telemetry.current import Observation

logger = logging.getLogger(__name__)

Answered = Callable[[Response], None]
"""Is told of the answer; it raises nothing."""

Otherwise = Callable[[], None]
"""Has the request answered in the ordinary way; it raises nothing."""


class InlineLookups:
    """Answers those requests to an endpoint that are such queries."""

    def __init__(self, endpoint: GraphQLEndpoint) -> None:
        self._endpoint = endpoint
        self.admission = endpoint.admission

    def begin(self, call: Call, answered: Answered, otherwise: Otherwise) -> bool:
        """Begin to answer a request that is such a query; False where it is none, and nothing has happened.

        Where it turns out later that it has to go the ordinary way after all, `otherwise` is called.
        """
        try:
            operation = self._found(call)
            if operation is None:
                return False
            if b"authorization" in call.head:
                return self._ask_session(call, operation, answered, otherwise)
            return self.go_on(call, operation, ANONYMOUS, answered)
        except Exception:  # a fault of ours, which the ordinary way may not have
            logger.exception("a query was not begun")
            return False

    def _ask_session(self, call: Call, operation: Operation, answered: Answered, otherwise: Otherwise) -> bool:
        claims = self._endpoint.claims(call.head)
        sessions = None if claims is None else claims.sessions(self._endpoint.services.database)
        if claims is None or not isinstance(sessions, PendingRead):
            return False
        waiting = self.admission.deadline_of(_Session, call.started, call.receive)
        self.admission.enter()
        try:
            waiting.start(self, call, operation, claims, sessions, answered, otherwise)
        except BaseException:
            self.admission.leave()
            raise
        return True

    def failed(self, call: Call, error: Exception) -> Response:
        """Return the answer to a request that has come to this error."""
        return self._endpoint.failed(call, error)

    def _found(self, call: Call) -> Operation | None:
        """Return the operation that a request asks for, where it is such a query."""
        endpoint = self._endpoint
        if call.body is None or len(call.body) > SMALL_BODY_BYTES_MAX:
            return None
        if endpoint.admission.is_full or endpoint.observer.tracing is not None:
            return None
        try:
            endpoint.negotiate(call.head)
            call.asked = asked = endpoint.parsed(call.head, call.body)
            if isinstance(asked, RequestBatch):
                return None
            text = endpoint.documents.text(asked.query, asked.extensions)
        except (HttpRefused, GraphQLError):
            return None
        operation = endpoint.operations.known(text, asked.operation_name)
        return operation if operation is not None and (operation.is_lookup or operation.is_introspection) else None

    def go_on(self, call: Call, operation: Operation, viewer: Viewer, answered: Answered) -> bool:
        """Begin to answer as `viewer`; False as for `begin`."""
        endpoint, asked = self._endpoint, call.asked
        assert isinstance(asked, GraphQLRequest)
        price = operation.pricing.fitting(asked.variables)
        if price is None:
            return False
        if operation.is_introspection:
            return self._introspect(call, operation, price, viewer, answered)
        if price.answer_bytes > endpoint.answer_bytes_max:
            return False
        lookup = endpoint.operations.lookup(operation, asked.variables, endpoint.services, viewer)
        if lookup is None or not isinstance(lookup.loader, RowLoader):
            return False
        reading = lookup.loader.asked(lookup.key)
        if reading is None or not self._is_let_in(call, price, viewer):
            return False
        try:
            endpoint.operations.looked_up()
            seen = endpoint.observed(call, operation, price, viewer)
            seen.batch(lookup.loader.name, 1)
            pending = self.admission.deadline_of(_Pending, call.started, call.receive)
            pending.start(endpoint, call, operation, price, seen, lookup, reading, answered)
        except Exception as fault:  # noqa: BLE001 - as the endpoint; it is charged, so that this way has to answer it
            self.admission.leave()
            answered(endpoint.failed(call, fault))
        return True

    def _introspect(self, call: Call, operation: Operation, price: Price, viewer: Viewer, answered: Answered) -> bool:
        """Response what the schema alone decides, where it has been answered before."""
        endpoint, asked, media_type = self._endpoint, call.asked, call.head.media_type
        assert isinstance(asked, GraphQLRequest)
        assert media_type is not None
        known = endpoint.operations.introspected(operation)
        if known is None or not self._is_let_in(call, price, viewer):
            return False
        endpoint.operations.introspected_again()
        seen = endpoint.observed(call, operation, price, viewer)
        answer = endpoint.written(call, asked, price, seen, {"data": orjson.Fragment(known)}, media_type)
        self.admission.leave()
        answered(answer)
        return True

    def _is_let_in(self, call: Call, price: Price, viewer: Viewer) -> bool:
        """Charge what an operation costs, and count it as under way; False where the budget does not reach."""
        try:
            self.admission.charge(price.cost, user_id=viewer.user_id, address=call.address)
        except HttpRefused:
            return False
        self.admission.enter()
        return True


class _Session(Deadline):
    """A request with an access token while it waits for its session. It is its own deadline."""

    __slots__ = (
        "_answered",
        "_call",
        "_claims",
        "_context",
        "_inline_lookups",
        "_operation",
        "_otherwise",
        "_sessions",
    )

    def start(
        self,
        inline_lookups: InlineLookups,
        call: Call,
        operation: Operation,
        claims: TokenClaims,
        sessions: PendingRead,
        answered: Answered,
        otherwise: Otherwise,
    ) -> None:
        """Ask for the session."""
        self._inline_lookups = inline_lookups
        self._call = call
        self._operation = operation
        self._claims = claims
        self._answered = answered
        self._otherwise = otherwise
        self._sessions = sessions
        # What it is told in is anybody's context; the ordinary way is begun in the request's own.
        self._context = contextvars.copy_context()
        self._timers.set(self, asyncio.get_running_loop())
        sessions.subscribe(self)

    def on_result(self, answer: Any, error: Exception | None, elapsed_ns: int) -> None:
        """Go on as whom the session stands for."""
        if self._is_over:
            return
        self.stop()
        self._is_over = True
        self._inline_lookups.admission.leave()
        begun = False
        try:
            viewer = self._claims.viewer(answer) if error is None else None
            if viewer is not None:
                begun = self._inline_lookups.go_on(self._call, self._operation, viewer, self._answered)
        except Exception:  # likewise
            logger.exception("a query was not begun")
        if not begun:
            self._context.run(self._otherwise)

    def _end(self) -> None:
        """End before the session is there: the time is up, or the client has left."""
        if not self._is_over:
            self.stop()
            self._is_over = True
            self._sessions.unsubscribe(self)
            self._inline_lookups.admission.leave()
            self._answered(self._inline_lookups.failed(self._call, self._refusal(None)))


class _Pending(Deadline):
    """One such query while it waits for its row. It is its own deadline."""

    __slots__ = (
        "_answered",
        "_call",
        "_endpoint",
        "_lookup",
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
        lookup: Lookup,
        reading: PendingRead,
        answered: Answered,
    ) -> None:
        """Ask for the row."""
        self._endpoint = endpoint
        self._call = call
        self._operation = operation
        self._price = price
        self._seen = seen
        self._lookup = lookup
        self._reading = reading
        self._answered = answered
        self._timers.set(self, asyncio.get_running_loop())
        reading.subscribe(self, endpoint.admission.caller(user_id=seen.user_id, address=call.address))

    def on_result(self, answer: Any, error: Exception | None, elapsed_ns: int) -> None:
        """Take the rows that have come, or the error in their place."""
        if self._is_over:
            return
        self.stop()
        self._is_over = True
        try:
            row = None if error is not None else answer.get(self._lookup.key)
            rows = int(row is not None) if error is None else None
            self._seen.add(self._reading.statement.sql, rows, elapsed_ns, error)
            data = self._lookup.answer(row) if row is not None else None
            if data is None:
                # What this is told in is anybody's context; the operation's own begins anew.
                work = self._completed(row if error is None else error)
                self._rest = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
                return
            done = self._written({"data": data})
        except Exception as fault:  # noqa: BLE001 - as the endpoint: whatever it is, no trace leaves
            done = self._endpoint.failed(self._call, fault)
        self._finish(done)

    async def _completed(self, found: Any) -> None:
        """Have an answer written in which there is no row, or an error."""
        endpoint, call = self._endpoint, self._call
        self._seen.enter()
        try:
            result = await self._lookup.completed(found)
            done = self._written(endpoint.content(call, self._operation, result))
        except Exception as error:  # noqa: BLE001 - likewise
            done = endpoint.failed(call, error)
        self._finish(done)

    def _written(self, content: dict[str, Any]) -> Response:
        call = self._call
        assert call.head.media_type is not None
        assert isinstance(call.asked, GraphQLRequest)
        return self._endpoint.written(call, call.asked, self._price, self._seen, content, call.head.media_type)

    def _end(self) -> None:
        """End before the row is there: the time is up, or the client has left."""
        if not self._is_over:
            self.stop()
            self._is_over = True
            self._reading.unsubscribe(self)
            self._finish(self._endpoint.failed(self._call, self._refusal(None)))

    def _finish(self, answer: Response) -> None:
        self._endpoint.admission.leave()
        self._answered(answer)
