"""The state of one HTTP request in the pipeline."""

from dataclasses import dataclass

from starlette.types import Receive

from db.access import ANONYMOUS, Viewer
from graph.http.admission.control import Spenders
from graph.http.parsing.head import Head
from graph.runtime.worker_thread import Stopwatch
from graph.telemetry.current import Observation

UNKNOWN_ADDRESS = "unknown"


@dataclass(slots=True)
class Call:
    """The state of one HTTP request.

    Attributes:
        receive: returns a message when the client disconnects.
        started: the arrival of its first byte in seconds of the event loop's clock; the time of the call, where the
            server does not provide it.
        spenders: whose budgets it spends: those of the client's address, which uvicorn takes from the headers of a
            trusted proxy; once the access token is checked, those of the caller.
        query_string: the URL after the question mark.
        body: the body, if it has arrived; empty afterwards, while the operation runs.
        arriving: receives the body, if it has not arrived.
        seen: the observation of the current operation.
        viewer: the caller, once the access token is checked.
        trace: the value of the response's `traceresponse` header, for the last operation.
        watch: the time spent on parsing and checking that has not been charged yet.
        is_live: whether it arrives over a live connection, which can open a subscription.
    """

    method: str
    head: Head
    receive: Receive
    request_id: str
    started: float
    spenders: Spenders
    query_string: bytes = b""
    body: bytes = b""
    arriving: Receive | None = None
    seen: Observation | None = None
    trace: str | None = None
    watch: Stopwatch | None = None
    viewer: Viewer = ANONYMOUS
    is_live: bool = False

    def stopwatch(self) -> Stopwatch:
        """Return the stopwatch of this request. The first call starts it."""
        if self.watch is None:
            self.watch = Stopwatch()
        return self.watch
