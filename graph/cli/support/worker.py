"""The application of a serving process. Each worker of `folio serve` imports this module and none of the commands."""

import gc
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time

from fastapi import FastAPI

from db.settings import Settings, SettingsError
from graph.app import create_app
from graph.http.wire.uvicorn_adapter import STARTUP_FAILURE

logger = logging.getLogger(__name__)

# The time that running requests have to finish when the process ends.
DRAIN_S = 30
# The time limit for draining and for stopping the PostgreSQL server that was started for this process.
END_LIMIT_S = 2 * DRAIN_S

# Operations leave nothing to the cycle collector (tests/graph/runtime/test_garbage.py). So it runs rarely, for garbage
# of other code, such as a closed connection. Measured with a full cache of operations, 380,000 objects that are not
# frozen, on operations of one row, of lists and of failing fields, 16 and 64 at a time:
#   (700, 10, 10), Python's default: a full collection each second, of 450 to 560 ms; lists take twice the time.
#   (10_000, 10, 10): in 200 wide lists nine collections of the youngest generation, of 2 ms, and one of 8 ms; the time
#     is the same as without collections.
#   (70_000, 10, 10): no collection at all; unexpected garbage stays seven times as long.
# With each of them the process stayed within 15 MiB of its 191 MiB. Under the floods of
# tests/graph/http/test_memory.py it grows by 27 to 43 MiB. A full collection takes 390 ms, and needs a million new
# objects, for example when the cache is filled again.
GC_THRESHOLDS = (10_000, 10, 10)

# The time that the event loop waits for the interpreter's lock while the worker thread (`graph.runtime.worker_thread`)
# holds it. Python's default of 5 ms would add up over the several waits of a request.
SWITCH_S = 0.001


def worker_app() -> FastAPI:
    """Return the application of one of several workers. The worker ends when its supervisor is gone.

    If a setting is invalid, the process exits with the status that also ends the supervisor: any other worker would
    fail in the same way, and would be restarted without end.
    """
    _end_after_supervisor()
    try:
        return served_app()
    except SettingsError as error:
        logger.error("%s", error)  # noqa: TRY400 - the traceback adds nothing
        sys.exit(STARTUP_FAILURE)


def _end_after_supervisor() -> None:
    """Let this process drain and end when its supervisor has died without notice, for example by SIGKILL.

    Otherwise it would continue to serve and hold the port, and nothing would replace or stop it. If it hangs and does
    not drain, it also kills itself after END_LIMIT_S.
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
    """Return the application for a process that only serves it, and tune the cycle collector.

    Python's cycle collector visits every live object repeatedly: the schema, and the rows of all running operations.
    In this process reference counts free almost everything. So all objects that exist before the first request are
    frozen, and the collector runs less often.

    Raises:
        SettingsError: `settings` is None, and a setting of the environment is invalid.
    """
    app = create_app(settings)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_S)
    return app
