"""How long the path of a request is: the calls of Folio's own functions for a warmed request on an idle server."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench.calls import FLOWS, MUTATIONS, Calls, counted, median
from bench.stock import Size, stocked

# The numbers do not depend on the machine. A change that makes a path longer says why, and changes the number here.
CALLS_MAX: Mapping[str, int] = {
    "post, author": 69,
    "page, authors": 87,
    "user, posts": 88,
    "post, author, posts": 89,
    "feed": 111,
    "transfer": 162,
    "update post": 148,
    "create post": 147,
    "create comment": 138,
}
# A statement for the session, and one that writes: no BEGIN, no COMMIT, and no read after the write.
ROUND_TRIPS = {"transfer": 2, "update post": 2, "create post": 2, "create comment": 2}
TO_THE_DATABASE = {"LeasedConnection.fetch", "LeasedConnection.execute"}


def round_trips(run: Calls) -> float:
    """Return how often a request waited for the database: each of these coroutines is called, and resumed once."""
    return sum(times for (_, name), times in run.items() if name in TO_THE_DATABASE) / 2


@pytest.mark.long("it starts a server and a database with rows")
def test_no_flow_makes_more_calls_than_before(tmp_path: Path) -> None:
    with stocked(tmp_path, Size(users=50, posts=1000, accounts=50)) as place:
        found = asyncio.run(counted(place, list(FLOWS), 10, "compiled"))
        ordinary = asyncio.run(counted(place, MUTATIONS, 10, "ordinary"))
    assert {flow: median(runs) for flow, runs in found.items() if median(runs) > CALLS_MAX[flow]} == {}
    assert {flow: min(map(round_trips, found[flow])) for flow in MUTATIONS} == ROUND_TRIPS
    # What the compiled engine does instead of graphql-core's executor is not counted there, and may cost no more.
    assert {flow: median(found[flow]) for flow in MUTATIONS if median(found[flow]) > median(ordinary[flow])} == {}
