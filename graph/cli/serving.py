"""`folio serve` and `folio dev`: the application under uvicorn, and everything around it for a developer."""

import ipaddress
import os
import signal
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn
import uvloop
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.statreload import StatReload

import graph
from db.connections.database import Database
from db.settings import Settings, load_settings
from graph.app import GRAPHQL_PATH
from graph.cli.demo import DEMO_PASSWORD, DEMO_USERNAME, prepare_demo
from graph.cli.schema_history import upgrade_to
from graph.cli.supervisor import Supervisor
from graph.cli.terminal import CommandError, configured, demand_migrated, err, opened, refusals
from graph.cli.worker import DRAIN_S, served_app, worker_app
from graph.http.open_connections import allow_open_files
from graph.observing.logs import log_config

# By name, so that a worker answers its supervisor before it imports what it serves.
WORKER = f"{worker_app.__module__}:{worker_app.__name__}"

# uvicorn's own variable: who may say where a request comes from.
TRUSTED_PROXIES = "FORWARDED_ALLOW_IPS"

# What `dev --reload` looks at, and how long it lets running requests finish.
ROOT = Path(graph.__file__).parent.parent
PACKAGES = ("db", "graph", "migrations")
RELOAD_DRAIN_S = 2

Host = Annotated[str, typer.Option(help="The address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65_535, help="The port to listen on; 0 lets the system choose one.")]


def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    workers: Annotated[int, typer.Option(min=1, max=256, help="How many processes share the port.")] = 1,
) -> None:
    """Serve the API. SIGTERM and Ctrl-C let running requests finish first."""
    with refusals():
        settings = load_settings()
        options = _options(settings, host, port)
        _demand_free(host, port)
        allow_open_files()
    if workers == 1:
        with configured() as completed_settings:
            _warn_unless_migrated(completed_settings)
            _run(completed_settings, options)
        return
    # Each worker is a process of its own, loads the settings itself, and shares an embedded server with the others.
    with configured() as completed_settings:
        _warn_unless_migrated(completed_settings)
        with ExitStack() as stack:
            _exit_on_sigterm(stack)
            config = uvicorn.Config(WORKER, factory=True, workers=workers, **options)
            supervisor = Supervisor(config, [config.bind_socket()])
            supervisor.run()
            if supervisor.is_broken:
                sys.exit(STARTUP_FAILURE)


def dev(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    reload: Annotated[bool, typer.Option("--reload", help="Restart the server when a Python file changes.")] = False,
) -> None:
    """Start everything for development: database, migrations, demo data where it is empty, and the server."""
    with configured() as settings:
        if settings.env == "production":
            raise CommandError("`folio dev` fills the database with demo data; in production use `folio serve`")
        options = _options(settings, host, port)
        _demand_free(host, port)
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
            _run(settings, options)


async def _demo(settings: Settings) -> bool:
    async with opened(settings) as database:
        return await prepare_demo(database)


def _warn_unless_migrated(settings: Settings) -> None:
    async def look() -> None:
        database = Database(settings)
        try:
            await demand_migrated(database)
        finally:
            await database.close()

    try:
        uvloop.run(look())
    except CommandError as error:
        # A warning, for in a rolling deployment the new version may start before the migration has run.
        err.print(f"folio: not ready yet: {error}", markup=False)


def _demand_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        reason = error.strerror or str(error)
        raise CommandError(
            f"cannot listen on {host}:{port}: {reason}; choose another port: `--port 8123`, or `make run PORT=8123`"
        ) from None


def _run(settings: Settings, options: dict[str, Any]) -> None:
    with ExitStack() as stack:
        _exit_on_sigterm(stack)
        uvicorn.run(served_app(settings), **options)


def _run_reloading(options: dict[str, Any]) -> None:
    """Serve from a process that ends and is started anew whenever a Python file of ours changes.

    This process keeps the port and the embedded server meanwhile: nobody is refused, and the database stays up. Files
    are looked at four times a second: there are some 150 of them, which needs no library beyond uvicorn.
    """
    watched = [str(ROOT / package) for package in PACKAGES]
    options = {**options, "timeout_graceful_shutdown": RELOAD_DRAIN_S, "reload": True, "reload_dirs": watched}
    config = uvicorn.Config(WORKER, factory=True, **options)
    StatReload(config, uvicorn.Server(config).run, [config.bind_socket()]).run()


def _exit_on_sigterm(stack: ExitStack) -> None:
    """Leave by SystemExit when uvicorn raises SIGTERM again after draining: what was started is to be stopped too."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    stack.callback(signal.signal, signal.SIGTERM, before)


def _trusted_proxies() -> list[str]:
    """Return the addresses and networks of those whose X-Forwarded-For and X-Forwarded-Proto are believed.

    uvicorn itself takes `*`, with which each client chooses its own address, and never says of a misspelt network that
    nobody is in it.

    Raises:
        CommandError: one of them is no address and no network, or is everybody.
    """
    trusted = []
    remedy = f"name the proxies alone in {TRUSTED_PROXIES}, as 10.0.0.5 or 10.0.0.0/24"
    for one in filter(None, map(str.strip, os.environ.get(TRUSTED_PROXIES, "127.0.0.1,::1").split(","))):
        try:
            network = ipaddress.ip_network("0.0.0.0/0" if one == "*" else one)
        except ValueError as error:
            raise CommandError(f"{error}; {remedy}") from None
        if not network.prefixlen:
            raise CommandError(f"{one} trusts everybody, so that each client could choose its address; {remedy}")
        trusted.append(one)
        if isinstance(network, ipaddress.IPv4Network):
            # What it is called by a socket that listens on both families.
            trusted.append(f"::ffff:{network.network_address}/{96 + network.prefixlen}")
    return trusted


def _options(settings: Settings, host: str, port: int) -> dict[str, Any]:
    """Return what uvicorn is told.

    Raises:
        CommandError: it cannot be told that.
    """
    return {
        "host": host,
        "port": port,
        "loop": "uvloop",
        "http": "graph.http.direct:DirectHttpProtocol",
        "lifespan": "on",
        "access_log": False,  # the endpoint writes its own line for each operation
        "server_header": False,
        "forwarded_allow_ips": _trusted_proxies(),
        "timeout_graceful_shutdown": DRAIN_S,
        "log_config": log_config(settings.log_level.upper(), json=settings.logs_json),
    }
