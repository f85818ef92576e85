"""Content codings (RFC 9110, 8.4 and 12.5.3): which clients get compressed responses, and which bodies are accepted."""

import gzip
import tracemalloc
import zlib
from typing import Any

import orjson
import pytest

from db.connections.leases import Driver
from db.settings import Settings
from graph.http.parsing.head import Head
from graph.http.parsing.requests import HttpRefused
from graph.http.responses.codings import decoded
from tests.graph.support.callers import Client
from tests.graph.support.raw import answered, query_body, request, via_asgi
from tests.graph.support.rights_data import dump
from tests.graph.support.served_app import ALIVE, is_alive, served

SCHEMA = query_body("{ __schema { types { name description } } }")
ENDPOINTS = ("direct", "asgi")
LIMIT = 100_000

# ---------------------------------------------------------------- answers

WANT_GZIP = (
    *("gzip", "GZIP", "x-gzip", "*", "gzip, deflate, br, zstd", "br;q=1.0, gzip;q=0.8, *;q=0.1", "gzip;q=0.001"),
    *("identity;q=0.5, gzip;q=0.5", "identity;q=0, gzip", "*;q=0.5", "gzip ; q=1", "br, *", "identity;q=0, *"),
    'gzip;note="a, b;q=0"',
)
WANT_NO_GZIP = (
    *("", "identity", "gzip;q=0", "gzip; q=0.000", "GZIP;Q=0", "*;q=0", "gzip;q=0, *", "br", "br, identity;q=0.5"),
    *("identity, gzip;q=0.5", "gzip;q=0, deflate", "gzip;q=nonsense", "gzipped", 'br;note="gzip"', "*;q=0, gzip;q=0"),
)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_answer_is_compressed_for_the_clients_that_want_it(client: Client, endpoint: str) -> None:
    for accept in (*WANT_GZIP, *WANT_NO_GZIP):
        raw = request(SCHEMA, f"accept-encoding: {accept}")
        lines, body, _ = await answered(client, raw if endpoint == "direct" else via_asgi(raw))
        is_compressed = "content-encoding: gzip" in lines
        assert (accept, is_compressed) == (accept, accept in WANT_GZIP)
        assert "vary: accept, authorization, Accept-Encoding" in lines
        assert orjson.loads(gzip.decompress(body) if is_compressed else body)["data"]["__schema"]["types"]


async def test_everything_else_is_compressed_by_the_same_rule(client: Client) -> None:
    page = await client.http.get("/metrics")
    assert len(page.content) > 2048
    for accept in (*WANT_GZIP, *WANT_NO_GZIP):
        answer = await client.http.get("/metrics", headers={"accept-encoding": accept})
        assert (accept, answer.headers.get("content-encoding")) == (accept, "gzip" if accept in WANT_GZIP else None)
        assert "folio_" in answer.text


async def test_several_lines_of_accept_encoding_are_one_list(client: Client) -> None:
    for lines, coding in ((("br", "gzip"), True), (("gzip;q=0", "br"), False)):
        raw = request(SCHEMA, *(f"accept-encoding: {line}" for line in lines))
        for one in (raw, via_asgi(raw)):
            assert ("content-encoding: gzip" in (await answered(client, one))[0]) is coding


# ---------------------------------------------------------------- bodies


def raw_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(body) + stream.flush()


BODY = query_body("{ __typename }")
CODED = {
    "gzip": gzip.compress(BODY),
    "GZIP": gzip.compress(BODY),
    "x-gzip": gzip.compress(BODY),
    " gzip ,": gzip.compress(BODY),
    "identity, gzip": gzip.compress(BODY),
    "deflate": zlib.compress(BODY),
    "Deflate": raw_deflate(BODY),
    "identity": BODY,
    "": BODY,
}


def coded(body: bytes, coding: str, endpoint: str) -> bytes:
    raw = request(body, f"content-encoding: {coding}")
    return raw if endpoint == "direct" else via_asgi(raw)


