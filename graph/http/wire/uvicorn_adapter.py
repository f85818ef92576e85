"""What Folio uses of uvicorn beyond its public API. No other module of `graph.http` imports uvicorn.

The protocols of `graph.http.wire.protocol` and `graph.http.direct` extend `UvicornProtocol`, and use attributes and
callbacks that uvicorn does not promise to keep. `tests/graph/http/wire/test_uvicorn_adapter.py` fails, and says what is
missing, where uvicorn has changed one of them.
"""

from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

__all__ = ["STATUS_LINE", "RequestResponseCycle", "UvicornProtocol", "innermost"]


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
