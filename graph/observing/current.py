"""The observation of the operation that is under way, and how a loader's batch adds to it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import TYPE_CHECKING

from db.tally import Tally
from graph.observing.traces import Trace

if TYPE_CHECKING:  # an extra, and imported only where it is asked for
    from graph.observing.tracing import OperationSpan

BatchCounter = Callable[[str, int], None]
BatchSpan = Callable[[str, int], AbstractContextManager[object]]


@dataclass(slots=True)
class Observation:
    """What is known of one operation, or of a request that never got as far as one.

    Attributes:
        operation: its name; None where it has none, or where no valid operation was found.
        kind: query or mutation; None where no valid operation was found.
        document: the hash of its document; None where no document came.
        deprecated: the schema coordinates that it uses although they are deprecated.
        status: of the HTTP answer.
        codes: `extensions.code` of each error in the answer.
        ran: whether it was executed, with errors or without, and not refused before.
        total_ns: from the operation's start to its answer.
        on_batch: is told of each batch of a loader.
        batch_span: is entered around each batch of a loader.
        span: the operation's, where it is traced.
        tokens: put back what was observed in this context before.
    """

    request_id: str
    trace: Trace
    user_id: int | None
    tally: Tally
    operation: str | None = None
    kind: str | None = None
    document: str | None = None
    deprecated: tuple[str, ...] = ()
    cost: int | None = None
    status: int = 200
    codes: Sequence[str] = ()
    ran: bool = False
    started_ns: int = 0
    total_ns: int = 0
    on_batch: BatchCounter | None = None
    batch_span: BatchSpan | None = None
    span: "OperationSpan | None" = None
    tokens: "tuple[Token[Tally | None], Token[Observation | None]] | None" = None


observation: ContextVar[Observation | None] = ContextVar("observation", default=None)


def batch_observed(loader: str, size: int) -> AbstractContextManager[object] | None:
    """Tell whoever observes the operation that `loader` loads a batch of `size` keys.

    Where the batch is traced it is to be loaded within what is returned.
    """
    seen = observation.get()
    if seen is None:
        return None
    if seen.on_batch is not None:
        seen.on_batch(loader, size)
    return None if seen.batch_span is None else seen.batch_span(loader, size)
