"""The only place where an exception that ends a command becomes a line on standard error and an exit code.

A refusal is one sentence: it names the error and the remedy. Tracebacks are not shown, except for bugs in Folio
with `FOLIO_LOG_LEVEL=debug`.
"""

import os
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from typer import TyperException
from typer.core import TyperGroup

from db.embedded.server import EmbeddedError
from db.errors import Refusal, Unavailable
from db.settings import PREFIX, SettingsError
from db.setup.diagnosis import DatabaseProblem
from graph.cli.support.exit_codes import ExitCode
from graph.cli.support.streams import OutputError, give_up_output

__all__ = ["CommandError", "Commands", "Interrupted", "err", "refusals"]

_ROOT = Path(__file__).resolve().parents[3]

err = Console(stderr=True, highlight=False, soft_wrap=True)


class CommandError(Exception):
    """The command cannot do its work. The message says why, and what to do."""


class Interrupted(Exception):  # noqa: N818 - Ctrl-C is not an error
    """Ctrl-C ended the command. The message says what happened to its work."""


_EXPECTED = (CommandError, DatabaseProblem, EmbeddedError, SettingsError, Unavailable, OutputError)


class Commands(TyperGroup):
    """The group of all commands, with the exit codes and messages of this module."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command of this context. Ctrl-C interrupts it, whatever handler is set before and after."""
        before = signal.getsignal(signal.SIGINT)
        handles_sigint = before is not signal.SIG_IGN  # it is ignored in background jobs of scripts
        if handles_sigint:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with refusals():
                return super().invoke(ctx)
        finally:
            if handles_sigint:
                signal.signal(signal.SIGINT, before)


@contextmanager
def refusals() -> Iterator[None]:
    """Convert any exception of the block into a line on standard error and an exit code."""
    try:
        yield
    except (typer.Exit, typer.Abort, TyperException):
        raise  # Typer's own: a regular exit, or a wrong command line
    except KeyboardInterrupt:
        raise _end(ExitCode.INTERRUPTED, "interrupted") from None
    except Exception as error:  # noqa: BLE001 - no command ends in a traceback
        raise _end(*_outcome(error)) from None


def _end(code: ExitCode, line: str) -> typer.Exit:
    if line:
        err.print("[bold red]folio:[/]", end=" ")
        err.print(line, markup=False)
    return typer.Exit(code)


def _outcome(error: Exception) -> tuple[ExitCode, str]:
    if isinstance(error, OutputError):
        give_up_output()
        return (ExitCode.OUTPUT_CLOSED, "") if error.is_closed else (ExitCode.FAILED, str(error))
    if isinstance(error, Interrupted):
        return ExitCode.INTERRUPTED, f"interrupted; {error}"
    if isinstance(error, Refusal):
        return ExitCode.FAILED, f"{'.'.join(error.field)}: {error.message}" if error.field else error.message
    if isinstance(error, _EXPECTED):
        return ExitCode.FAILED, str(error)
    if isinstance(error, OSError):
        return ExitCode.FAILED, f"{error.filename or 'a file'} cannot be used: {error.strerror or error}"
    if os.environ.get(f"{PREFIX}LOG_LEVEL") == "debug":
        err.print("".join(traceback.format_exception(error)), markup=False, end="")
    return ExitCode.FAILED, (
        f"a bug in Folio: {type(error).__name__} in {_where(error)}; "
        f"set {PREFIX}LOG_LEVEL=debug to see the traceback, and report it"
    )


def _where(error: Exception) -> str:
    """Return the last position in Folio's code that an error has passed through."""
    ours = [
        f"{Path(frame.filename).relative_to(_ROOT)}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(_ROOT) and "site-packages" not in Path(frame.filename).parts[-6:]
    ]
    return ours[-1] if ours else "a library"
