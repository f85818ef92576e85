"""uvicorn for `folio serve` and `folio dev`: its options, and how a signal ends it."""

import ipaddress
import os
import signal
import socket
import sys
from contextlib import ExitStack
from typing import Annotated, Any

import typer
import uvicorn

from db.settings import Settings
from graph.cli.support.terminal import CommandError
from graph.cli.support.worker import DRAIN_S, served_app, worker_app
from graph.telemetry.logs import log_config

# By name, so that a worker can respond to its supervisor before it imports the application.
WORKER = f"{worker_app.__module__}:{worker_app.__name__}"


# uvicorn's own variable: the proxies whose headers state the client's address.
TRUSTED_PROXIES = "FORWARDED_ALLOW_IPS"


Host = Annotated[str, typer.Option(help="The address to listen on.")]


Port = Annotated[int, typer.Option(min=0, max=65_535, help="The port to listen on; 0 lets the system choose one.")]


def ensure_free(host: str, port: int) -> None:
    """Raise CommandError where the server cannot listen on the address."""
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


def run_server(settings: Settings, options: dict[str, Any]) -> None:
    """Serve from this process until a signal ends it."""
    with ExitStack() as stack:
        exit_on_sigterm(stack)
        uvicorn.run(served_app(settings), **options)


def exit_on_sigterm(stack: ExitStack) -> None:
    """Exit by SystemExit when uvicorn raises SIGTERM again after draining, so that context managers stop services."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    stack.callback(signal.signal, signal.SIGTERM, before)


def _trusted_proxies() -> list[str]:
    """Return the addresses and networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted.

    uvicorn itself accepts `*`, with which each client could choose its address, and ignores a misspelt network
    silently.

    Raises:
        CommandError: an entry is neither an address nor a network, or contains all addresses.
    """
    trusted = []
    remedy = f"name only the proxies in {TRUSTED_PROXIES}, for example 10.0.0.5 or 10.0.0.0/24"
    for one in filter(None, map(str.strip, os.environ.get(TRUSTED_PROXIES, "127.0.0.1,::1").split(","))):
        try:
            network = ipaddress.ip_network("0.0.0.0/0" if one == "*" else one)
        except ValueError as error:
            raise CommandError(f"{error}; {remedy}") from None
        if not network.prefixlen:
            raise CommandError(f"{one} trusts all clients, so that each one could choose its address; {remedy}")
        trusted.append(one)
        if isinstance(network, ipaddress.IPv4Network):
            # The form of the address on a socket that listens on both address families.
            trusted.append(f"::ffff:{network.network_address}/{96 + network.prefixlen}")
    return trusted


def server_options(settings: Settings, host: str, port: int) -> dict[str, Any]:
    """Return uvicorn's options.

    Raises:
        CommandError: FORWARDED_ALLOW_IPS is invalid.
    """
    return {
        "host": host,
        "port": port,
        "loop": "uvloop",
        "http": "graph.http.direct:DirectHttpProtocol",
        "lifespan": "on",
        "access_log": False,  # the endpoint logs a line for each operation
        "server_header": False,
        "forwarded_allow_ips": _trusted_proxies(),
        "timeout_graceful_shutdown": DRAIN_S,
        "log_config": log_config(settings.log_level.upper(), json=settings.logs_json),
    }
