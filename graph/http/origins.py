"""Which pages of other origins may call (CORS, https://fetch.spec.whatwg.org/#http-cors-protocol).

A page of an allowed origin may send every header: each client library has some of its own, and none of them gives a
right. Nothing here is known by a cookie, so that no page can act for a user whose access token it does not have.
"""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from db.settings import Settings

# What a developer's own machine serves, on whatever port a front end's tools have chosen.
LOCAL_ORIGINS = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?"

# What an answer tells in its headers beside what every page may read.
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
    """Return the origins that are named."""
    return [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]


def allows_local(settings: Settings) -> bool:
    """Say whether pages of the same machine may call: in development, where no origins are named."""
    return settings.env == "development" and not allowed_origins(settings)


def allows_any(settings: Settings) -> bool:
    """Say whether a page of any other origin may call."""
    return allows_local(settings) or bool(allowed_origins(settings))


class Cors(CORSMiddleware):
    """What pages of the allowed origins may do."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        super().__init__(
            app,
            allow_origins=allowed_origins(settings),
            allow_origin_regex=LOCAL_ORIGINS if allows_local(settings) else None,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["*"],  # what a preflight asks for is what it is told
            allow_private_network=True,
            expose_headers=EXPOSED_HEADERS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Response a request, and tell pages of allowed origins that they may read the answer."""
        if (
            scope["type"] == "http"
            and scope["method"] == "POST"
            and all(name != b"origin" for name, _ in scope["headers"])
        ):
            # Nobody keeps its answer for others, so that it is the one that the short way in gives.
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)
