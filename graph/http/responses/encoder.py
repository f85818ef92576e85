"""Encodes responses: compressed if the client prefers that, as ASGI messages or as one HTTP/1.1 message."""

from starlette.types import Message, Receive, Scope, Send

from graph.http.call import Call
from graph.http.responses import response
from graph.http.responses.codings import ACCEPT_ENCODING, Gzip, takes_gzip
from graph.http.responses.response import EncodedResponse, Response, header_lines

COMPRESS_LEVEL = 4


class Encoder:
    """Encodes the responses of an endpoint. Those of at least `compress_min` bytes are compressed; with 0, none."""

    def __init__(self, compress_min: int) -> None:
        self._compress_min = compress_min

    async def send(self, call: Call, answer: Response, scope: Scope, send: Send) -> None:
        """Send a response as ASGI messages."""
        plain = self._plain(call, answer)
        if plain is None:
            await self._gzipped(call, answer)(scope, call.receive, send)
        else:
            await _sent(call, plain, send)

    def encoded(self, call: Call, answer: Response) -> EncodedResponse | None:
        """Return the encoded response to a POST; None if it must be compressed, which `compressed` does."""
        plain = self._plain(call, answer)
        return None if plain is None else response.encoded(plain, call.request_id, call.trace)

    async def compressed(self, call: Call, answer: Response) -> EncodedResponse:
        """Return the encoded, compressed response to a POST."""
        sent: list[Message] = []

        async def collect(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": call.method, "headers": call.head.lines}
        await self._gzipped(call, answer)(scope, call.receive, collect)
        start, *parts = sent
        return EncodedResponse(
            start["status"], header_lines(start["headers"]), b"".join([part["body"] for part in parts])
        )

    def _plain(self, call: Call, answer: Response) -> Response | None:
        """Return the response for a client that gets it uncompressed, or None if it must be compressed."""
        if not 0 < self._compress_min <= len(answer.body):
            return answer
        return None if takes_gzip(call.head.raw(ACCEPT_ENCODING)) else response.varied_by_encoding(answer)

    def _gzipped(self, call: Call, answer: Response) -> Gzip:
        """Return an ASGI application that sends the response compressed; a large one is compressed in a thread."""

        async def sent(scope: Scope, receive: Receive, send: Send) -> None:
            await _sent(call, answer, send)

        return Gzip(sent, self._compress_min, COMPRESS_LEVEL)


async def _sent(call: Call, answer: Response, send: Send) -> None:
    await response.send_response(send, answer, call.request_id, call.trace, with_body=call.method != "HEAD")
