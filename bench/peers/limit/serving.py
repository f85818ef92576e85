"""What the hand-written peers share: a bare ASGI application, and prepared statements on eight connections."""

import asyncio
import datetime
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson
import uvicorn

POOL_SIZE = 8

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
# Returns the body of the response to a case, from its variables and the caller's token.
Answer = Callable[[str, Any, str], Awaitable[bytes]]


@dataclass
class Held:
    """A connection, and its prepared statements, by the name of the case and the lengths of its pages."""

    connection: Any
    prepared: dict[tuple[object, ...], Any] = field(default_factory=dict)


_idle: "asyncio.LifoQueue[Held]" = asyncio.LifoQueue()


async def fetch(name: str, text: str, *values: object, **lengths: int) -> list[Any]:
    """Run the statement `text`, which is prepared for each combination of `lengths`."""
    held = await _idle.get()
    try:
        key = (name, *lengths.values())
        statement = held.prepared.get(key)
        if statement is None:
            statement = held.prepared[key] = await held.connection.prepare(text.format(**lengths))
        rows: list[Any] = await statement.fetch(*values)
        return rows
    finally:
        _idle.put_nowait(held)


def position(cursor: str) -> tuple[datetime.datetime, int]:
    """Return the instant and the id of a cursor."""
    when, _, id_ = cursor.partition(",")
    return datetime.datetime.fromisoformat(when), int(id_)


def serve(answer: Answer, prepare: str = "") -> None:
    """Serve until the process is terminated. `prepare` is executed on each new connection."""

    async def live(receive: Receive, send: Send) -> None:
        await receive()
        for _ in range(POOL_SIZE):
            connection = await asyncpg.connect(
                os.environ["BENCH_DATABASE_URL"], server_settings={"jit": "off", "timezone": "UTC"}
            )
            if prepare:  # an empty statement would block the connection
                await connection.execute(prepare)
            _idle.put_nowait(Held(connection))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await live(receive, send)
            return
        message = await receive()
        body = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        request = orjson.loads(body)
        token = next((value for name, value in scope["headers"] if name == b"authorization"), b"")[7:].decode()
        content = await answer(request["operationName"], request["variables"], token)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    uvicorn.run(
        app,
        port=int(os.environ["BENCH_PORT"]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        server_header=False,
        log_level="warning",
    )
