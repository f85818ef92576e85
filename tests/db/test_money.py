"""Money: amounts are converted to minor units and back exactly, and anything else is refused."""

from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from iso4217 import Currency

from db.money import (
    AMOUNT_DIGITS_MAX,
    BALANCE_MINOR_MAX,
    SYSTEM_BALANCE_MINOR_MIN,
    AmountError,
    from_minor,
    minor_unit_exponent,
    to_minor,
)

CURRENCIES = sorted(currency.value for currency in Currency if currency.exponent is not None)
ONE_OF_EACH_EXPONENT = {"JPY": 0, "EUR": 2, "BHD": 3, "CLF": 4}


@given(minor=st.integers(1, 2**63 - 1), currency_code=st.sampled_from(CURRENCIES))
def test_minor_units_become_an_amount_and_minor_units_again(minor: int, currency_code: str) -> None:
    assert to_minor(from_minor(minor, currency_code), currency_code) == minor


@given(minor=st.integers(SYSTEM_BALANCE_MINOR_MIN, BALANCE_MINOR_MAX), currency_code=st.sampled_from(CURRENCIES))
def test_amount_has_exactly_the_fraction_digits_of_its_currency(minor: int, currency_code: str) -> None:
    exponent = minor_unit_exponent(currency_code)
    assert exponent is not None
    amount = from_minor(minor, currency_code)
    assert amount.as_tuple().exponent == -exponent
    assert int(amount.as_tuple().sign) == int(minor < 0)
    assert format(amount, "f").replace(".", "").lstrip("-0") == str(abs(minor)).lstrip("0")


@given(
    whole=st.integers(0, 10**AMOUNT_DIGITS_MAX - 1),
    fraction=st.text("0123456789", max_size=4),
    currency_code=st.sampled_from(CURRENCIES),
)
def test_every_decimal_amount_is_read_exactly(whole: int, fraction: str, currency_code: str) -> None:
    exponent = minor_unit_exponent(currency_code)
    assert exponent is not None
    assume(len(fraction) <= exponent)
    minor = whole * 10**exponent + int(fraction.ljust(exponent, "0") or "0")
    assume(minor > 0)
    amount = Decimal(f"{whole}.{fraction}" if fraction else str(whole))
    assert to_minor(amount, currency_code) == minor


@pytest.mark.parametrize(
    ("currency_code", "amount", "nothing"),
    [
        ("JPY", "12345678", "0"),
        ("EUR", "123456.78", "0.00"),
        ("BHD", "12345.678", "0.000"),
        ("CLF", "1234.5678", "0.0000"),
    ],
)
def test_minor_units_are_written_with_their_fraction_digits(currency_code: str, amount: str, nothing: str) -> None:
    assert str(from_minor(12345678, currency_code)) == amount
    assert str(from_minor(-12345678, currency_code)) == "-" + amount
    assert str(from_minor(0, currency_code)) == nothing


@pytest.mark.parametrize(("currency_code", "exponent"), ONE_OF_EACH_EXPONENT.items())
def test_whole_amount_is_converted_to_minor_units(currency_code: str, exponent: int) -> None:
    assert minor_unit_exponent(currency_code) == exponent
    assert to_minor(Decimal(7), currency_code) == 7 * 10**exponent


def test_no_currency_has_an_exponent_that_is_not_tested() -> None:
    assert {minor_unit_exponent(code) for code in CURRENCIES} == set(ONE_OF_EACH_EXPONENT.values())


@pytest.mark.parametrize(("currency_code", "exponent"), ONE_OF_EACH_EXPONENT.items())
def test_surplus_fraction_digit_is_refused_even_where_it_is_zero(currency_code: str, exponent: int) -> None:
    surplus = Decimal((0, (1, *([0] * (exponent + 1))), -exponent - 1))
    with pytest.raises(AmountError) as caught:
        to_minor(surplus, currency_code)
    assert str(caught.value) == f"{currency_code} has {exponent} fraction digits, not {exponent + 1}"


@pytest.mark.parametrize("amount", ["0", "0.00", "-0.00", "-0.01", "-1E+30"])
def test_amount_that_is_not_positive_is_refused(amount: str) -> None:
    with pytest.raises(AmountError) as caught:
        to_minor(Decimal(amount), "EUR")
    assert str(caught.value) == "an amount is greater than zero"


@pytest.mark.parametrize("amount", ["NaN", "-NaN", "sNaN", "Infinity", "-Infinity"])
def test_amount_that_is_not_finite_is_refused(amount: str) -> None:
    with pytest.raises(AmountError) as caught:
        to_minor(Decimal(amount), "EUR")
    assert str(caught.value) == "an amount is a finite number"


@pytest.mark.parametrize("amount", ["1E+40", "1E+999999999999", "1" * 41, "1" * 100_000])
def test_amount_beyond_all_balances_is_refused_before_its_digits_are_expanded(amount: str) -> None:
    with pytest.raises(AmountError) as caught:
        to_minor(Decimal(amount), "EUR")
    assert str(caught.value) == "an amount has at most 40 digits before the decimal point"


def test_whole_number_with_an_exponent_is_accepted() -> None:
    assert to_minor(Decimal("1.5E+3"), "EUR") == 150_000


@pytest.mark.parametrize("code", ["XAU", "XTS", "XXX", "eur", "EURO", "", "978", "DEM"])
def test_code_without_a_minor_unit_is_refused(code: str) -> None:
    assert minor_unit_exponent(code) is None
    with pytest.raises(ValueError, match=f"^{code} is not a currency with a minor unit$"):
        to_minor(Decimal(1), code)
    with pytest.raises(ValueError, match=f"^{code} is not a currency with a minor unit$"):
        from_minor(1, code)
