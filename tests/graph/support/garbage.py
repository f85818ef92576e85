"""What a stretch of code leaves to the cycle collector."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def left_behind() -> Iterator[set[str]]:
    """Give a set that holds afterwards the names of the types of what only the cycle collector could take away."""
    left: set[str] = set()
    gc.collect()
    gc.freeze()  # what was there before is not looked at again, which takes time
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
        gc.unfreeze()
