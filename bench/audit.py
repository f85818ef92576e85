"""Measures the cost of an audit of a large ledger: `python -m bench.audit --help`.

First it runs `folio audit` as a process: on the whole ledger, and since a transaction. Then it compares all balances
with the ledger in three ways, each in one snapshot:

- index: as `db.ledger.audit_statements` does: accounts in batches by id, the sums of each account by index;
- passes: accounts in slices by id; for each slice the whole ledger is read and summed in a hash table;
- whole: one statement sums the whole ledger.
"""

import argparse
import asyncio
import os
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from rich.table import Table

from bench.ledgers import ledger_of
from bench.report import terminal
from db.embedded.server import EmbeddedServer
from db.ledger.audit import BATCH_ROWS
from db.ledger.audit_statements import ACCOUNTS, BY_INDEX

WORK = Path(__file__).parent / ".work"
SLICE = 50_000
SINCE = 100_000  # the number of transactions that the audit with --since checks
SAMPLE_EVERY_S = 0.05
REPORT_S = 1.5  # the time until a backend has reported its temporary files

# Without these settings, the planner would loop over the accounts for each group.
_BY_HASH = """
SET LOCAL enable_nestloop = off; SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off;
SET LOCAL enable_sort = off; SET LOCAL plan_cache_mode = force_custom_plan
"""
_SLICE_SUMS = """
SELECT accounts.id, balance, coalesce(total, 0) FROM accounts LEFT JOIN (
    SELECT id, sum(amount) AS total FROM (
        SELECT to_id AS id, amount FROM transactions WHERE to_id > $1 AND to_id <= $2
        UNION ALL SELECT from_id, -amount FROM transactions WHERE from_id > $1 AND from_id <= $2
    ) AS ends GROUP BY id
) AS moved ON moved.id = accounts.id
WHERE accounts.id > $1 AND accounts.id <= $2 AND balance <> coalesce(total, 0)
"""
_WHOLE = """
SELECT accounts.id FROM accounts
  LEFT JOIN (SELECT to_id, sum(amount) AS total FROM transactions GROUP BY to_id) AS received
         ON received.to_id = accounts.id
  LEFT JOIN (SELECT from_id, sum(amount) AS total FROM transactions GROUP BY from_id) AS sent
         ON sent.from_id = accounts.id
 WHERE accounts.id > $1 AND accounts.id <= $2
   AND accounts.balance <> coalesce(received.total, 0) - coalesce(sent.total, 0)
"""


@dataclass
class Cost:
    """The cost of one run.

    Attributes:
        seconds: the wall-clock time.
        cpu_seconds: the processor time of the backends, and of the process if it is a separate one.
        process_mib: the peak resident memory of the process; 0 if it is this one.
        backends_mib: the peak private memory of all backends together, without shared buffers.
        temporary_mib: the size of the temporary files that they wrote.
        load: the average number of processes on this machine that were ready to run.
    """

    seconds: float = 0
    cpu_seconds: float = 0
    process_mib: float = 0
    backends_mib: float = 0
    temporary_mib: float = 0
    load: float = 0


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.audit", description=__doc__)
    parser.add_argument("--accounts", type=int, default=200_000)
    parser.add_argument("--transactions", type=int, default=10_000_000)
    parser.add_argument("--plain", action="store_true", help="indexes by account without the amounts")
    parser.add_argument("--ways", default="index,passes,whole", help="which, separated by commas; empty for none")
    options = parser.parse_args()
    table = Table("what", "s", "CPU s", "MiB process", "MiB backends", "MiB temporary files", "load")
    with ledger_of(WORK, options.accounts, options.transactions, covering=not options.plain) as server:
        names = {"folio audit": [], "folio audit --since": ["--since", str(options.transactions - SINCE + 1)]}
        for name, arguments in names.items():
            _add(table, name, _audit(server, arguments))
        for way in filter(None, options.ways.split(",")):
            _add(table, way, asyncio.run(_balances(server, way, options.accounts)))
    terminal().print(table)


def _add(table: Table, name: str, cost: Cost) -> None:
    figures = (cost.process_mib, cost.backends_mib, cost.temporary_mib)
    table.add_row(
        name,
        f"{cost.seconds:.1f}",
        f"{cost.cpu_seconds:.1f}",
        *(f"{figure:.0f}" for figure in figures),
        f"{cost.load:.1f}",
    )
    sys.stderr.write(f"{name}: {cost}\n")


