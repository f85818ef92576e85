"""Every command of `folio`, its arguments, its requirements, and a way to run it as a separate process.

The processes are forked from one that has already imported the commands, because an import takes a second. Each has
separate standard streams, environment and working directory, and exits like `folio`.
"""

import contextlib
import enum
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from typer.main import get_group

from graph.cli import main
from graph.cli.app import app
from graph.schema.root import schema_text

LIMIT_S = 60
PASSWORD = "correct horse battery"
LINES = """\
{"type":"user","username":"ada","email":"ada@example.com"}
{"type":"post","author":"ada","title":"One","content":"Two"}
"""


class Needs(enum.Flag):
    """The requirements of a command."""

    NOTHING = 0
    DATABASE = enum.auto()
    WRITES = enum.auto()  # it changes the database
    MAKES = enum.auto()  # it creates the embedded database if there is none
    OUTPUT = enum.auto()  # it writes to standard output
    SERVES = enum.auto()  # it runs until a signal ends it


READS, CHANGES = Needs.DATABASE | Needs.OUTPUT, Needs.DATABASE | Needs.WRITES | Needs.OUTPUT
SERVES = Needs.DATABASE | Needs.MAKES | Needs.SERVES

# The arguments of each command, and its requirements. {files} is the directory of `write_files`, {port} a free port.
CALLS: Mapping[str, tuple[str, Needs]] = {
    "dev": ("--port {port}", SERVES | Needs.WRITES),
    "serve": ("--port {port}", SERVES),
    "migrate upgrade": ("", CHANGES | Needs.MAKES),
    "migrate downgrade": ("base", CHANGES),
    "migrate current": ("", READS),
    "migrate history": ("", Needs.OUTPUT),
    "migrate check": ("", READS),
    "migrate revision": ("nothing", Needs.DATABASE),
    "seed": ("--users 3 --posts 3 --accounts 1", CHANGES),
    "import": ("{files}/lines.jsonl", CHANGES & ~Needs.OUTPUT),
    "export": ("-", READS),
    "audit": ("", READS),
    "user create": ("eve eve@example.com", CHANGES),
    "user list": ("", READS),
    "user promote": ("ida", CHANGES),
    "user demote": ("ida", CHANGES),
    "user activate": ("ida", CHANGES),
    "user deactivate": ("ida", CHANGES),
    "user set-password": ("ida", CHANGES),
    "schema print": ("", Needs.OUTPUT),
    "schema check": ("{files}/old.graphql", Needs.OUTPUT),
    "cost": ("{files}/operations/one.graphql", Needs.OUTPUT),
    "explain": ("{files}/operations/one.graphql", Needs.OUTPUT),
    "documents build": ("{files}/operations --output {files}/documents.json", Needs.OUTPUT),
    "doctor": ("", READS | Needs.WRITES),
    "settings": ("", Needs.OUTPUT),
}


def every_command() -> Iterator[str]:
    """Yield the names of all commands of the command line, including subcommands."""

    def below(command: object, names: tuple[str, ...]) -> Iterator[str]:
        inner: Mapping[str, object] | None = getattr(command, "commands", None)
        if inner is None:
            yield " ".join(names)
            return
        for name, one in inner.items():
            yield from below(one, (*names, name))

    return below(get_group(app), ())


def write_files(directory: Path) -> None:
    """Write the files that the arguments name."""
    (directory / "lines.jsonl").write_text(LINES)
    (directory / "old.graphql").write_text(schema_text())
    (directory / "operations").mkdir()
    (directory / "operations/one.graphql").write_text("query A { viewer { id } }")


def called(command: str, files: Path, port: int = 0) -> list[str]:
    """Return the command line of a command, its name and all arguments."""
    return [*command.split(), *CALLS[command][0].format(files=files, port=port).split()]


# ---------------------------------------------------------------- processes


class Output(enum.Enum):
    """The kinds of standard output."""

    FILE = "a file"
    FULL = "a full device"
    UNREAD = "a pipe without a reader"
    CLOSED = "closed"


@dataclass(frozen=True)
class Ended:
    """The end of a command: its exit code, which is negative after a signal has killed it, and its output."""

    code: int | None
    out: str
    err: str


@dataclass(frozen=True)
class Running:
    """A running command."""

    process: BaseProcess
    directory: Path

    def interrupt(self) -> None:
        """Send the signal of Ctrl-C."""
        assert self.process.pid is not None
        with contextlib.suppress(ProcessLookupError):  # it has already ended
            os.kill(self.process.pid, signal.SIGINT)

    def ended(self) -> Ended:
        """Wait for its end, and return its exit code and output."""
        self.process.join(LIMIT_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            raise AssertionError(f"no end: {(self.directory / 'stderr').read_text()}")
        texts = [(self.directory / name).read_text() for name in ("stdout", "stderr")]
        return Ended(self.process.exitcode, *texts)


def context() -> ForkServerContext:
    """Return the context that forks the processes."""
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload([__name__])
    return forking


def start(
    arguments: Sequence[str],
    directory: Path,
    *,
    output: Output = Output.FILE,
    stdin: Path | None = None,
    stderr: Path = Path("stderr"),
    **environment: str,
) -> Running:
    """Start `folio` with `arguments`; its standard streams are files in `directory`, its working directory."""
    streams = stdin or Path(os.devnull), directory / stderr
    process = context().Process(target=_run_folio, args=(list(arguments), directory, output, streams, environment))
    process.start()
    return Running(process, directory)


def _run_folio(
    arguments: list[str], directory: Path, output: Output, streams: tuple[Path, Path], environment: Mapping[str, str]
) -> None:
    stdin, stderr = streams
    for name in [name for name in os.environ if name.startswith("FOLIO_")]:
        del os.environ[name]
    os.environ |= {"NEW_USER_PASSWORD": PASSWORD, "FOLIO_PASSWORD_HASH_MEMORY_KIB": "8", **environment}
    os.chdir(directory)
    os.dup2(os.open(stdin, os.O_RDONLY), 0)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - multiprocessing has replaced it
    _put(directory / "stdout", 1)
    _put(stderr, 2)
    if output is Output.FULL:
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    elif output is Output.UNREAD:
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 1)
        os.close(writer)
    elif output is Output.CLOSED:
        os.close(1)
    sys.argv = ["folio", *arguments]
    main()


def _put(path: Path, descriptor: int) -> None:
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
