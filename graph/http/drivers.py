"""The two drivers of the pipeline: they wait for what it yields, by callback or in a task.

Each request starts with the callback driver. The machinery of a task (the task, a dozen nested coroutines, a future,
and three turns of the event loop) costs more than a small query. A request that waits only for reads needs none of it:
it starts in the turn in which it arrives, and continues in the turn in which the rows arrive. The first step that needs
a task starts one, and the request continues there to its end.

Both drivers keep the deadline of the request, which lies in the pipeline's hands only as a property of its steps.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from graph.http.admission.control import AdmissionControl, Deadline
from graph.http.call import Call
from graph.http.responses.response import Response
from graph.http.steps import Arrived, Read, Steps, Work

logger = logging.getLogger(__name__)


class CallbackDriver(Deadline):
    """Drives one request by callbacks, until it has its response or needs a task. It is its deadline, too.

    Subclasses decide what happens then.

    Attributes:
        owner: the object through which a subclass responds.
        call: the request.
        steps: the request in the pipeline.
    """

    def __init__(self, owner: Any, admission: AdmissionControl, call: Call, steps: Steps) -> None:
        # Without a call of the class above: a wait sets the rest.
        self.owner = owner
        self.call = call
        self.steps = steps
        self.after_s = admission.deadline_s
        self._timers = admission.timers
        self._receive = call.receive

    def on_response(self, answer: Response) -> None:
        """Send the response."""
        raise NotImplementedError

    def on_work(self, work: Work) -> None:
        """Start a task that continues the steps with this work (`in_task`)."""
        raise NotImplementedError

    def on_bug(self) -> None:
        """End the connection: the pipeline or a method above has raised an exception, which is logged."""
        raise NotImplementedError

    def advance(self, step: Callable[[Any], Read | Work], value: Any = None) -> None:
        """Start the request with `steps.send`, or continue it with this or `steps.throw`; both take the value."""
        try:
            try:
                wait = step(value)
            except StopIteration as done:
                self.on_response(done.value)
                return
            if isinstance(wait, Work):
                self.on_work(wait)
                return
        except Exception:
            logger.exception("a request was not answered")
            self.on_bug()
            return
        self._is_over = False
        self._final = self._watcher = None
        self._due = self.call.started + self.after_s
        loop = asyncio.get_running_loop()
        if self._due <= loop.time():  # earlier steps, or the arrival of the request, have used all its time
            self.advance(self.steps.throw, self._refusal(None))
            return
        self._reading = wait.reading
        self._timers.set(self, loop)
        wait.reading.subscribe(self, wait.caller)

    def on_result(self, answer: Any, error: Exception | None, elapsed_ns: int) -> None:
        """Continue with the outcome of the read."""
        if not self._is_over:
            if self._timers.pending.pop(self, None) is None:
                self.stop()  # it lasted longer than the first interval
            self.advance(self.steps.send, Arrived(answer, error, elapsed_ns))

    def _end(self) -> None:
        """End the wait: the deadline has passed, or the client has disconnected."""
        if not self._is_over:
            self.stop()
            self._is_over = True
            self._reading.unsubscribe(self)
            self.advance(self.steps.throw, self._refusal(None))


async def in_task(admission: AdmissionControl, call: Call, steps: Steps, wait: Read | Work | None = None) -> Response:
    """Drive a request in the current task, from its start or from the step `wait`, and return its response.

    Raises:
        asyncio.CancelledError: the task was cancelled from outside; the pipeline has noted it.
    """
    try:
        if wait is None:
            wait = steps.send(None)
        while True:
            try:
                value = await _waited(admission, call, wait)
            except BaseException as error:  # noqa: BLE001 - the pipeline decides what each exception means
                wait = steps.throw(error)
            else:
                wait = steps.send(value)
    except StopIteration as done:
        response: Response = done.value
        return response


async def _waited(admission: AdmissionControl, call: Call, wait: Read | Work) -> Any:
    if isinstance(wait, Read):
        with admission.deadline(call.started, call.receive, abandon=True):
            return await _arrived(wait)
    limit = admission.deadline(call.started, call.receive, abandon=wait.is_abandoned) if wait.is_limited else None
    with limit or nullcontext():
        return await wait.start()


class _TaskSubscriber:
    """Subscribes to a read for a task."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[Arrived] = asyncio.get_running_loop().create_future()

    def on_result(self, answer: Any, error: Exception | None, elapsed_ns: int) -> None:
        """Pass the outcome to the task."""
        if not self.future.done():
            self.future.set_result(Arrived(answer, error, elapsed_ns))


async def _arrived(wait: Read) -> Arrived:
    subscriber = _TaskSubscriber()
    wait.reading.subscribe(subscriber, wait.caller)
    try:
        return await subscriber.future
    finally:
        if subscriber.future.cancelled():
            wait.reading.unsubscribe(subscriber)