def _audit(server: EmbeddedServer, arguments: list[str]) -> Cost:
    """Run `folio audit` as a process.

    Raises:
        RuntimeError: the audit found differences.
    """
    environment = {**os.environ, "FOLIO_DATABASE_URL": server.url().replace("+asyncpg", "")}
    program = [sys.executable, "-c", "from graph.cli import main; main()", "audit", *arguments]
    with _measured(server) as cost:
        pid = os.spawnve(os.P_NOWAIT, sys.executable, program, environment)  # noqa: S606 - constants
        _, status, usage = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"folio audit ended with {os.waitstatus_to_exitcode(status)}")
    cost.process_mib = usage.ru_maxrss / 1024
    cost.cpu_seconds += usage.ru_utime + usage.ru_stime
    return cost


async def _balances(server: EmbeddedServer, way: str, accounts: int) -> Cost:
    """Compare all balances with the ledger.

    Raises:
        RuntimeError: a balance is wrong.
    """
    settings, sql, rows = {
        "index": (BY_INDEX, ACCOUNTS.wrong_rows.sql, BATCH_ROWS),
        "passes": (_BY_HASH, _SLICE_SUMS, SLICE),
        "whole": ("SET LOCAL enable_nestloop = off", _WHOLE, accounts + 1),
    }[way]
    connection = await asyncpg.connect(server.url().replace("+asyncpg", ""), server_settings={"jit": "off"})
    try:
        with _measured(server) as cost:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await connection.execute(settings)
                for after in range(0, accounts + 1, rows):
                    if await connection.fetch(sql, after, after + rows):
                        raise RuntimeError("the ledger does not balance")
    finally:
        await connection.close()
    return cost


@contextmanager
def _measured(server: EmbeddedServer) -> Iterator[Cost]:
    """Measure the cost of the block, including the database."""
    cost, over = Cost(), threading.Event()
    watching = threading.Thread(target=_watch, args=(server, cost, over))
    before = _elsewhere(_temporary_bytes(server))
    watching.start()
    started = time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - started
        over.set()
        watching.join()
    time.sleep(REPORT_S)
    cost.temporary_mib = (_elsewhere(_temporary_bytes(server)) - before) / 2**20


def _watch(server: EmbeddedServer, cost: Cost, over: threading.Event) -> None:
    """Sample the peak memory and the processor time of the backends, until `over` is set."""
    loads: list[int] = []
    ticks: dict[str, int] = {}
    while not over.wait(SAMPLE_EVERY_S):
        backends = dict(_backends(server))
        cost.backends_mib = max(cost.backends_mib, sum(one.kib for one in backends.values()) / 1024)
        ticks |= {process: one.ticks for process, one in backends.items()}
        loads.append(int(Path("/proc/loadavg").read_text(encoding="ascii").split()[3].partition("/")[0]))
    cost.load = sum(loads) / max(1, len(loads))
    cost.cpu_seconds += sum(ticks.values()) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Backend:
    """A backend's private memory in KiB, and its processor time in ticks."""

    kib: int
    ticks: int


def _backends(server: EmbeddedServer) -> Iterator[tuple[str, Backend]]:
    """Yield the backends of clients and their parallel workers, each with its process id."""
    postmaster = int((server.socket_dir / "postmaster.pid").read_text(encoding="utf-8").split()[0])
    for process in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text(encoding="ascii").split():
        try:
            title = Path(f"/proc/{process}/cmdline").read_text(encoding="utf-8", errors="replace")
            status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
            times = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
        except OSError:
            continue  # it has ended
        if title.startswith(("postgres: folio", "postgres: parallel worker")):
            kib = sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))
            yield process, Backend(kib, sum(map(int, times)))


async def _temporary_bytes(server: EmbeddedServer) -> int:
    connection = await asyncpg.connect(server.url(role="postgres").replace("+asyncpg", ""))
    try:
        written: int = await connection.fetchval("SELECT temp_bytes FROM pg_stat_database WHERE datname = 'folio'")
    finally:
        await connection.close()
    return written


def _elsewhere(work: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine in another thread, because this thread may already run an event loop."""
    with ThreadPoolExecutor(1) as other:
        return other.submit(asyncio.run, work).result()


if __name__ == "__main__":
    main()
