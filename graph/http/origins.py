"""Cross-origin requests (CORS, https://fetch.spec.whatwg.org/#http-cors-protocol): which origins may call.

A page of an allowed origin may send any header: client libraries add custom headers, and no header grants a right.
Folio uses no cookies, so that no page can act for a user without that user's access token.
"""

from dataclasses import replace

from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from db.settings import Settings
from graph.http.responses.response import VARY, Response

# Pages on the developer's own machine, on any port: front-end tools choose it.
LOCAL_ORIGINS = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?"

# Response headers that pages may read, besides the headers that CORS always allows.
EXPOSED_HEADERS = (
    "allow",
    "etag",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "traceresponse",
    "www-authenticate",
    "x-request-id",
)


def allowed_origins(settings: Settings) -> list[str]:
    """Return the origins that the settings name."""
    return [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]


def allows_local(settings: Settings) -> bool:
    """Return whether pages on the same machine may call: in development, where the settings name no origins."""
    return settings.env == "development" and not allowed_origins(settings)


def allows_any(settings: Settings) -> bool:
    """Return whether pages of any other origin may call."""
    return allows_local(settings) or bool(allowed_origins(settings))


class Cors(CORSMiddleware):
    """Starlette's CORS middleware with Folio's settings."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        super().__init__(
            app,
            allow_origins=allowed_origins(settings),
            allow_origin_regex=LOCAL_ORIGINS if allows_local(settings) else None,
            allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],  # the last two for streams of events
            allow_headers=["*"],  # a preflight is allowed the headers that it requests
            allow_private_network=True,
            expose_headers=EXPOSED_HEADERS,
        )


class Preflights(Cors):
    """Answers preflights, and passes all other requests on: the pipeline adds the headers of their responses."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class Origins:
    """Adds the headers that let pages of allowed origins read a response."""

    def __init__(self, settings: Settings) -> None:
        self._cors = Cors(_nothing, settings) if allows_any(settings) else None

    def may_open(self, origin: bytes | None, host: bytes | None) -> bool:
        """Return whether a page of `origin` may open a WebSocket at `host`; None means another program than a browser.

        Browsers send no preflight for a WebSocket, and let any page open one (RFC 6455, section 10.2).
        """
        if origin is None:
            return True
        name = origin.decode("latin-1")
        if host is not None and name.lower().partition("://")[2] == host.decode("latin-1").strip().lower():
            return True
        return self._cors is not None and self._cors.is_allowed_origin(name)

    def shared(self, answer: Response, origin: bytes | None) -> Response:
        """Return the response with those headers, as to a page of `origin`; None if no page is known to call.

        A response to POST without an origin needs no call: no cache stores it, so that it needs no `vary: origin`.
        """
        cors = self._cors
        if cors is None:
            return answer
        headers = MutableHeaders({"vary": VARY, **answer.headers})
        name = (origin or b"").decode("latin-1")
        if origin is not None:
            headers.update(cors.simple_headers)
        if origin is not None and not cors.allow_all_origins and cors.is_allowed_origin(name):
            cors.allow_explicit_origin(headers, name)
        else:
            headers["vary"] = f"{headers['vary']}, Origin"
        return replace(answer, headers=dict(headers))


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """Stand for the application of a middleware that is used only for its rules."""
