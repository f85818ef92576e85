"""The thread for work that would block the event loop for long: large documents, large bodies, large responses.

Python runs one thread at a time, and switches to a waiting thread within milliseconds (`graph.cli.support.worker`). So
the event loop continues with other requests while a large one is parsed or encoded here. One thread is enough: two
would not get more of the processor together, and would take it from the loop.
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
    """Runs functions one after another, in the order of the calls."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="worker")

    def close(self) -> None:
        """Stop the thread after the current function. Waiting functions are not run."""
        self._thread.shutdown(cancel_futures=True)

    async def run(self, work: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Run `work` in the thread, and return its result. It may still run after the caller was cancelled.

        Raises:
            Exception: any exception of `work`.
        """
        context = contextvars.copy_context()
        # The future has no name here: an error's traceback holds this frame, and the future holds the error: a cycle.
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: context.run(work, *arguments, **named)
        )


class Stopwatch:
    """Measures the processor time of work, in any thread."""

    def __init__(self) -> None:
        self._done_s = 0.0
        self._began: float | None = None

    @property
    def seconds(self) -> float:
        """The time of all work so far; for work still running in another thread, approximately."""
        return self._done_s + (0.0 if self._began is None else time.perf_counter() - self._began)

    def lap(self) -> float:
        """Return the seconds of work since the last call of this method."""
        seconds, self._done_s = self.seconds, 0.0
        return seconds

    def timed(self, work: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Run `work`, measure its time, and return its result."""
        self._began = time.perf_counter()
        before = time.thread_time()
        try:
            return work(*arguments, **named)
        finally:
            self._done_s += time.thread_time() - before
            self._began = None
