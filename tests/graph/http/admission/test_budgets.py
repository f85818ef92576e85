"""Budgets over time: when they are refilled, that floods do not reset them, and which addresses share one."""

import pytest

from db.settings import Settings
from graph.http.admission.budgets import SPENDERS_MAX, Budget, spending_address
from graph.http.admission.control import AdmissionControl, Spenders
from graph.http.parsing.requests import HttpRefused

FLOOD = 100_000
LIMITS = ("cost_per_minute_max", "cost_per_minute_per_address_max")


def test_budget_is_available_again_at_the_announced_time() -> None:
    now = 6000.0
    budget = Budget(50)
    assert budget.take("ada", 42, now)
    assert (budget.has("ada", 8, now), budget.has("ada", 9, now), budget.has("eve", 50, now)) == (True, False, True)
    assert (budget.left("ada", now), budget.wait_s("ada", 21, now), budget.wait_s("ada", 50, now)) == (8, 78, 119)
    assert budget.has("ada", 21, 6077) is False
    now = 6078.0
    assert budget.take("ada", 21, now)
    # In the second minute both count: the remainder of the 42, and the 21.
    assert (budget.left("ada", now), budget.wait_s("ada", 5, now)) == (0, 7)
    assert (budget.take("ada", 5, 6084), budget.has("ada", 5, 6085)) == (False, True)
    assert budget.left("ada", 6240) == 50


def test_budget_is_spent_to_the_last_unit() -> None:
    budget, now = Budget(5_050), 6000.0
    lefts = [(budget.left("ada", now), budget.take("ada", cost, now)) for cost in (3, 3, 5_000, 45, 40, 4, 1)]
    assert lefts == [(5_050, True), (5_047, True), (5_044, True), (44, False), (44, True), (4, True), (0, False)]
    assert (budget.wait_s("ada", 1, now), budget.has("ada", 1, 6060), budget.left("ada", 6061)) == (61, False, 85)


def test_charging_more_than_is_left_takes_what_is_left() -> None:
    budget, now = Budget(1_000), 6000.0
    assert budget.take("ada", 995, now)
    budget.spend("ada", 10, now)
    assert (budget.left("ada", now), budget.has("ada", 1, now)) == (0, False)


def test_clock_that_is_set_back_starts_the_next_minute() -> None:
    budget = Budget(1_000)
    assert budget.take("ada", 1_000, 6070)
    assert (budget.has("ada", 900, 6_001), budget.left("ada", 6_001)) == (False, 17)


def test_unlimited_budget_allows_everything() -> None:
    budget = Budget(0)
    assert budget.take("ada", 10**12, 6000)
    budget.spend("ada", 10**12, 6000)
    budget.give_back("ada", 5)
    assert budget.has("ada", 10**12, 6000)


def spend_as_many(budget: Budget, now: float, *, cost: int = 1) -> None:
    """Spend as 100,000 other callers."""
    for number in range(FLOOD):
        budget.take(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", cost, now)


def test_flood_of_callers_does_not_reset_a_caller_that_has_spent_much_and_is_bounded() -> None:
    budget, now = Budget(1_000), 6000.0
    for number in range(100):
        assert budget.take(f"guilty {number}", 1_000 - number, now)
    spend_as_many(budget, now)
    spend_as_many(budget, now, cost=500)
    for number in range(100):
        assert budget.left(f"guilty {number}", now) == number
    # The next minute is the same: it takes the spending of the previous one into account.
    spend_as_many(budget, 6060)
    assert budget.has("guilty 0", 200, 6065) is False
    assert len(vars(budget)["_spent"]) + len(vars(budget)["_spent_before"]) <= 2 * SPENDERS_MAX


def test_flood_of_equal_callers_does_not_reset_earlier_callers() -> None:
    budget, now = Budget(1), 6000.0
    assert budget.take("guilty", 1, now)
    spend_as_many(budget, now)
    assert budget.take("guilty", 1, now) is False


def test_long_texts_that_are_no_addresses_are_distinguished_by_few_bytes() -> None:
    known = {spending_address(f"{number}" + "x" * 16_000) for number in range(1000)}
    assert (len(known), {len(one) for one in known}) == (1000, {32})
    assert spending_address("\udcff" * 100) == spending_address("\udcff" * 100)


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
        ("2001:0db8:0001:0002:0003:0004:192.168.100.100%an-interface-nam", "2001:db8:1:2::/64"),
        ("unknown", "unknown"),
    ],
)
def test_address_has_the_budget_of_its_network(address: str, known: str) -> None:
    assert spending_address(address) == known


async def test_ipv6_addresses_of_one_network_share_a_budget(settings: Settings) -> None:
    gate = AdmissionControl(
        settings.model_copy(update={"cost_per_minute_max": 50, "cost_per_minute_per_address_max": 70})
    )
    gate.charge(40, Spenders.at("2001:db8::1").of_user(1))
    gate.charge(30, Spenders.at("2001:db8::ffff:1").of_user(2))
    with pytest.raises(HttpRefused, match="a minute for all of this address are left"):
        gate.charge(20, Spenders.at("2001:db8::2").of_user(3))
    gate.charge(20, Spenders.at("2001:db8:0:1::2").of_user(3))


def test_refusal_of_the_address_does_not_charge_the_caller(settings: Settings) -> None:
    gate = AdmissionControl(settings.model_copy(update=dict.fromkeys(LIMITS, 5_000)))
    gate.charge(1, Spenders.at("192.0.2.1").of_user(1))
    gate.charge(4_995, Spenders.at("192.0.2.1").of_user(2))
    with pytest.raises(HttpRefused, match="and 4 of 5000 a minute for all of this address are left"):
        gate.charge(5, Spenders.at("192.0.2.1").of_user(1))
    gate.charge(4_999, Spenders.at("192.0.2.2").of_user(1))
    with pytest.raises(HttpRefused, match="and 0 of 5000 a minute are left"):
        gate.charge(1, Spenders.at("192.0.2.3").of_user(1))
