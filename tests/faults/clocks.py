"""Clocks that jump: libfaketime, under PostgreSQL and under the server.

Debian's package `faketime` provides it; tests are skipped where it is not installed. The monotonic clock
(CLOCK_MONOTONIC) does not jump, as in reality.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from db.embedded.places import PORT, prepare, run_program
from db.embedded.server import EmbeddedServer

HOUR_S = 3600


@dataclass(frozen=True)
class Clock:
    """The clock of the processes that are started with `environment`, with an offset from the true time.

    Attributes:
        file: the file from which the processes read the offset each time.
        library: the path of libfaketime.
    """

    file: Path
    library: Path

    def jump(self, offset_s: int) -> None:
        """Set the clock to `offset_s` seconds after the true time."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{offset_s:+d}\n", encoding="ascii")
        new.chmod(0o644)
        new.rename(self.file)  # no process reads a half-written file

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables that connect a process to this clock."""
        return {
            "LD_PRELOAD": str(self.library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }


def new_clock(directory: Path) -> Clock:
    """Return a clock with the true time, whose file is in `directory`."""
    found = sorted(Path("/usr").glob("lib*/**/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("libfaketime is not installed: apt-get install faketime")
    clock = Clock(directory / "clock", found[0])
    clock.jump(0)
    return clock


@contextmanager
def postgres_under(clock: Clock, data: Path, options: Mapping[str, str]) -> Iterator[EmbeddedServer]:
    """Serve a directory's cluster, which no other process uses, under a clock until the block ends."""
    cluster = prepare(data)
    wrapper = data.parent / "postgres"
    variables = " ".join(f"{name}={value}" for name, value in clock.environment.items())
    wrapper.write_text(f'#!/bin/sh\n{variables} exec {cluster.programs}/postgres "$@"\n', encoding="ascii")
    wrapper.chmod(0o755)
    options_given = {"listen_addresses": "", "unix_socket_directories": ".", "port": str(PORT), **options}
    settings = " ".join(f"-c {name}={value}" for name, value in options_given.items())
    where = ("--pgdata=pgdata", "--log=server.log", "--wait")
    run_program(cluster, "pg_ctl", "start", *where, "-p", str(wrapper), f"--options={settings}")
    try:
        yield EmbeddedServer(cluster.pgdata, cluster.log_file)
    finally:
        clock.jump(0)
        run_program(cluster, "pg_ctl", "stop", "--pgdata=pgdata", "--mode=immediate", "--wait")
