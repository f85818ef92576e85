"""What Folio uses of uvicorn beyond its public API. No other module imports one of these names.

The protocols of `graph.http.wire.protocol` and `graph.http.direct` extend `UvicornProtocol`, and use attributes and
callbacks that uvicorn does not promise to keep. `tests/graph/http/wire/test_uvicorn_adapter.py` fails and names what is
missing if uvicorn has changed one of them, `tests/house/test_dependencies.py` if a name is missing.
"""

import asyncio
from typing import Any
from urllib.parse import unquote

from uvicorn._types import ASGI3Application
from uvicorn.config import STARTUP_FAILURE
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process
from uvicorn.supervisors.statreload import StatReload

__all__ = [
    "STARTUP_FAILURE",
    "STATUS_LINE",
    "Multiprocess",
    "Process",
    "RequestResponseCycle",
    "ServerState",
    "StatReload",
    "UvicornProtocol",
    "innermost",
    "socket_scope",
]


class UvicornProtocol(HttpToolsProtocol):
    """uvicorn's protocol for HTTP/1.1, with public names for what its private methods do."""

    def stop_keep_alive(self) -> None:
        """Stop the timer that runs between two requests."""
        self._unset_keepalive_if_required()

    def on_started(self, cycle: RequestResponseCycle) -> None:
        """Know that the application begins to answer the request of `cycle`."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self.on_started(cycle)
        super()._start_asgi_task(cycle, app)


def innermost(app: Any) -> Any:
    """Return the application that uvicorn was given, without the middleware that uvicorn puts around it."""
    return app.app if isinstance(app, ProxyHeadersMiddleware) else app


def socket_scope(
    transport: asyncio.Transport,
    target: bytes,
    headers: list[tuple[bytes, bytes]],
    extensions: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """Return the ASGI scope of a WebSocket, as uvicorn's own protocol makes it."""
    path, _, query_string = target.partition(b"?")
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "wss" if is_ssl(transport) else "ws",
        "server": get_local_addr(transport),
        "client": get_remote_addr(transport),
        "root_path": "",
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "query_string": query_string,
        "headers": headers,
        "subprotocols": [],
        "state": {},
        "extensions": extensions,
    }
