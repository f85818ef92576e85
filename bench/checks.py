"""Checks before a case is measured: its requests differ, and all servers answer the same rows."""

import uuid
from collections.abc import Mapping, Sequence

import orjson

from bench.cases import KEY, Case, missing, plain
from bench.servers import Server, send_request

Sent = tuple[str, bytes]  # the token and the body of one request
COMPARED = 20  # requests of each case whose responses are compared
SPARE = 2


def ensure_different(case: Case, sent: Sequence[Sent], connections: int) -> None:
    """Check that a case has the requests that its name promises.

    Raises:
        RuntimeError: requests of an `_each` case repeat or are too few, or requests of an `_equal` case differ.
    """
    different = len(set(sent))
    if case.equal and different != 1:
        raise RuntimeError(f"{case.name}: its requests differ")
    if not case.each:
        return
    if different < len(sent):
        raise RuntimeError(f"{case.name}: {len(sent) - different} of {len(sent)} requests repeat another one")
    if different < SPARE * connections:
        raise RuntimeError(
            f"{case.name}: {different} different requests are too few for {connections} connections; seed more rows"
        )


def compared(case: Case, servers: Sequence[Server], sent: Mapping[str, Sequence[Sent]]) -> dict[str, int]:
    """Check that all servers return the same data without gaps, and return the size of each one's smallest response.

    Args:
        case: the case.
        servers: the servers that take part.
        sent: by the name of a peer, its requests; those of all peers are for the same rows, in the same order.

    Raises:
        RuntimeError: a response has an error, a null or an empty list, or differs from that of the first server.
    """
    sizes: dict[str, int] = {}
    expected: list[object] = []
    for server in servers:
        answers = [send(server, *one) for one in sent[server.peer.name][:COMPARED]]
        found = [plain(orjson.loads(answer)) for answer in answers]
        expected = expected or found
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            place = f"{case.name}: {server.peer.title}, request {number}"
            if "errors" in one:
                raise RuntimeError(f"{place} has errors: {one}")
            if gap := missing(one["data"]):
                raise RuntimeError(f"{place} has nothing at {gap}: {one}")
            if one != other:
                raise RuntimeError(f"{place} answers\n{one}\nand {servers[0].peer.title}\n{other}")
        sizes[server.peer.name] = min(map(len, answers))
    return sizes


def send(server: Server, token: str, body: bytes) -> bytes:
    """Send one request of a case, with a new key, and return the body of its response."""
    return send_request(server, body.replace(KEY.encode(), str(uuid.uuid4()).encode()), token)
