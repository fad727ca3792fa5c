"""Digits that claim no more than the number they stand for."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Context, Decimal


def rounded_down(value: float, digits: int = 4) -> str:
    """The largest number of ``digits`` significant digits that is not above ``value``, without closing zeros.

    For certified radii and margins, which hold for every smaller number and for no larger one.
    """
    found = Context(prec=digits, rounding=ROUND_FLOOR).create_decimal(Decimal(value))
    return f"{found.normalize():g}" if found.is_finite() else f"{value:g}"
