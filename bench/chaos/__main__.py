"""`python -m bench.chaos --help`: checks the promises under faults, prints a summary, exits 1 with any violation."""

import argparse
import asyncio
import logging
import random
import secrets
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from bench.chaos import payers, statements, town, watches
from bench.chaos.payers import CLIENTS, Payer
from bench.chaos.promises import broken_by
from bench.chaos.town import Town
from bench.soak import endgame, ledger
from bench.soak.faults import ALL, Faults, Kind, Pace
from bench.soak.journal import Journal, Outcome
from bench.soak.oracle import Oracle
from bench.soak.processes import Cluster
from bench.soak.world import Plan, World, database_made, world_made
from db.embedded.server import EmbeddedServer

LOG = Path(__file__).parent.parent / ".work" / "chaos.log"
PACE = Pace(pause_s=(0.2, 1.0), lasts_s=(0.3, 1.5))
DEADLINE_S = 5
QUIET_S = 6.0  # the server's own time limits have ended all operations from before by then
# PostgreSQL has its default options, because acknowledged data must survive a crash. Time limits are a few seconds.
PLAN = Plan(
    users=town.USERS,
    options={"max_connections": "100"},
    settings={
        "FOLIO_OPERATION_DEADLINE_MS": str(DEADLINE_S * 1000),
        "FOLIO_STATEMENT_TIMEOUT_MS": "2000",
        "FOLIO_LOCK_TIMEOUT_MS": "1000",
        "FOLIO_IDLE_IN_TRANSACTION_SESSION_TIMEOUT_MS": "3000",
        "FOLIO_CLIENT_CONNECTION_CHECK_INTERVAL_MS": "1000",
        "FOLIO_CONNECT_TIMEOUT_S": "2",
        "FOLIO_POOL_TIMEOUT_S": "2",
        "FOLIO_ACCOUNTS_PER_USER_MAX": "10000",
    },
    has_front_proxy=True,
    answer_limit_s=DEADLINE_S + 5.0,
)


def main() -> None:
    """Run the chaos test."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.chaos", description="Checks the promises about money under faults."
    )
    parser.add_argument("--minutes", type=float, default=2, help="how long clients send requests while faults happen")
    parser.add_argument("--seed", type=int, default=None, help="determines the requests and the faults")
    parser.add_argument(
        "--faults",
        default="",
        metavar="KIND,...",
        help=f"only these kinds, or none; kinds are {'; '.join(ALL)}",
        type=_kinds,
    )
    parser.add_argument("--log", type=Path, default=LOG, help="the file of the server's log")
    given = parser.parse_args()
    seed: int = secrets.randbelow(10**6) if given.seed is None else given.seed
    oracle = Oracle()
    logging.getLogger("db").addHandler(
        logging.NullHandler()
    )  # the watches' errors while the database is down are expected
    sys.stderr.write(f"chaos: seed {seed}, {given.minutes:g} minutes, the server's log is {given.log}\n")
    with database_made(PLAN) as (postgres, cluster):
        line = asyncio.run(_held(postgres, cluster, oracle, seed, given))
    oracle.conclude(line, lambda kind: f"{kind} ({broken_by(kind)})")


def _kinds(text: str) -> Mapping[str, Kind]:
    if text in {"", "none"}:
        return {} if text else ALL
    # Some names contain a comma.
    chosen = {kind: one for kind, one in ALL.items() if f",{kind}," in f",{text},"}
    if not chosen:
        raise argparse.ArgumentTypeError(f"there is no fault {text!r}")
    return chosen


async def _held(
    postgres: EmbeddedServer, cluster: Cluster, oracle: Oracle, seed: int, given: argparse.Namespace
) -> str:
    """Run all steps, and return the summary."""
    started_at = time.monotonic()
    async with world_made(PLAN, postgres, cluster, given.log) as world:
        journal = Journal()
        home = await town.create_town(world, oracle, journal)
        clients = [Payer(home, home.payers[n % len(home.payers)], _rng(seed, n)) for n in range(CLIENTS)]
        faults = Faults(world, oracle, _rng(seed, "faults"), given.faults, PACE) if given.faults else None
        deadlocks = watches.Deadlocks(world, oracle)
        await _driven(home, clients, faults, deadlocks, given.minutes * 60)
        await asyncio.sleep(QUIET_S if faults else 1)
        await _check_after(world, home, deadlocks)
    return _report(oracle, journal, seed, time.monotonic() - started_at)


def _rng(seed: int, what: object) -> random.Random:
    return random.Random(f"{seed} {what}")  # noqa: S311 - no secret


async def _driven(
    home: Town, clients: list[Payer], faults: Faults | None, deadlocks: watches.Deadlocks, seconds: float
) -> None:
    """Run all clients, watches and faults for `seconds`."""
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for payer in clients:
            group.create_task(payer.live(stopping))
        group.create_task(watches.watch_balances(home.world, home.oracle, stopping))
        group.create_task(statements.watch_statements(home, stopping))
        group.create_task(deadlocks.watch(stopping))
        if faults is not None:
            group.create_task(faults.happen(stopping))
        await asyncio.sleep(seconds)
        stopping.set()


async def _check_after(world: World, home: Town, deadlocks: watches.Deadlocks) -> None:
    """Settle unknown outcomes, and check everything after the faults have ended."""
    oracle, journal = home.oracle, home.journal
    owners = [payers.Payer(home, user, home.banker.rng).own for user in world.users]
    await ledger.settled([*owners, home.banker], journal, oracle)
    for run in home.runs:
        watches.check_run(run, oracle)
    await endgame.burst([partial(home.read_sum, home.banker)] + [partial(_own_sum, home)] * 19, oracle)
    await asyncio.sleep(1)
    await endgame.check_workers(world, oracle, endgame.Memory())
    await deadlocks.look()
    await ledger.check_ledger(world, journal, oracle)
    for client in (*owners, home.banker):
        client.close()


async def _own_sum(home: Town) -> None:
    payer = payers.Payer(home, home.world.admin, home.banker.rng)
    await home.read_sum(payer.own)
    payer.own.close()


def _report(oracle: Oracle, journal: Journal, seed: int, seconds: float) -> str:
    """Return the summary, in lines."""
    counts = oracle.counts
    outcomes = [one.outcome for one in journal.movements]
    unknown = [one for one in journal.movements if one.was_unknown]
    settled = [one for one in unknown if one.outcome is not Outcome.UNKNOWN]
    others = sorted(set(counts) - {"answers", "faults"})
    lines = [f"{counts[name]:6} {name}" for name in others if not name.startswith("fault: ")]
    lines += [f"{counts[name]:6} {name}" for name in others if name.startswith("fault: ")]
    lines.append(
        f"chaos: seed {seed}, {seconds / 60:.1f} min, {counts['answers']} operations answered, "
        f"{counts['faults']} faults, {outcomes.count(Outcome.MADE)} movements made and "
        f"{outcomes.count(Outcome.NOT_MADE)} refused, {len(settled)} of {len(unknown)} unknowns settled, "
        f"{oracle.violations} violations"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
