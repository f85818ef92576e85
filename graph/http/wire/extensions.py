"""Extensions of the ASGI scope: facts about a request that ASGI does not define."""

import asyncio
from functools import partial

from starlette.types import Message, Receive, Scope

# `s`: the arrival of the request's first byte, in seconds of the event loop's clock.
BEGAN = "folio.began"
# `event`: is set when the client has disconnected.
LEFT = "folio.left"
# `socket`: the WebSocket of the scope (`graph.http.wire.websocket`).
SOCKET = "folio.socket"


def extensions(began_at: float, left: asyncio.Event) -> dict[str, dict[object, object]]:
    """Return the extensions for a scope."""
    return {BEGAN: {"s": began_at}, LEFT: {"event": left}}


def began_at(scope: Scope) -> float | None:
    """Return the arrival of a request's first byte, in seconds of the event loop's clock; None if it is unknown."""
    known: float | None = (scope.get("extensions") or {}).get(BEGAN, {}).get("s")
    return known


def disconnect_receiver(scope: Scope) -> Receive | None:
    """Return a receiver that waits for the client's disconnection; None if the server provides only ASGI."""
    known = (scope.get("extensions") or {}).get(LEFT)
    return None if known is None else partial(wait_for_disconnect, known["event"])


async def wait_for_disconnect(event: asyncio.Event) -> Message:
    """Wait for `event`, and return ASGI's message about a disconnected client."""
    await event.wait()
    return {"type": "http.disconnect"}
