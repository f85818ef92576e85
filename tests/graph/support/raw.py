"""Requests as bytes, and what comes back, byte by byte."""

import asyncio
import re

import orjson

from tests.graph.support.callers import Client
from tests.graph.support.edge import sent

# uvicorn acts on it, so that a request which has it takes the long way; it changes nothing else.
LONG_WAY = "x-forwarded-proto: http\r\n"


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


def asked(query: str, **rest: object) -> bytes:
    """Return the body that asks for `query`."""
    return orjson.dumps({"query": query, **rest})


def detoured(raw: bytes) -> bytes:
    """Return the same request so that it takes the long way."""
    line, end, rest = raw.partition(b"\r\n")
    return line + end + LONG_WAY.encode() + rest


async def answered(client: Client, raw: bytes) -> tuple[list[str], bytes, bool]:
    """Send one request; return the lines of the answer's head in order, its body, and whether the connection ended."""
    async with sent(client, raw) as reader, asyncio.timeout(10):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"content-length: (\d+)", head)
        assert length is not None
        body = await reader.readexactly(int(length[1]))
        try:
            async with asyncio.timeout(0.1):
                ended = await reader.read(1) == b""
        except TimeoutError:
            ended = False
    known = re.sub(r"(x-request-id: |traceresponse: |date: )[^\r]*", r"\1…", head)
    body = re.sub(rb"the headers have \d+ bytes", b"the headers have too many bytes", body)
    return sorted(known.strip().split("\r\n")), body, ended
