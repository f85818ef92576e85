"""Statements of the hot accounts, read during transfers: each adds up, and adjacent ones contain each entry once."""

import asyncio
import datetime
import itertools
import random
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from bench.chaos.town import Town
from bench.soak.clients import Client
from bench.soak.oracle import Oracle

LOOK_EVERY_S = 0.2
# The boundary of two adjacent statements: among recent entries, so that both statements change between reads.
CUT_AGO = datetime.timedelta(seconds=2)
_SUMS = "openingBalance { amount } received { amount } sent { amount } closingBalance { amount }"
_ENTRIES = "entries(last: 20) { nodes { amount { amount } balanceAfter { amount } } }"
TEXT = f"""query Statements($id: ID!, $cut: DateTime!) {{
  account(id: $id) {{
    balance {{ amount }}
    earlier: statement(from: "1970-01-01T00:00:00Z", to: $cut) {{ {_SUMS} {_ENTRIES} }}
    later: statement(from: $cut, to: "9999-01-01T00:00:00Z") {{ {_SUMS} {_ENTRIES} }}
  }}
}}"""


async def watch_statements(home: Town, stopping: asyncio.Event) -> None:
    """Read two adjacent statements of each hot account in turn, until `stopping` is set."""
    reader = Client(home.world, home.oracle, home.journal, home.world.admin, random.Random(0))  # noqa: S311 - no secret
    try:
        for account in itertools.cycle(home.hot):
            if stopping.is_set():
                return
            cut = datetime.datetime.now(datetime.UTC) - CUT_AGO
            values = {"id": account, "cut": cut.isoformat()}
            judged = await reader.request(TEXT, "Statements", values, may_abort=False)
            if judged is not None and judged.data is not None and not judged.failed:
                check_statements(judged.data["account"], home.oracle)
                home.oracle.counts["pairs of statements read"] += 1
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        reader.close()


def check_statements(account: Mapping[str, Any], oracle: Oracle) -> None:
    """Check that the statements of an account lead from zero to its balance, entry by entry."""
    ends = [account[name][end] for name in ("earlier", "later") for end in ("openingBalance", "closingBalance")]
    first, end, beginning, last = map(_amount, ends)
    adds_up = all(_adds_up(account[name]) for name in ("earlier", "later"))
    if not adds_up or first or end != beginning or last != _amount(account["balance"]):
        oracle.violation("a statement does not add up", account=account)


def _adds_up(statement: Mapping[str, Any]) -> bool:
    opening, received, sent, closing = (
        _amount(statement[name]) for name in ("openingBalance", "received", "sent", "closingBalance")
    )
    nodes = statement["entries"]["nodes"]
    afters = [_amount(node["balanceAfter"]) for node in nodes]
    changes = [_amount(node["amount"]) for node in nodes]
    follow = all(
        after - before == change
        for (before, after), change in zip(itertools.pairwise(afters), changes[1:], strict=True)
    )
    return opening + received - sent == closing and follow and (afters or [opening])[-1] == closing


def _amount(money: Mapping[str, str]) -> Decimal:
    return Decimal(money["amount"])
