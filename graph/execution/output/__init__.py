"""The response data of a run: generated functions on the fast path, completion with error paths after a failure."""
