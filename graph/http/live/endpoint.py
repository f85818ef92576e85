"""The entry for live connections: WebSockets, and requests for streams of events."""

from starlette.types import Scope, Send

from db.settings import Settings
from graph.http.call import UNKNOWN_ADDRESS, Call
from graph.http.live.connections import LiveConnections, TooManyError
from graph.http.live.reservations import Reservations
from graph.http.live.sse import StreamedOperation
from graph.http.live.websocket import SocketSession
from graph.http.parsing.head import Head
from graph.http.parsing.requests import HEADER_BYTES_MAX
from graph.http.pipeline import Pipeline
from graph.http.responses.streams import Streams, accepted_streams
from graph.http.wire.extensions import SOCKET
from graph.http.wire.websocket import WebSocket


class LiveEndpoint:
    """Serves live connections with the pipeline.

    Attributes:
        connections: the live connections of the application.
    """

    def __init__(self, pipeline: Pipeline, connections: LiveConnections, settings: Settings) -> None:
        self._pipeline = pipeline
        self.connections = connections
        self._reservations = Reservations(pipeline, connections, settings)
        pipeline.observer.subscriptions.live = lambda: (connections.sockets, connections.streams)

    async def socket(self, scope: Scope) -> None:
        """Serve a WebSocket until it is closed."""
        socket: WebSocket = scope["extensions"][SOCKET]["socket"]
        head, client = Head(scope["headers"]), scope.get("client")
        address = str(client[0]) if client else UNKNOWN_ADDRESS
        if head.size > HEADER_BYTES_MAX:
            socket.reject(431, "HEADERS_TOO_LARGE", f"the headers have more than {HEADER_BYTES_MAX} bytes")
        elif not self._pipeline.origins.may_open(head.origin, head.first(b"host")):
            message = "pages of this origin may not open a WebSocket; FOLIO_CORS_ORIGINS names those that may"
            socket.reject(403, "ORIGIN_NOT_ALLOWED", message)
        else:
            try:
                await SocketSession(socket, head, address, self._pipeline, self.connections).run()
            except TooManyError as error:
                socket.reject(503, "OVERLOADED", str(error))

    def serves(self, call: Call) -> bool:
        """Return whether the response to a request may be a stream, or the request belongs to a reserved stream."""
        return accepted_streams(call.head.accept) is not Streams.NEVER or self._reservations.serves(call)

    async def stream(self, call: Call, send: Send) -> None:
        """Serve such a request."""
        call.is_live = True
        if self._reservations.serves(call):
            await self._reservations.serve(call, send)
        else:
            await StreamedOperation(self._pipeline, self.connections, call, send).run()
