"""The thread for what would hold the event loop for long: large documents, large bodies, large answers.

Python runs one thread at a time, and changes to another one that waits within milliseconds
(`graph.cli.support.worker`). So the event loop goes on with other requests while a large one is read or written here.
One thread is enough: two would have no more of the processor between them, and take it from the loop.
"""

import asyncio
import contextvars
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class WorkerThread:
    """Runs one function after the other, in the order in which they are given."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="worker")

    def close(self) -> None:
        """Let the thread go when it has done what it is doing; what waits is not done any more."""
        self._thread.shutdown(cancel_futures=True)

    async def run(self, work: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Return what `work` returns; it may still be at work when the caller has been cancelled.

        Raises:
            Exception: whatever `work` raises.
        """
        context = contextvars.copy_context()
        # No name for the future: the trace of an error holds this frame, and the future holds the error.
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: context.run(work, *arguments, **named)
        )


class Stopwatch:
    """Measures the processor's time that work takes, in whichever thread it is done."""

    def __init__(self) -> None:
        self._done_s = 0.0
        self._began: float | None = None

    @property
    def seconds(self) -> float:
        """How long the work has taken; of work that is under way in another thread, about."""
        return self._done_s + (0.0 if self._began is None else time.perf_counter() - self._began)

    def lap(self) -> float:
        """Return how many seconds the work has taken since this was asked before."""
        seconds, self._done_s = self.seconds, 0.0
        return seconds

    def timed(self, work: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Return what `work` returns, or raise what it raises."""
        self._began = time.perf_counter()
        before = time.thread_time()
        try:
            return work(*arguments, **named)
        finally:
            self._done_s += time.thread_time() - before
            self._began = None
