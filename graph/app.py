"""The FastAPI application: `/graphql`, and for operators two probes and the metrics.

`/livez` succeeds if the process responds. `/readyz` succeeds if the database responds too, accepts writes, keeps what
it acknowledges, has the expected schema version, and no statement has recently met a full or broken disk.
`/metrics` is on the port that clients use, and shows names of operations and the load of the process. In production it
exists only where FOLIO_METRICS is set, which is safe behind a proxy that blocks the path for clients.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from db.connections.database import Database
from db.connections.server import durability, takes_writes
from db.errors import Unavailable
from db.events import Events
from db.ledger.group_commit import TransferGroups
from db.settings import Settings, load_settings
from db.setup.development import completed
from graph.http import GraphQLEndpoint, Pipeline
from graph.http.direct import DirectEndpoint
from graph.http.graphiql.front_page import front_routes
from graph.http.graphiql.page import asset_route
from graph.http.live.connections import LiveConnections
from graph.http.live.endpoint import LiveEndpoint
from graph.http.origins import Cors, Preflights, allows_any
from graph.http.responses.codings import Gzip
from graph.http.wire.open_connections import OpenConnections
from graph.operations.cache import Operations
from graph.operations.dispatch import COMPILED_FROM
from graph.operations.documents import Documents
from graph.runtime.context import Services
from graph.runtime.passwords import PasswordHasher
from graph.runtime.sweeping import swept
from graph.runtime.tokens import TokenSigner
from graph.runtime.worker_thread import WorkerThread
from graph.schema.root import graphql_schema
from graph.telemetry.gauges import Gauges
from graph.telemetry.metrics import PAGE_MEDIA_TYPE, Metrics
from graph.telemetry.observer import Observer

logger = logging.getLogger(__name__)

GRAPHQL_PATH = "/graphql"
METRICS_PATH = "/metrics"

# FastAPI's defaults that are switched off. The schema of this API is GraphQL's, not OpenAPI. A redirect for a trailing
# slash would lead to any host that the client names. FastAPI's own telemetry would record query strings, which contain
# the document and variables of a GET; `graph.telemetry` does not record them.
DISABLED: dict[str, Any] = {
    "openapi_url": None,
    "docs_url": None,
    "redoc_url": None,
    "redirect_slashes": False,
    "telemetry": {"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
}


class Application(FastAPI):
    """FastAPI's application, which calls the endpoint of `/graphql` without FastAPI's routing.

    FastAPI and Starlette run five middlewares, two exit stacks and a router around a route, which takes longer than
    most operations. The endpoint of `/graphql` needs none of them: it raises no exception, and it bounds bodies and
    compresses responses itself. Where the application is mounted below a path, the router finds the endpoint like any
    other route.

    Attributes:
        connections: the client connections, where the server counts them.
        direct: the entry point for requests without ASGI, where the server uses it (`graph.http.direct`).
    """

    graphql: ASGIApp
    connections: OpenConnections
    direct: DirectEndpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI scope: a request, or the server's lifespan."""
        if scope["type"] != "lifespan" and scope["path"] == GRAPHQL_PATH and not scope.get("root_path"):
            await self.graphql(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the application for `settings`; without them, for the settings of the environment.

    An ASGI server calls this function as a factory.

    Raises:
        SettingsError: a setting of the environment is invalid.
    """
    chosen = load_settings() if settings is None else settings
    operations = Operations(
        graphql_schema,
        introspection=chosen.shows("introspection"),
        suggestions=chosen.shows("suggestions"),
        compiled_from=COMPILED_FROM if chosen.engine == "compiled" else 0,
    )
    observer = Observer(chosen)
    pipeline = Pipeline(operations, Documents(chosen), chosen, observer)
    connections = OpenConnections(chosen)
    live = LiveEndpoint(pipeline, LiveConnections(chosen, connections.draining), chosen)
    endpoint = GraphQLEndpoint(pipeline, live)
    gauges = Gauges(operations, lambda: pipeline.admission.in_flight)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            services_for(chosen) as services,
            observer.watching(gauges, services.database),
            swept(services.database, chosen.refresh_token_ttl_s),
            live.connections.watching(services.database),
        ):
            app.state.services = pipeline.services = services
            pipeline.admission.parked = lambda: services.passwords.waiting
            yield

    app = Application(title="Folio", lifespan=lifespan, **DISABLED)
    app.state.observer, app.state.operations, app.state.live = observer, operations, live.connections
    app.router.routes.append(Route(GRAPHQL_PATH, endpoint=endpoint))
    app.router.routes += front_routes(GRAPHQL_PATH, leads_to_page=chosen.shows("graphiql"))
    if chosen.shows("graphiql"):
        app.router.routes.append(asset_route())
    if observer.metrics is not None:
        app.router.routes.append(_metrics_route(observer.metrics))
    _add_middleware(app, chosen)
    app.connections = connections
    app.graphql = Preflights(endpoint, chosen) if allows_any(chosen) else endpoint
    app.direct = DirectEndpoint(pipeline, GRAPHQL_PATH)
    _add_probes(app, pipeline)
    return app


def _add_probes(app: FastAPI, pipeline: Pipeline) -> None:
    @app.get("/livez")
    async def livez() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        problem = await _not_ready(pipeline.services.database)
        if problem is None:
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "unavailable", "reason": problem}, status_code=503, headers={"retry-after": "1"})


def _metrics_route(metrics: Metrics) -> Route:
    async def page(request: Request) -> Response:
        return Response(metrics.page(), media_type=PAGE_MEDIA_TYPE)

    return Route(METRICS_PATH, endpoint=page, methods=["GET"])


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """Add Starlette's middlewares for compression and CORS. Both are pure ASGI."""
    if settings.compress_bytes_min:
        app.add_middleware(Gzip, minimum_size=settings.compress_bytes_min, compresslevel=4)
    if allows_any(settings):
        app.add_middleware(Cors, settings=settings)


@asynccontextmanager
async def services_for(settings: Settings) -> AsyncIterator[Services]:
    """Open the services of the process, and in development, where no URL is set, the embedded database."""
    async with AsyncExitStack() as stack:
        # Starting and stopping PostgreSQL each block for a second or two: both run in a thread.
        completion = completed(settings)
        ready = await asyncio.to_thread(completion.__enter__)
        stack.push_async_callback(asyncio.to_thread, completion.__exit__, None, None, None)
        database = Database(ready)
        stack.push_async_callback(database.close)
        passwords = PasswordHasher(ready)
        stack.callback(passwords.close)
        worker = WorkerThread()
        stack.callback(worker.close)
        transfers = TransferGroups(database)
        await stack.enter_async_context(transfers.running())
        events = Events(database)
        await stack.enter_async_context(events.running())
        yield Services(ready, database, passwords, TokenSigner(ready), transfers, worker, events)


async def _not_ready(database: Database) -> str | None:
    try:
        applied, expected = await _revisions(database)
        writes = await takes_writes(database)
        promised = await durability(database)
    except Unavailable as error:
        return str(error)
    if database.counters.storage.problem is not None:
        return database.counters.storage.problem
    if not writes:
        return "the database accepts no writes: it is a replica, or set to read only"
    if promised.problem is not None and not promised.is_throwaway:
        return promised.problem
    if applied != [expected]:
        return f"the database is at revision {', '.join(applied) or 'none'}, expected is {expected}"
    return None


async def _revisions(database: Database) -> tuple[list[str], str]:
    """Return the schema revisions of the database, and the expected one."""
    # Only this probe needs Alembic, whose import takes a tenth of a second. It is imported in a thread, at first use.
    expected = await asyncio.to_thread(_expected_revision)
    from db.setup.schema_version import applied_revisions  # noqa: PLC0415 - see above

    return list(await applied_revisions(database)), expected


def _expected_revision() -> str:
    from db.setup.schema_version import expected_revision  # noqa: PLC0415 - see above

    return expected_revision()
