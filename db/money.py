"""Money: exact conversion between minor units, which the database stores, and amounts in the form that people write.

An amount of money is an `int` of minor units (cents) inside and a `Decimal` outside. ISO 4217 defines the number of
fraction digits of a currency. No float is accepted: asyncpg would silently turn 1.5 and True into the bigint 1, so
every amount passes through `to_minor`.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache

from iso4217 import Currency

# In minor units. Ten thousand billion euros in one account; nine thousand such accounts still fit into the balance of
# the system account from which all of it came.
BALANCE_MINOR_MAX = 10**15
SYSTEM_BALANCE_MINOR_MIN = -9 * 10**18
# Digits before the decimal point. Far more than any balance has, and few enough to never write out 1E+999999999.
AMOUNT_DIGITS_MAX = 40


class AmountError(ValueError):
    """A number that is not a valid amount of its currency. The message is the reason, for users."""


@lru_cache
def minor_unit_exponent(currency_code: str) -> int | None:
    """Return the number of fraction digits of the currency, or None if there is no such currency to hold.

    Precious metals, testing codes and similar ones are in ISO 4217 without an exponent, so they have no minor units.
    """
    try:
        exponent: int | None = Currency(currency_code).exponent
    except ValueError:
        return None
    return exponent


def to_minor(amount: Decimal, currency_code: str) -> int:
    """Return `amount` in minor units, exactly.

    Raises:
        AmountError: it is not positive, exceeds all balances, or has more fraction digits than the currency.
        ValueError: there is no such currency.
    """
    exponent = _known_exponent(currency_code)
    if not amount.is_finite():
        raise AmountError("an amount is a finite number")
    if amount <= 0:
        raise AmountError("an amount is greater than zero")
    if amount.adjusted() >= AMOUNT_DIGITS_MAX:
        raise AmountError(f"an amount has at most {AMOUNT_DIGITS_MAX} digits before the decimal point")
    # as_tuple() is exact. Arithmetic would round to the context's 28 digits.
    _, digits, scale = amount.as_tuple()
    assert isinstance(scale, int)
    if -scale > exponent:
        raise AmountError(f"{currency_code} has {exponent} fraction digits, not {-scale}")
    number: int = int("".join(map(str, digits))) * 10 ** (exponent + scale)
    return number


def currencies_by_exponent() -> Mapping[int, Sequence[str]]:
    """Return the codes of all currencies that can be held, by their number of fraction digits."""
    codes: dict[int, list[str]] = {}
    for currency in Currency:
        if currency.exponent is not None:
            codes.setdefault(currency.exponent, []).append(currency.code)
    return codes


def from_minor(minor: int, currency_code: str) -> Decimal:
    """Return `minor` units as an amount with exactly the fraction digits of the currency."""
    return Decimal(minor).scaleb(-_known_exponent(currency_code))


def _known_exponent(currency_code: str) -> int:
    exponent = minor_unit_exponent(currency_code)
    if exponent is None:
        raise ValueError(f"{currency_code} is not a currency with a minor unit")
    return exponent
