"""What the server says of a request beyond ASGI, as extensions of its scope."""

import asyncio
from functools import partial

from starlette.types import Message, Receive, Scope

# It says when the first byte of the request came, in `s`.
BEGAN = "folio.began"
# It has an `event`, which is set when the client has left.
LEFT = "folio.left"


def extensions(began_at: float, left: asyncio.Event) -> dict[str, dict[object, object]]:
    """Return the extensions of a scope."""
    return {BEGAN: {"s": began_at}, LEFT: {"event": left}}


def began(scope: Scope) -> float | None:
    """Return when the first byte of a request came, by the event loop's clock; None where the server does not say."""
    known: float | None = (scope.get("extensions") or {}).get(BEGAN, {}).get("s")
    return known


def leaving(scope: Scope) -> Receive | None:
    """Return what tells when the client of a request has left; None where the server does not say more than ASGI."""
    known = (scope.get("extensions") or {}).get(LEFT)
    return None if known is None else partial(told_left, known["event"])


async def told_left(event: asyncio.Event) -> Message:
    """Return, when `event` is set, what ASGI tells of a client that has left."""
    await event.wait()
    return {"type": "http.disconnect"}
