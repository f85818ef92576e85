"""`folio dev`: the API with everything that development needs."""

from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn
import uvloop

import graph
from db.settings import Settings
from graph.app import GRAPHQL_PATH
from graph.cli.migrate import upgrade_to
from graph.cli.support.demo_data import DEMO_PASSWORD, DEMO_USERNAME, prepare_demo
from graph.cli.support.server import WORKER, Host, Port, ensure_free, run_server, server_options
from graph.cli.support.terminal import CommandError, configured, err, opened
from graph.http.wire.open_connections import allow_open_files
from graph.http.wire.uvicorn_adapter import StatReload

# The directory that `dev --reload` watches.
ROOT = Path(graph.__file__).parent.parent


PACKAGES = ("db", "graph", "migrations")


# The time that a reload leaves running requests to finish.
RELOAD_DRAIN_S = 2


def dev(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    reload: Annotated[bool, typer.Option("--reload", help="Restart the server when a Python file changes.")] = False,
) -> None:
    """Start everything for development: the database, migrations, demo data if it is empty, and the server."""
    with configured() as settings:
        if settings.env == "production":
            raise CommandError("`folio dev` fills the database with demo data; in production use `folio serve`")
        options = server_options(settings, host, port)
        ensure_free(host, port)
        allow_open_files()
        upgrade_to(settings)
        shows_demo = uvloop.run(_demo(settings))
        address = f"http://{host}:{port}{GRAPHQL_PATH}"
        err.print(f"GraphiQL is at [bold]{address}[/]")
        if shows_demo:
            err.print(f"Sign in as [bold]{DEMO_USERNAME}[/] with the password [bold]{DEMO_PASSWORD}[/]")
        err.print("Ctrl-C stops the server and the database that was started for it")
        if reload:
            _run_reloading(options)
        else:
            run_server(settings, options)


async def _demo(settings: Settings) -> bool:
    async with opened(settings) as database:
        return await prepare_demo(database)


def _run_reloading(options: dict[str, Any]) -> None:
    """Serve from a child process that is restarted whenever a Python file of Folio changes.

    This process keeps the port and the embedded server: no connection is refused during a restart, and the database
    stays up. Files are checked four times a second: for some 150 files that needs no library besides uvicorn.
    """
    watched = [str(ROOT / package) for package in PACKAGES]
    options = {**options, "timeout_graceful_shutdown": RELOAD_DRAIN_S, "reload": True, "reload_dirs": watched}
    config = uvicorn.Config(WORKER, factory=True, **options)
    StatReload(config, uvicorn.Server(config).run, [config.bind_socket()]).run()
