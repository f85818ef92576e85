"""Requests as bytes, and their responses, byte by byte."""

import asyncio
import re

import orjson

from tests.graph.support.callers import Client
from tests.graph.support.served_app import opened

# uvicorn evaluates this header, so that a request with it takes the ASGI endpoint; it changes nothing else.
ASGI_HEADER = "x-forwarded-proto: http\r\n"
ANOTHER = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"


def request(body: bytes, *lines: str, version: str = "1.1", content_type: str = "application/json") -> bytes:
    """Return the bytes of a POST."""
    head = [
        f"POST /graphql HTTP/{version}",
        "host: localhost",
        f"content-type: {content_type}",
        f"content-length: {len(body)}",
        *lines,
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def query_body(query: str, **rest: object) -> bytes:
    """Return the request body of `query`."""
    return orjson.dumps({"query": query, **rest})


def via_asgi(raw: bytes) -> bytes:
    """Return the same request, made to take the ASGI endpoint."""
    line, end, rest = raw.partition(b"\r\n")
    return line + end + ASGI_HEADER.encode() + rest


async def answered(client: Client, raw: bytes) -> tuple[list[str], bytes, bool]:
    """Send one request; return the sorted lines of the response's head, its body, and whether the connection ended."""
    async with opened(client, raw) as (reader, writer), asyncio.timeout(10):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"content-length: (\d+)", head)
        assert length is not None
        body = await reader.readexactly(int(length[1]))
        writer.write(ANOTHER)  # it is answered, unless the connection has ended
        try:
            ended = await reader.read(1) == b""
        except ConnectionError:
            ended = True
    known = re.sub(r"(x-request-id: |traceresponse: |date: )[^\r]*", r"\1…", head)
    body = re.sub(rb"the headers have \d+ bytes", b"the headers have too many bytes", body)
    return sorted(known.strip().split("\r\n")), body, ended
