# ruff: noqa: INP001 - copied into a package
"""How scalars are written; copied into the generated package."""

from decimal import Decimal


def plain_notation(value: Decimal) -> str:
    """Write a number as Folio reads it. `str` would write Decimal(1000).normalize() as 1E+3, which is refused."""
    return format(value, "f")
