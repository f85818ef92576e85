"""What is known of one HTTP request to the endpoint while it is answered."""

from dataclasses import dataclass

from starlette.types import Receive

from graph.http.parsing.head import Head
from graph.http.parsing.requests import GraphQLRequest, RequestBatch
from graph.runtime.worker_thread import Stopwatch
from graph.telemetry.current import Observation


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
        watch: how long it has taken to read it, where that may be long, and has not been charged yet.
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
    asked: GraphQLRequest | RequestBatch | None = None
    seen: Observation | None = None
    trace: str | None = None
    watch: Stopwatch | None = None

    def stopwatch(self) -> Stopwatch:
        """Return the watch, a new one where there is none."""
        if self.watch is None:
            self.watch = Stopwatch()
        return self.watch
