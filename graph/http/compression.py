"""Compression of responses, if the client prefers that."""

import sys
import zlib
from functools import partial

from graph.http.parsing.head import Head
from graph.http.responses.codings import ACCEPT_ENCODING, takes_gzip
from graph.http.responses.response import Response, varied_by_encoding
from graph.http.steps import Steps, Work
from graph.runtime.worker_thread import WorkerThread

LEVEL = 4
GZIP = zlib.MAX_WBITS | 16
# Larger ones take more than about a millisecond.
FAST_BYTES_MAX = 65_536


class Compression:
    """Compresses responses, if the client prefers that.

    Attributes:
        bytes_min: the size of the smallest response that is compressed. The argument 0 switches compression off.
    """

    def __init__(self, bytes_min: int) -> None:
        self.bytes_min = bytes_min or sys.maxsize

    def steps(self, head: Head, answer: Response, worker: WorkerThread) -> Steps:
        """Return the response compressed, or with a Vary header for a client that does not prefer that."""
        answer = varied_by_encoding(answer)
        if not takes_gzip(head.raw(ACCEPT_ENCODING)):
            return answer
        if len(answer.body) <= FAST_BYTES_MAX:
            return _compressed(answer)
        compressed: Response = yield Work(partial(worker.run, _compressed, answer), is_limited=False)
        return compressed


def _compressed(answer: Response) -> Response:
    body = zlib.compress(answer.body, LEVEL, GZIP)
    return Response(answer.status, body, answer.media_type, {**answer.headers, "content-encoding": "gzip"})
