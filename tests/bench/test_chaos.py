"""The chaos run: which promise each violation breaks, and what its additional checks report as a violation."""

import ast
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bench.chaos import watches
from bench.chaos.promises import BROKEN_BY, TITLES, broken_by
from bench.chaos.statements import check_statements
from bench.chaos.town import HOT, check_sum
from bench.soak import ledger
from bench.soak.faults import ALL, SOAK
from bench.soak.journal import Movement, Outcome
from bench.soak.oracle import Oracle
from bench.soak.world import User

ROOT = Path(__file__).parents[2]
# Checked only by the soak, and the violations that report a fault of the machinery.
OF_NO_PROMISE = {
    "a wrong answer",
    "a wrong answer to an update",
    "a wrong answer after an update",
    "a wrong answer to a creation",
    "a worker has grown",
    "posts differ from the journal",
    "an error is missing",
    "data and errors contradict each other",
    "not all workers answer",
    "no new worker comes up",
    "PostgreSQL cannot be reached past the proxy",
    "PostgreSQL does not recover",
}


def kinds_in_the_code() -> set[str]:
    """Return every kind of violation that the code of soak and chaos names."""
    trees = [
        ast.parse(path.read_text("utf-8"))
        for room in ("soak", "chaos")
        for path in (ROOT / "bench" / room).glob("*.py")
    ]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = [node for node in calls if isinstance(node.func, ast.Attribute) and node.func.attr == "violation"]
    return {str(one.args[0].value) for one in named if isinstance(one.args[0], ast.Constant)}


def test_every_violation_breaks_a_promise_or_is_listed_as_breaking_none() -> None:
    assert kinds_in_the_code() == set(BROKEN_BY) | OF_NO_PROMISE
    assert {number for numbers in BROKEN_BY.values() for number in numbers} == set(TITLES) == set(range(1, 14))
    assert broken_by("a deadlock") == "promise 9, No deadlock"


def test_every_fault_of_the_soak_is_one_of_chaos() -> None:
    assert SOAK.keys() < ALL.keys()


@pytest.fixture
def movement() -> Movement:
    return Movement(User(3, "ada", "-"), "account_1", "account_2", "1.50", "why")


def kept(movement: Movement, **changes: Any) -> dict[str, Any]:
    """Return a key and its row in the ledger, as they must be for a movement that was made."""
    row = {"id": 7, "from_id": 1, "to_id": 2, "amount": 150, "memo": "why", "refusal_code": None}
    return {**row, "owner_id": 3, "key": movement.key, **changes}


@pytest.mark.parametrize(
    ("outcome", "changes", "kind"),
    [
        (Outcome.MADE, {}, None),
        (Outcome.MADE, {"id": None}, "an acknowledged movement is not in the ledger"),
        (Outcome.MADE, {"id": 8}, "a row of the ledger differs from the journal"),
        (Outcome.MADE, {"amount": 151}, "a row of the ledger differs from the journal"),
        (Outcome.MADE, {"to_id": 3}, "a row of the ledger differs from the journal"),
        (Outcome.MADE, {"memo": None}, "a row of the ledger differs from the journal"),
        (Outcome.NOT_MADE, {}, "a refused movement is in the ledger"),
        (Outcome.NOT_MADE, {"id": None}, "an acknowledged refusal is not kept"),
        (Outcome.NOT_MADE, {"id": None, "refusal_code": "INSUFFICIENT_FUNDS"}, None),
        (Outcome.UNKNOWN, {}, None),
        (Outcome.UNKNOWN, {"id": None}, None),
    ],
)
def test_ledger_is_compared_with_the_journal(
    movement: Movement, outcome: Outcome, changes: dict[str, Any], kind: str | None
) -> None:
    movement.record_outcome(outcome, "transaction_7" if outcome is Outcome.MADE else None)
    oracle = Oracle()
    ledger.check_movement(movement, [kept(movement, **changes)], oracle)
    assert dict(oracle.kinds) == ({kind: 1} if kind else {})