async def refusal(client: Client, raw: bytes) -> tuple[str, str, Any, list[str]]:
    """Send a request that is refused; return the code, the message, the status line and the other lines."""
    lines, body, _ = await answered(client, raw)
    [error] = orjson.loads(body)["errors"]
    [status] = [line for line in lines if line.startswith("HTTP/")]
    return error["extensions"]["code"], error["message"], status, lines


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("coding", CODED)
async def test_compressed_body_is_read(client: Client, coding: str, endpoint: str) -> None:
    lines, body, _ = await answered(client, coded(CODED[coding], coding, endpoint))
    assert ("HTTP/1.1 200 OK" in lines, orjson.loads(body)) == (True, ALIVE)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "gzip, deflate", "aws-chunked", "gzip2"])
async def test_other_codings_are_refused_and_the_accepted_ones_named(
    client: Client, superuser: Driver, coding: str, endpoint: str
) -> None:
    before = await dump(superuser)
    code, message, status, lines = await refusal(client, coded(gzip.compress(BODY), coding, endpoint))
    assert status == "HTTP/1.1 415 Unsupported Media Type"
    assert "accept-encoding: gzip, deflate" in lines
    assert (code, message) == (
        "UNSUPPORTED_CONTENT_ENCODING",
        "Content-Encoding should be gzip or deflate, once, or absent",
    )
    assert await dump(superuser) == before


BROKEN = {
    "no gzip": ("gzip", BODY),
    "nothing": ("gzip", b""),
    "no end": ("gzip", gzip.compress(BODY)[:-3]),
    "a wrong checksum": ("gzip", gzip.compress(BODY)[:-8] + b"\0" * 8),
    "more behind it": ("gzip", gzip.compress(BODY) + b" "),
    "two streams": ("gzip", gzip.compress(BODY) * 2),
    "no deflate": ("deflate", BODY),
    "half of deflate": ("deflate", zlib.compress(BODY)[:10]),
}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("what", BROKEN)
async def test_body_that_does_not_match_its_coding_is_refused(client: Client, what: str, endpoint: str) -> None:
    coding, body = BROKEN[what]
    code, message, status, _ = await refusal(client, coded(body, coding, endpoint))
    assert (code, status) == ("BAD_REQUEST", "HTTP/1.1 400 Bad Request")
    assert message == f"Content-Encoding says {coding}, but the body is not one complete {coding} stream"


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(("coding", "compress"), [("gzip", gzip.compress), ("deflate", raw_deflate)])
async def test_size_of_a_body_is_its_decompressed_size(
    settings: Settings, coding: str, compress: Any, endpoint: str
) -> None:
    async with served(settings, body_bytes_max=LIMIT) as client:
        _, body, _ = await answered(client, coded(compress(BODY.ljust(LIMIT)), coding, endpoint))
        assert orjson.loads(body) == ALIVE
        for size in (LIMIT + 1, 50_000_000):
            code, message, status, _ = await refusal(client, coded(compress(BODY.ljust(size)), coding, endpoint))
            # the reason phrase depends on the Python version
            assert (code, status.split()[1]) == ("BODY_TOO_LARGE", "413")
            assert message == f"the body has more than the {LIMIT} bytes that are allowed; send less at once"
        assert await is_alive(client)


@pytest.mark.parametrize(("coding", "compress"), [("gzip", gzip.compress), ("deflate", raw_deflate)])
def test_bomb_is_inflated_no_further_than_the_limit(coding: str, compress: Any) -> None:
    bomb = compress(bytes(100_000_000))
    head = Head([(b"content-encoding", coding.encode())])
    tracemalloc.start()
    try:
        with pytest.raises(HttpRefused) as caught:
            decoded(head, bomb, LIMIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.status == 413
    assert peak < len(bomb) + 5 * LIMIT
