"""The one place where what ends a command becomes a line on standard error and an exit code.

A refusal is one sentence that says what is wrong and what to do. Nothing shows a traceback; that of a fault of ours is
shown where `FOLIO_LOG_LEVEL=debug` asks for it.
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
from typer.core import TyperGroup
from typer.exceptions import TyperException

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
    """A command that cannot do what it was asked for; the message says why and what to do."""


class Interrupted(Exception):  # noqa: N818 - whoever pressed Ctrl-C made no error
    """Ctrl-C, where the command can say what has become of its work."""


_EXPECTED = (CommandError, DatabaseProblem, EmbeddedError, SettingsError, Unavailable, OutputError)


class Commands(TyperGroup):
    """The commands, each of which ends as this module says."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command of this context; Ctrl-C ends it, however it is answered before and after."""
        before = signal.getsignal(signal.SIGINT)
        is_answered = before is not signal.SIG_IGN  # as in what a script starts in the background
        if is_answered:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with refusals():
                return super().invoke(ctx)
        finally:
            if is_answered:
                signal.signal(signal.SIGINT, before)


@contextmanager
def refusals() -> Iterator[None]:
    """Turn whatever ends the block, but its end, into a line on standard error and an exit code."""
    try:
        yield
    except (typer.Exit, typer.Abort, TyperException):
        raise  # Typer's own: an end, or a command line that is wrong
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
        f"a fault of Folio itself: {type(error).__name__} in {_where(error)}; "
        f"set {PREFIX}LOG_LEVEL=debug to see more of it, and report it"
    )


def _where(error: Exception) -> str:
    """Return the last place in our own code that an error has come through."""
    ours = [
        f"{Path(frame.filename).relative_to(_ROOT)}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(_ROOT) and "site-packages" not in Path(frame.filename).parts[-6:]
    ]
    return ours[-1] if ours else "code of others"
