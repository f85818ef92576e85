"""One run of a plan: its frames, the values of its fields, and the loader calls of each level.

It takes a plan, variables and a context, and offers resolved frames to `output`. It makes no plan and no response data.
"""
