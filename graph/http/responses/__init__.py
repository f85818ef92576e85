"""Responses: media types, statuses, headers, contents and their size limit.

It takes results and refusals, and offers a `Response` and its encoded forms. It runs nothing.
"""
