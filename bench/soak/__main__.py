"""`python -m bench.soak --help`: runs the soak test, prints one line, and exits 1 with any violation."""

import argparse
import asyncio
import random
import secrets
import sys
import time
from functools import partial
from pathlib import Path

from bench.soak import driving, endgame, ledger
from bench.soak.faults import SOAK, Faults, Pace
from bench.soak.journal import Journal, Outcome
from bench.soak.oracle import Oracle
from bench.soak.processes import Cluster
from bench.soak.world import Plan, database_made, world_made
from db.embedded.server import EmbeddedServer

PLAN = Plan()
LOG = Path(__file__).parent.parent / ".work" / "soak.log"


def main() -> None:
    """Run the soak test."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak", description="Clients check every answer under faults."
    )
    parser.add_argument("--minutes", type=float, default=2, help="how long clients send requests while faults happen")
    parser.add_argument("--seed", type=int, default=None, help="determines the requests and the faults")
    parser.add_argument("--no-faults", action="store_true", help="make no faults")
    parser.add_argument("--log", type=Path, default=LOG, help="the file of the server's log")
    given = parser.parse_args()
    seed: int = secrets.randbelow(10**6) if given.seed is None else given.seed
    oracle = Oracle()
    sys.stderr.write(f"soak: seed {seed}, {given.minutes:g} minutes, the server's log is {given.log}\n")
    with database_made(PLAN) as (postgres, cluster):
        line = asyncio.run(_soaked(postgres, cluster, oracle, seed, given))
    oracle.conclude(line)


async def _soaked(
    postgres: EmbeddedServer, cluster: Cluster, oracle: Oracle, seed: int, given: argparse.Namespace
) -> str:
    """Run all steps, and return the summary line."""
    started_at = time.monotonic()
    async with world_made(PLAN, postgres, cluster, given.log) as world:
        journal, memory = Journal(), endgame.Memory()
        clients = await driving.settled_in(world, oracle, journal, seed)
        rng = random.Random(f"{seed} faults")  # noqa: S311 - no secret
        faults = None if given.no_faults else Faults(world, oracle, rng, SOAK, Pace())
        await driving.driven(world, clients, faults, memory, given.minutes * 60)
        answers = oracle.counts["answers"]
        await asyncio.sleep(endgame.QUIET_S if faults else 1)
        await ledger.settled(clients, journal, oracle)
        readers = [one for one in clients if one.user is not world.admin]
        await endgame.burst([partial(one.read, is_fresh=False, failing=False) for one in readers], oracle)
        await asyncio.sleep(1)
        await endgame.check_workers(world, oracle, memory)
        await ledger.check_ledger(world, journal, oracle)
        await ledger.check_posts(world, journal, oracle)
        growth = memory.growth(world)
        for client in clients:
            client.close()
    counts, outcomes = oracle.counts, [one.outcome for one in journal.movements]
    for name, count in sorted(counts.items()):
        sys.stderr.write(f"{count:6} {name}\n")
    return (
        f"soak: seed {seed}, {(time.monotonic() - started_at) / 60:.1f} min, {answers} answers "
        f"({answers / given.minutes / 60:.0f}/s), {counts['worded errors']} worded errors, "
        f"{counts['broken connections']} broken connections, {counts['aborted']} aborted, {counts['faults']} faults, "
        f"{outcomes.count(Outcome.MADE)} movements made and {outcomes.count(Outcome.NOT_MADE)} refused, "
        f"{len(journal.creations)} posts created, "
        f"memory {', '.join(f'{mib:+.0f} MiB' for mib in growth.values()) or 'not compared'}, "
        f"{oracle.violations} violations"
    )


if __name__ == "__main__":
    main()
