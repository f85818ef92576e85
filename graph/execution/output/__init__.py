"""The response data of a run: generated functions on the fast path, completion with error paths after a failure.

It takes resolved frames or loaded rows and returns data and errors. It calls no loader and no resolver.
"""
