"""Clocks that jump: libfaketime, under PostgreSQL and under the server.

Debian's package `faketime` has it; where it is not installed the tests are skipped. The clock that only goes on
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
    """The clock of the processes that are started with `environment`: so many seconds from the true one.

    Attributes:
        file: what they look into each time.
        library: libfaketime.
    """

    file: Path
    library: Path

    def jump(self, offset_s: int) -> None:
        """Set the clock to so many seconds after the true time."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{offset_s:+d}\n", encoding="ascii")
        new.chmod(0o644)
        new.rename(self.file)  # nobody reads half of it

    @property
    def environment(self) -> Mapping[str, str]:
        """What lets a process have this clock."""
        return {
            "LD_PRELOAD": str(self.library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }


def new_clock(directory: Path) -> Clock:
    """Return a clock that goes right, kept in `directory`."""
    found = sorted(Path("/usr").glob("lib*/**/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("libfaketime is not installed: apt-get install faketime")
    clock = Clock(directory / "clock", found[0])
    clock.jump(0)
    return clock


@contextmanager
def postgres_under(clock: Clock, data: Path, options: Mapping[str, str]) -> Iterator[EmbeddedServer]:
    """Serve the cluster of a directory, which no process uses, under a clock for as long as the block runs."""
    cluster = prepare(data)
    wrapper = data.parent / "postgres"
    variables = " ".join(f"{name}={value}" for name, value in clock.environment.items())
    wrapper.write_text(f'#!/bin/sh\n{variables} exec {cluster.programs}/postgres "$@"\n', encoding="ascii")
    wrapper.chmod(0o755)
    told = {"listen_addresses": "", "unix_socket_directories": ".", "port": str(PORT), **options}
    settings = " ".join(f"-c {name}={value}" for name, value in told.items())
    where = ("--pgdata=pgdata", "--log=server.log", "--wait")
    run_program(cluster, "pg_ctl", "start", *where, "-p", str(wrapper), f"--options={settings}")
    try:
        yield EmbeddedServer(cluster.pgdata, cluster.log_file)
    finally:
        clock.jump(0)
        run_program(cluster, "pg_ctl", "stop", "--pgdata=pgdata", "--mode=immediate", "--wait")
