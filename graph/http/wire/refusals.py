"""Refusals below ASGI: complete responses, written before a request is a request."""

import orjson

from graph.http.wire.uvicorn_adapter import STATUS_LINE


def refusal(status: int, code: str, message: str) -> bytes:
    """Return the bytes of a response with one error, which ends the connection."""
    body = orjson.dumps({"errors": [{"message": message, "extensions": {"code": code}}]})
    head = b"content-type: application/json; charset=utf-8\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
    return STATUS_LINE[status] + head % len(body) + body
