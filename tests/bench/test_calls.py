"""How long the path of a request is: the calls of Folio's own functions for a warmed request on an idle server."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench.calls import FLOWS, counted, median
from bench.stock import Size, stocked

# The numbers do not depend on the machine. A change that makes a path longer says why, and changes the number here.
CALLS_MAX: Mapping[str, int] = {
    "post, author": 69,
    "page, authors": 85,
    "user, posts": 88,
    "post, author, posts": 89,
    "feed": 108,
    "transfer": 225,
}


@pytest.mark.long("it starts a server and a database with rows")
def test_no_flow_makes_more_calls_than_before(tmp_path: Path) -> None:
    with stocked(tmp_path, Size(users=50, posts=1000, accounts=50)) as place:
        found = asyncio.run(counted(place, list(FLOWS), 10, "compiled"))
    assert {flow: median(runs) for flow, runs in found.items() if median(runs) > CALLS_MAX[flow]} == {}
