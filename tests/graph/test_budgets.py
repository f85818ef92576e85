"""Budgets by the clock: when they come back, what blocks cost nobody, and which addresses share one."""

import pytest

from db.settings import Settings
from graph.http.budgets import Budget, spending_address
from graph.http.gate import Gate
from graph.http.requests import HttpRefused

LIMITS = ("cost_per_minute_max", "cost_per_minute_per_address_max")


def test_budget_comes_back_when_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 6000.0
    monkeypatch.setattr("graph.http.budgets.time.time", lambda: now)
    budget = Budget(50)
    budget.spend("ada", 42)
    assert (budget.has("ada", 8), budget.has("ada", 9), budget.has("eve", 50)) == (True, False, True)
    assert (budget.left("ada"), budget.wait_s("ada", 21), budget.wait_s("ada", 50)) == (8, 78, 119)
    now = 6077.0
    assert budget.has("ada", 21) is False
    now = 6078.0
    assert budget.has("ada", 21) is True
    # In the second minute both count: what is left of the 42, and the 21.
    budget.spend("ada", 21)
    assert (budget.left("ada"), budget.wait_s("ada", 5)) == (0, 7)
    now = 6084.0
    assert budget.has("ada", 5) is False
    now = 6085.0
    assert budget.has("ada", 5) is True
    now = 6240.0
    assert budget.left("ada") == 50


def test_budget_is_spent_to_the_last_unit_though_it_is_bought_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 6000.0
    monkeypatch.setattr("graph.http.budgets.time.time", lambda: now)
    budget = Budget(5_050)  # a block is 10
    lefts = []
    for cost in (3, 3, 3, 3, 5_000, 35, 1, 1, 1, 1):
        lefts.append((budget.has("ada", cost), budget.left("ada")))
        if lefts[-1][0]:
            budget.spend("ada", cost)
    assert lefts == [
        (True, 5_050),
        (True, 5_047),
        (True, 5_044),
        (True, 5_041),
        (True, 5_038),
        (True, 38),
        (True, 3),
        (True, 2),
        (True, 1),
        (False, 0),
    ]
    assert budget.wait_s("ada", 1) == 61
    # What was not spent of a block is lost with its minute, and what was is forgotten in the next one.
    now = 6060.0
    budget.spend("eve", 1)
    assert (budget.has("ada", 1), budget.left("eve")) == (False, 5_049)
    now = 6061.0
    assert (budget.has("ada", 1), budget.left("ada")) == (True, 85)


def test_charging_more_than_is_left_takes_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graph.http.budgets.time.time", lambda: 6000.0)
    budget = Budget(1_000)
    budget.spend("ada", 995)
    budget.spend("ada", 10)
    assert (budget.left("ada"), budget.has("ada", 1)) == (0, False)


@pytest.mark.parametrize(
    ("address", "known"),
    [
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("unknown", "unknown"),
    ],
)
def test_address_spends_as_its_network_does(address: str, known: str) -> None:
    assert spending_address(address) == known


async def test_ipv6_addresses_of_one_network_share_a_budget(settings: Settings) -> None:
    gate = Gate(settings.model_copy(update={"cost_per_minute_max": 50, "cost_per_minute_per_address_max": 70}))
    gate.charge(40, user_id=1, address="2001:db8::1")
    gate.charge(30, user_id=2, address="2001:db8::ffff:1")
    with pytest.raises(HttpRefused, match="a minute for all of this address are left"):
        gate.charge(20, user_id=3, address="2001:db8::2")
    gate.charge(20, user_id=3, address="2001:db8:0:1::2")


def test_what_an_address_refuses_stays_with_the_caller_though_it_is_bought_already(settings: Settings) -> None:
    gate = Gate(settings.model_copy(update=dict.fromkeys(LIMITS, 5_000)))  # a block is 10
    gate.charge(1, user_id=1, address="192.0.2.1")
    gate.charge(4_995, user_id=2, address="192.0.2.1")
    with pytest.raises(HttpRefused, match="and 4 of 5000 a minute for all of this address are left"):
        gate.charge(5, user_id=1, address="192.0.2.1")
    gate.charge(4_999, user_id=1, address="192.0.2.2")
    with pytest.raises(HttpRefused, match="and 0 of 5000 a minute are left"):
        gate.charge(1, user_id=1, address="192.0.2.3")
