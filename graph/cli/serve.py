"""`folio serve`: serves the API with uvicorn, in one process or several."""

import sys
from contextlib import ExitStack
from typing import Annotated

import typer
import uvicorn
import uvloop

from db.connections.database import Database
from db.settings import Settings, load_settings
from graph.cli.support.server import WORKER, Host, Port, ensure_free, exit_on_sigterm, run_server, server_options
from graph.cli.support.supervisor import Supervisor
from graph.cli.support.terminal import CommandError, configured, ensure_migrated, err, refusals
from graph.http.wire.open_connections import allow_open_files
from graph.http.wire.uvicorn_adapter import STARTUP_FAILURE


def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    workers: Annotated[int, typer.Option(min=1, max=256, help="How many processes share the port.")] = 1,
) -> None:
    """Serve the API. SIGTERM and Ctrl-C let running requests finish first."""
    with refusals():
        settings = load_settings()
        options = server_options(settings, host, port)
        ensure_free(host, port)
        allow_open_files()
    if workers == 1:
        with configured() as completed_settings:
            _warn_unless_migrated(completed_settings)
            run_server(completed_settings, options)
        return
    # Each worker process loads the settings itself. All workers share one embedded server.
    with configured() as completed_settings:
        _warn_unless_migrated(completed_settings)
        with ExitStack() as stack:
            exit_on_sigterm(stack)
            config = uvicorn.Config(WORKER, factory=True, workers=workers, **options)
            supervisor = Supervisor(config, [config.bind_socket()])
            supervisor.run()
            if supervisor.is_broken:
                sys.exit(STARTUP_FAILURE)


def _warn_unless_migrated(settings: Settings) -> None:
    async def check() -> None:
        database = Database(settings)
        try:
            await ensure_migrated(database)
        finally:
            await database.close()

    try:
        uvloop.run(check())
    except CommandError as error:
        # Only a warning: in a rolling deployment the new version may start before the migration has run.
        err.print(f"folio: not ready yet: {error}", markup=False)
