"""The garbage that a block of code leaves to the cycle collector."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collected_types() -> Iterator[set[str]]:
    """Yield a set that afterwards has the names of the types of objects that only the cycle collector could free."""
    left: set[str] = set()
    gc.collect()
    gc.freeze()  # for the rest of the run: later collections do not visit what has lived until now
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield left
        gc.collect()
        left |= {type(one).__name__ for one in gc.garbage}
    finally:
        gc.set_debug(0)
        gc.enable()
        gc.garbage.clear()
