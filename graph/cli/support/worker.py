"""What a process serves, and nothing that a command needs: each worker of `folio serve` imports this."""

import gc
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time

from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE

from db.settings import Settings, SettingsError
from graph.app import create_app

logger = logging.getLogger(__name__)

# How long running requests may take to finish when the process is to end.
DRAIN_S = 30
# And after that, at the most, PostgreSQL to stop that was started for it.
END_LIMIT_S = 2 * DRAIN_S

# Operations leave nothing to the cycle collector (tests/graph/runtime/test_garbage.py). So it seldom starts, and is
# there for what others leave, as a closed connection. Measured with a full cache of operations, 380,000 objects that
# are not frozen, on operations of one row, of lists and of failing fields, 16 and 64 at a time:
#   (700, 10, 10), Python's own: a full collection each second, of 450 to 560 ms; lists take twice the time.
#   (10_000, 10, 10): in 200 wide lists nine of the youngest, of 2 ms, and one of 8 ms; time as without any.
#   (70_000, 10, 10): none at all; what nobody expects to be left stays seven times as long.
# With each of them the process kept within 15 MiB of its 191. Under the floods of tests/graph/http/test_memory.py it
# grows by 27 to 43 MiB. A full collection takes 390 ms, and needs a million new objects, as when the cache is filled
# anew.
GC_THRESHOLDS = (10_000, 10, 10)

# How long the event loop waits for the interpreter's lock while the worker thread (`graph.runtime.worker_thread`) holds
# it. Python's own 5 ms would add up over the several waits of a request.
SWITCH_S = 0.001


def worker_app() -> FastAPI:
    """Return the application of one of several workers, which ends when its supervisor is gone.

    Where a setting cannot be used, it ends the process in the way that ends the supervisor, too: any other worker would
    come to the same end, and be started again and again.
    """
    _end_after_supervisor()
    try:
        return served_app()
    except SettingsError as error:
        logger.error("%s", error)  # noqa: TRY400 - the trace says nothing more
        sys.exit(STARTUP_FAILURE)


def _end_after_supervisor() -> None:
    """Let this process drain and end when its supervisor has died without a word, as by SIGKILL.

    It would go on to serve, and hold the port, and nobody would replace it or tell it to stop. Nor would anybody kill
    it where it hangs and does not drain: it does that itself.
    """
    supervisor = multiprocessing.parent_process()
    if supervisor is None:
        return

    def watch() -> None:
        supervisor.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(END_LIMIT_S)
        os._exit(1)

    threading.Thread(target=watch, name="supervisor watch", daemon=True).start()


def served_app(settings: Settings | None = None) -> FastAPI:
    """Return the application for a process that does nothing but serve it.

    Python's cycle collector looks at every object that is alive, again and again: at the schema and at the rows of all
    operations under way. Here almost everything is freed by its reference count. So what is there before the first
    request is left out, and the collector comes less often.

    Raises:
        SettingsError: no settings are given, and one of the environment cannot be used.
    """
    app = create_app(settings)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_S)
    return app
