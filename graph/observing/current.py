"""The observation of the operation that is under way, and how a loader's batch adds to it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from db.tally import Tally
from graph.observing.traces import Trace

BatchHook = Callable[[str, int], AbstractContextManager[object]]


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
        on_batch: are entered around each batch of a loader.
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
    codes: list[str] = field(default_factory=list)
    ran: bool = False
    started_ns: int = 0
    total_ns: int = 0
    on_batch: list[BatchHook] = field(default_factory=list)


observation: ContextVar[Observation | None] = ContextVar("observation", default=None)


@contextmanager
def batch_observed(loader: str, size: int) -> Iterator[None]:
    """Tell whoever observes the operation that `loader` loads a batch of `size` keys."""
    seen = observation.get()
    hooks = seen.on_batch if seen is not None else []
    if not hooks:
        yield
        return
    if len(hooks) == 1:
        with hooks[0](loader, size):
            yield
        return
    with hooks[0](loader, size), hooks[1](loader, size):
        yield
