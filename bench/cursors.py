"""The cursors of a server: for each position in a list, the text that this server itself returns for this row."""

import datetime
import http.client
from collections.abc import Iterable

import orjson

from bench.cases import Cursors
from bench.documents import CURSORS
from bench.servers import Server
from bench.stock import Position

_MICROSECOND = datetime.timedelta(microseconds=1)


def cursors_of(server: Server, positions: Iterable[Position]) -> Cursors:
    """Request the cursor of each position from `server`; none if its cursors are the positions themselves."""
    texts = CURSORS.get(server.peer.dialect)
    if texts is None:
        return {}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        return {
            one: _cursor(connection, server.peer.path, texts[one.list_name], one) for one in dict.fromkeys(positions)
        }
    finally:
        connection.close()


def _cursor(connection: http.client.HTTPConnection, path: str, text: str, position: Position) -> str:
    # Rows are found by their instant, which nearly always identifies them, and then by their id.
    until = position.created_at + _MICROSECOND
    variables = {"since": position.created_at.isoformat(), "until": until.isoformat()}
    body = orjson.dumps({"query": text, "variables": variables})
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    answer = orjson.loads(connection.getresponse().read())
    for edge in answer["data"]["rows"]["edges"]:
        if str(edge["node"]["id"]).rpartition("_")[2] == str(position.id):
            cursor: str = edge["cursor"]
            return cursor
    raise RuntimeError(f"no row {position} in {answer}")