def test_movement_without_a_key_and_key_with_two_rows_are_found(movement: Movement) -> None:
    movement.record_outcome(Outcome.MADE, "transaction_7")
    oracle = Oracle()
    ledger.check_movement(movement, [], oracle)
    ledger.check_movement(movement, [kept(movement), kept(movement)], oracle)
    assert dict(oracle.kinds) == {"an acknowledged movement is not in the ledger": 1, "a key has two rows": 1}


# ---------------------------------------------------------------- the town


HOT_IDS = [f"account_{number}" for number in range(HOT)]


def summed(*amounts: str) -> dict[str, Any]:
    """Return the response to a read of the hot accounts: half of them by id, half by owner."""
    accounts = [{"id": id_, "balance": {"amount": amount}} for id_, amount in zip(HOT_IDS, amounts, strict=False)]
    return {
        f"a{number}": one if number < HOT // 2 else {"accounts": {"nodes": [one]}}
        for number, one in enumerate(accounts)
    }


@pytest.mark.parametrize(
    ("amounts", "kinds"),
    [
        (["1000.00"] * 8, set()),
        (["1000.00"] * 7 + ["1000.01"], {"a read has a wrong sum"}),
        (["1000.00"] * 6 + ["2000.00"], {"a read has a wrong sum"}),
        (["-1.00", "2001.00"] + ["1000.00"] * 6, {"an account was overdrawn"}),
    ],
)
def test_sum_of_a_read_is_constant_and_no_balance_is_negative(amounts: list[str], kinds: set[str]) -> None:
    oracle = Oracle()
    check_sum(summed(*amounts), HOT_IDS, oracle)
    assert set(oracle.kinds) == kinds


def stated(opening: str, *entries: tuple[str, str], closing: str) -> dict[str, Any]:
    """Return a statement with these entries: the amount of each, and the balance after it."""
    amounts = [Decimal(amount) for amount, _ in entries]
    sums = {
        "openingBalance": opening,
        "received": str(sum(one for one in amounts if one > 0)),
        "sent": str(-sum(one for one in amounts if one < 0)),
        "closingBalance": closing,
    }
    nodes = [{"amount": {"amount": amount}, "balanceAfter": {"amount": after}} for amount, after in entries]
    return {name: {"amount": amount} for name, amount in sums.items()} | {"entries": {"nodes": nodes}}


EARLIER = stated("0.00", ("5.00", "5.00"), ("-2.00", "3.00"), closing="3.00")


@pytest.mark.parametrize(
    ("later", "balance", "violations"),
    [
        (stated("3.00", ("1.00", "4.00"), ("-3.00", "1.00"), closing="1.00"), "1.00", 0),
        (stated("3.00", closing="3.00"), "3.00", 0),
        (stated("3.00", closing="3.00"), "4.00", 1),
        (stated("2.00", ("1.00", "3.00"), closing="3.00"), "3.00", 1),
        (stated("3.00", ("1.00", "4.00"), closing="5.00"), "5.00", 1),
        (stated("3.00", ("1.00", "5.00"), closing="4.00"), "4.00", 1),
        (stated("3.00", ("1.00", "4.50"), ("2.00", "6.00"), closing="6.00"), "6.00", 1),
    ],
)
def test_statements_lead_from_zero_to_the_balance(later: dict[str, Any], balance: str, violations: int) -> None:
    oracle = Oracle()
    check_statements({"balance": {"amount": balance}, "earlier": EARLIER, "later": later}, oracle)
    assert dict(oracle.kinds) == ({"a statement does not add up": 1} if violations else {})


@pytest.mark.parametrize(
    ("results", "violations"), [([True, False, False], 0), ([True, True, False], 1), ([False, False], 1)]
)
def test_exactly_one_of_several_transfers_of_the_whole_balance_is_made(
    movement: Movement, results: list[bool], violations: int
) -> None:
    oracle = Oracle()
    run = [replace(movement) for _ in results]
    for one, is_made in zip(run, results, strict=True):
        one.record_outcome(Outcome.MADE if is_made else Outcome.NOT_MADE, "transaction_1" if is_made else None)
    watches.check_run(run, oracle)
    assert oracle.violations == violations
